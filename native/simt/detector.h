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
// Every word of memory has a cell with its last write and up to two reads that are not ordered with each
// other (Flanagan and Freund 2009, FastTrack, with the set of readers cut to two); words that are accessed by
// bytes have a cell for each byte.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "simt/executor.h"
#include "simt/source.h"

namespace fintune {
namespace simt {

// Who touched memory when: block (numbered over all launches, from 1), thread, epoch of its warp, and whether
// a copy in the background is still to write there.
using Stamp = uint64_t;

struct Cell {
  Stamp write;
  Stamp reads[2];
  uint32_t write_site, read_sites[2];  // code addresses, from the start of this library
  uint32_t split;                      // number of the block since which the bytes have cells of their own
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
    if (own >= Stacks::kBytes) check(f, kind, p, bytes, alignment, site);  // else one of its variables
  }
  // ldmatrix reads a row for other lanes: what any lane of the warp wrote needs a sync before.
  void read_row(const Fiber& f, const void* row, const void* site);
  void begin_copy(const Fiber& f, const void* to, const void* from, const void* site);
  void end_copy(const Fiber& f, const void* to);

  void sync_warp(int warp) { ++clocks_[warp].epoch; }
  void sync_warps(const int* warps, int n);

 private:
  struct Clock {
    uint32_t epoch;
    std::array<uint32_t, kMaxWarps> passed;  // epochs of each warp that lie before
  };
  void check(const Fiber& f, Access kind, const void* p, size_t bytes, size_t alignment, const void* site);
  Region find(const Fiber& f, Access kind, const void* p, size_t bytes, const void* site);
  [[noreturn]] void out_of_bounds(const Fiber& f, Access kind, const void* p, size_t bytes, const void* site);
  template <class Fn>
  void for_cells(const Region& region, uintptr_t at, size_t bytes, Fn&& fn);
  void touch(const Fiber& f, Access kind, Cell& cell, const Region& region, uintptr_t at, const void* site,
             bool for_others);
  [[noreturn]] void conflict(const Fiber& f, Access kind, const Cell& cell, int reader, const Region& region,
                             uintptr_t at, const void* site);
  Stamp stamp(const Fiber& f, bool copy) const;
  bool ordered(Stamp s, const Fiber& f, bool for_others) const;

  Executor& executor_;
  std::array<Clock, kMaxWarps> clocks_{};
  uint32_t block_ = 0;         // number of the current block
  uint32_t launch_block_ = 0;  // and of the launch's first
  std::unique_ptr<Shadow> shared_;
  size_t shared_bytes_ = 0;

  struct Buffer {
    size_t bytes;
    std::unique_ptr<Shadow> shadow;  // made at the first access
  };
  std::map<uintptr_t, Buffer> buffers_;
  Shadow* last_ = nullptr;  // of the newest access to a buffer
};

}  // namespace simt
}  // namespace fintune
