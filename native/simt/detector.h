// Sees every memory access of a kernel (hooks.cc, and the executor's own for matrices and copies) and ends
// the run at the first that is wrong: outside of the device's buffers and of the block's shared memory, not
// aligned, of shared memory that nobody has written, of bytes that a copy in the background still owns, or
// racing with another thread of the same launch (same bytes, at least one writes, nothing orders the two).
//
// Order comes from what the executor reports: a warp sync orders the lanes of a warp, a barrier orders the
// warps that take part. Each warp counts its syncs (its epoch) and knows how many epochs of each other warp
// lie before its own present: vector clocks (Lamport 1978, Mattern 1989), whose threads are whole warps,
// since a warp takes part in a sync as a whole. Shuffles, votes and matrix operations order nothing. Threads
// of different blocks are never ordered.
//
// An mbarrier (mbarrier.h) orders what lies before its arrivals before what follows a wait for their phase;
// the writes of a copy that tells it of its end lie before nothing but such waits.
//
// Every word of memory has a cell with its last write and the reads since that are not ordered with each
// other (Flanagan and Freund 2009, FastTrack), of which it keeps one of an even and one of an odd warp; words
// that are accessed by bytes have a cell for each byte.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "simt/executor.h"
#include "simt/source.h"
#include "simt/traffic.h"

namespace fintune {
namespace simt {

// Who touched memory when: block (numbered over all launches, from 1), thread, epoch of its warp; whether
// several lanes of the warp did (reads only, and then the lane says nothing), and whether a copy in the
// background is still to write there. Writes of a bulk copy: the number of its mbarrier instead of the
// thread, and its phase instead of the epoch.
using Stamp = uint64_t;
// block 32 bits | warp 5 | lane 5 | epoch 20 | several 1 | copy 1
constexpr int kEpochBits = 20;
constexpr Stamp kCopy = 1, kSeveral = 2, kBulk = kSeveral;  // of reads, of writes
constexpr Stamp kLaneBits = Stamp{kLanes - 1} << (kEpochBits + 2);

constexpr int kReads = 2;
struct Cell {
  Stamp reads[kReads];  // by warp modulo kReads
  Stamp write;
  uint32_t read_sites[kReads], write_site;  // code addresses, from the start of this library
  uint32_t split;  // number of the block since which the bytes have cells of their own
};

// Cells of a range of memory; pages that nobody touches cost nothing.
class Shadow {
 public:
  Shadow(uintptr_t begin, size_t bytes);
  ~Shadow();
  Shadow(const Shadow&) = delete;
  Shadow& operator=(const Shadow&) = delete;

  const uintptr_t begin;
  const size_t bytes;
  Cell* words;
  Cell* byte_cells;

 private:
  size_t mapped_;
};

constexpr int kMaxMbarriers = 32;
// What lies before a warp's present, or before another point that it may be joined from.
struct Past {
  std::array<uint32_t, kMaxWarps> passed{};      // epochs of each warp
  std::array<uint32_t, kMaxWarps> fenced{};      // the same, by way of a fence between the proxies
  std::array<uint32_t, kMaxMbarriers> waited{};  // phases of each mbarrier, with their copies
  void join(const Past& other);
};

class Detector {
 public:
  explicit Detector(Executor& executor) : executor_(executor) {}

  // Memory that kernels may touch.
  void add_buffer(void* p, size_t bytes);
  void remove_buffer(void* p);

  void begin_launch();
  void begin_block(char* shared, size_t bytes);

  struct Region {
    Shadow* shadow;  // null: memory that may be read and has no cells
    uint32_t first_block;
    bool shared;
  };
  // A byte, for a message.
  struct Place {
    const Region& region;
    uintptr_t at;
    friend std::ostream& operator<<(std::ostream& out, const Place& place);
  };

  enum class Access : uint8_t { Read, Write };
  // One access of thread f. `site` is a code address in the kernel. `alignment`: 0 for any.
  void access(const Fiber& f, Access kind, const void* p, size_t bytes, size_t alignment, const void* site) {
    const uintptr_t own = reinterpret_cast<uintptr_t>(p) - reinterpret_cast<uintptr_t>(f.stack);
    if (own < Stacks::kBytes) return;  // one of its variables
    executor_.step(f);
    if (executor_.traffic() != nullptr) executor_.traffic()->add(f, kind == Access::Write, p, bytes, site);
    if (kind == Access::Read && bytes == 4 && warp_has_read(f, reinterpret_cast<uintptr_t>(p))) return;
    check(f, kind, p, bytes, alignment, site);
  }
  // ldmatrix reads a row for other lanes: what any lane of the warp wrote needs a sync before.
  void read_row(const Fiber& f, const void* row, const void* site);
  void begin_copy(const Fiber& f, const void* to, const void* from, const void* site);
  void end_copy(const Fiber& f, const void* to);

  // 16 bytes of shared memory that a product of f's warpgroup reads in the background, for f's warp: other
  // writes need to be ordered before, and a fence between the proxies behind them. Once at its issue and once
  // at the end, since which writes need to be ordered behind. Meanwhile (hold, release) nobody writes them.
  void read_in_background(const Fiber& f, uintptr_t at, Where where);
  void hold(uintptr_t at, int more);

  // What a bulk copy reads; 16 bytes that it writes in the background, from its issue to its end. No accesses
  // of the thread that issues it.
  void read_bulk(const Fiber& f, const void* from, size_t bytes, const void* site) {
    check(f, Access::Read, from, bytes, 0, site);
  }
  void begin_bulk(const Fiber& f, const void* to, Where where, const void* site, int mbarrier,
                  uint32_t phase);
  void end_bulk(const void* to);
  // The mbarrier at `at`, which the write `made` initialised, is used; by a copy's way where `by_copy`.
  void check_mbarrier(const Fiber& f, uintptr_t at, Stamp made, Where where, bool by_copy);
  Stamp last_write(uintptr_t at) const { return shared_->words[(at - shared_begin_) / 4].write; }
  // Arrival of a warp, which orders its lanes; and a wait, which orders none.
  void release(const Fiber& f, int warp, Past& into);
  void acquire(int warp, const Past& from) { clocks_[warp].join(from); }

  void sync_warp(const Fiber& f, int warp);
  void sync_warps(const Fiber& f, const int* warps, int n);
  // What lies before it may be read by the other proxy behind it. It orders no lanes with each other.
  void fence_proxy(const Fiber& f, int warp);

 private:
  struct Clock : Past {
    uint32_t epoch = 0;
    uint32_t synced = 0;  // the epoch that the last sync began; fences between proxies begin others
  };
  // The commonest case, quickly: a word of shared memory that several lanes of the warp have read in its
  // present epoch, so that one more says nothing new.
  bool warp_has_read(const Fiber& f, uintptr_t at) const {
    const uintptr_t offset = at - shared_begin_;
    return offset < shared_bytes_ && offset % 4 == 0 && (seen_[offset / 4] >> f.warp->index & 1) != 0;
  }
  void check(const Fiber& f, Access kind, const void* p, size_t bytes, size_t alignment, const void* site);
  Region find(const Fiber& f, Access kind, const void* p, size_t bytes, const void* site);
  [[noreturn]] void out_of_bounds(const Fiber& f, Access kind, const void* p, size_t bytes, const void* site);
  template <class Fn>
  void for_cells(const Region& region, uintptr_t at, size_t bytes, Fn&& fn);
  void touch(const Fiber& f, Access kind, Cell& cell, const Region& region, uintptr_t at, const void* site,
             bool for_others);
  void record_read(const Fiber& f, Cell& cell, const Region& region, Stamp own, uintptr_t at,
                   const void* site);
  [[noreturn]] void conflict(const Fiber& f, Access kind, const Cell& cell, int reader, const Region& region,
                             uintptr_t at, const void* site);
  void next_epoch(const Fiber& f, int warp);
  Stamp stamp(int thread) const;
  Stamp stamp(const Fiber& f) const { return stamp(f.thread); }
  void forget_seen(uint32_t warps);
  bool ordered(Stamp s, const Fiber& f, bool for_others) const;
  bool write_ordered(Stamp s, const Fiber& f, bool for_others) const;
  bool unfenced(Stamp write, const Fiber& f) const;

  Executor& executor_;
  std::array<Clock, kMaxWarps> clocks_{};
  uint32_t block_ = 0;         // number of the current block
  uint32_t launch_block_ = 0;  // and of the launch's first
  std::unique_ptr<Shadow> shared_;
  uintptr_t shared_begin_ = 0;
  size_t shared_bytes_ = 0;
  // For each word of shared memory the warps of which several lanes have read it, since its last write and in
  // the warp's present epoch; and the words where there are such.
  std::vector<uint32_t> seen_;
  size_t seen_from_ = 0, seen_to_ = 0;
  std::vector<uint16_t> held_;  // of each 16 bytes of shared memory: products under way that read them

  struct Buffer {
    size_t bytes;
    std::unique_ptr<Shadow> shadow;  // made at the first access
  };
  std::map<uintptr_t, Buffer> buffers_;
  Shadow* last_ = nullptr;  // of the newest access to a buffer
};

}  // namespace simt
}  // namespace fintune
