// Cells, clocks and the messages about what is wrong.
#include "simt/detector.h"

#include <sys/mman.h>

#include <algorithm>

#include "core/error.h"

namespace fintune {
namespace simt {
namespace {

uint32_t block_of(Stamp s) { return static_cast<uint32_t>(s >> 32); }
int thread_of(Stamp s) { return static_cast<int>(s >> (kEpochBits + 2)) & (kLanes * kMaxWarps - 1); }
uint32_t epoch_of(Stamp s) { return static_cast<uint32_t>(s >> 2) & ((1u << kEpochBits) - 1); }
bool is_copy(Stamp s) { return (s & kCopy) != 0; }
bool is_bulk(Stamp write) { return (write & kBulk) != 0; }

// Every access of a kernel goes through these few functions: calls would cost more than what they do.
#define FINTUNE_INLINE inline __attribute__((always_inline))

const char* verb(Detector::Access kind) { return kind == Detector::Access::Read ? "reads" : "writes"; }

}  // namespace

Shadow::Shadow(uintptr_t first, size_t n) : begin(first), bytes(n) {
  const size_t count = n / 4 + 1;
  mapped_ = count * 5 * sizeof(Cell);
  void* p =
      mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) fail(ErrorCode::OutOfMemory, "no memory to watch a buffer of ", n, " bytes");
  words = static_cast<Cell*>(p);
  byte_cells = words + count;
}

Shadow::~Shadow() { munmap(words, mapped_); }

void Detector::add_buffer(void* p, size_t bytes) {
  buffers_[reinterpret_cast<uintptr_t>(p)] = Buffer{bytes, nullptr};
}

void Detector::remove_buffer(void* p) {
  last_ = nullptr;
  buffers_.erase(reinterpret_cast<uintptr_t>(p));
}

void Detector::begin_launch() { launch_block_ = block_ + 1; }

void Detector::begin_block(char* shared, size_t bytes) {
  ++block_;
  clocks_ = {};
  const uintptr_t begin = reinterpret_cast<uintptr_t>(shared);
  if (shared_ == nullptr || shared_->begin != begin || shared_->bytes < bytes) {
    shared_ = std::make_unique<Shadow>(begin, bytes);
  }
  shared_begin_ = begin;
  shared_bytes_ = bytes;
  held_.assign(bytes / 16 + 1, 0);
  forget_seen(0xFFFFFFFFu);
  if (seen_.size() < bytes / 4 + 1) seen_.resize(bytes / 4 + 1);
}

FINTUNE_INLINE Stamp Detector::stamp(int thread) const {
  return static_cast<Stamp>(block_) << 32 | static_cast<Stamp>(thread) << (kEpochBits + 2) |
         static_cast<Stamp>(clocks_[thread / kLanes].epoch) << 2;
}

FINTUNE_INLINE bool Detector::ordered(Stamp s, const Fiber& f, bool for_others) const {
  if (block_of(s) != block_) return false;
  const int thread = thread_of(s);
  if (thread == f.thread && !for_others && (s & kSeveral) == 0) return true;
  const int warp = thread / kLanes;
  const Clock& own = clocks_[f.warp->index];
  return epoch_of(s) < (warp == f.warp->index ? own.synced : own.passed[warp]);
}

// The same of a write.
FINTUNE_INLINE bool Detector::write_ordered(Stamp s, const Fiber& f, bool for_others) const {
  if (!is_bulk(s)) return ordered(s, f, for_others);
  return block_of(s) == block_ && epoch_of(s) < clocks_[f.warp->index].waited[thread_of(s)];
}

// A thread's write in this block that has had no fence between the proxies, as far as f's warp knows.
bool Detector::unfenced(Stamp write, const Fiber& f) const {
  return block_of(write) == block_ && !is_copy(write) && !is_bulk(write) &&
         epoch_of(write) >= clocks_[f.warp->index].fenced[thread_of(write) / kLanes];
}

void Past::join(const Past& other) {
  const auto join_each = [](auto& mine, const auto& others) {
    for (size_t i = 0; i < mine.size(); ++i) mine[i] = std::max(mine[i], others[i]);
  };
  join_each(passed, other.passed);
  join_each(fenced, other.fenced);
  join_each(waited, other.waited);
}

void Detector::next_epoch(const Fiber& f, int warp) {
  if (++clocks_[warp].epoch >> kEpochBits != 0) executor_.fault(f, "comes to its millionth sync");
}

void Detector::forget_seen(uint32_t warps) {
  for (size_t i = seen_from_; i < seen_to_; ++i) seen_[i] &= ~warps;
  if (warps == 0xFFFFFFFFu) seen_from_ = seen_to_ = 0;
}

void Detector::sync_warp(const Fiber& f, int warp) {
  next_epoch(f, warp);
  clocks_[warp].synced = clocks_[warp].epoch;
  forget_seen(1u << warp);
}

void Detector::fence_proxy(const Fiber& f, int warp) {
  Clock& c = clocks_[warp];
  for (int w = 0; w < kMaxWarps; ++w) c.fenced[w] = std::max(c.fenced[w], c.passed[w]);
  next_epoch(f, warp);
  c.fenced[warp] = c.epoch;
}

void Detector::sync_warps(const Fiber& f, const int* warps, int n) {
  Past past;
  for (int i = 0; i < n; ++i) past.join(clocks_[warps[i]]);
  for (int i = 0; i < n; ++i) past.passed[warps[i]] = clocks_[warps[i]].epoch + 1;
  uint32_t synced = 0;
  for (int i = 0; i < n; ++i) {
    Clock& c = clocks_[warps[i]];
    static_cast<Past&>(c) = past;
    next_epoch(f, warps[i]);
    c.synced = c.epoch;
    synced |= 1u << warps[i];
  }
  forget_seen(n * kLanes == executor_.kernel().threads ? 0xFFFFFFFFu : synced);
}

void Detector::release(const Fiber& f, int warp, Past& into) {
  into.join(clocks_[warp]);
  into.passed[warp] = clocks_[warp].epoch + 1;
  sync_warp(f, warp);
}

FINTUNE_INLINE Detector::Region Detector::find(const Fiber& f, Access kind, const void* p, size_t bytes,
                                               const void* site) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(p);
  if (at - shared_begin_ < shared_bytes_) {
    if (at + bytes > shared_begin_ + shared_bytes_) out_of_bounds(f, kind, p, bytes, site);
    return Region{shared_.get(), block_, true};
  }
  if (last_ == nullptr || at - last_->begin >= last_->bytes) {
    auto found = buffers_.upper_bound(at);
    if (found == buffers_.begin() || at - (--found)->first >= found->second.bytes) {
      if (kind == Access::Read && is_constant(p, bytes)) return Region{nullptr, 0, false};
      out_of_bounds(f, kind, p, bytes, site);
    }
    Buffer& buffer = found->second;
    if (buffer.shadow == nullptr) buffer.shadow = std::make_unique<Shadow>(found->first, buffer.bytes);
    last_ = buffer.shadow.get();
  }
  if (at + bytes > last_->begin + last_->bytes) out_of_bounds(f, kind, p, bytes, site);
  return Region{last_, launch_block_, false};
}

// fn(cell, address) for the words, or the bytes where a word is accessed in parts.
template <class Fn>
void Detector::for_cells(const Region& region, uintptr_t at, size_t bytes, Fn&& fn) {
  Shadow& shadow = *region.shadow;
  const uintptr_t end = at + bytes;
  while (at < end) {
    const size_t offset = at - shadow.begin;
    Cell& word = shadow.words[offset / 4];
    Cell* parts = shadow.byte_cells + offset / 4 * 4;
    const size_t first = offset % 4;
    const size_t n = std::min<size_t>(4 - first, end - at);
    if (n < 4 && word.split < region.first_block) {
      for (int i = 0; i < 4; ++i) parts[i] = word;
      word.split = block_;
    }
    if (word.split < region.first_block) {
      fn(word, at);
    } else {
      for (size_t i = 0; i < n; ++i) fn(parts[first + i], at + i);
    }
    at += n;
  }
}

FINTUNE_INLINE void Detector::record_read(const Fiber& f, Cell& cell, const Region& region, Stamp own,
                                          uintptr_t at, const void* site) {
  Stamp& read = cell.reads[f.warp->index % kReads];
  const Stamp difference = (read ^ own) & ~kLaneBits;
  if (read == own || difference == kSeveral) return;
  if (difference == 0) {  // another lane of this warp: now they are several
    read |= kSeveral;
    const size_t word = (at - shared_begin_) / 4;
    if (region.shared && shared_->words[word].split < block_) {
      seen_[word] |= 1u << f.warp->index;
      seen_from_ = seen_to_ == 0 ? word : std::min(seen_from_, word);
      seen_to_ = std::max(seen_to_, word + 1);
    }
    return;
  }
  // A read that is ordered before this one says nothing that this one does not; of others one stays, by
  // chance.
  if (block_of(read) >= region.first_block && !ordered(read, f, false) && ((own >> 2 ^ at >> 2) & 1) != 0)
    return;
  read = own;
  cell.read_sites[f.warp->index % kReads] = code_offset(site);
}

FINTUNE_INLINE void Detector::touch(const Fiber& f, Access kind, Cell& cell, const Region& region,
                                    uintptr_t at, const void* site, bool for_others) {
  const Stamp own = stamp(f);
  if (block_of(cell.write) >= region.first_block) {
    if (cell.write == own && !for_others && kind == Access::Read) return;
    if (is_copy(cell.write) || !write_ordered(cell.write, f, for_others)) {
      conflict(f, kind, cell, -1, region, at, site);
    }
  } else if (region.shared && kind == Access::Read) {
    executor_.fault(f, "reads shared memory that nobody has written, at ", Place{region, at}, ", in ",
                    line_of(site));
  }
  if (kind == Access::Write) {
    for (int i = 0; i < kReads; ++i) {
      if (block_of(cell.reads[i]) >= region.first_block && !ordered(cell.reads[i], f, false)) {
        conflict(f, kind, cell, i, region, at, site);
      }
      cell.reads[i] = 0;
    }
    cell.write = own;
    cell.write_site = code_offset(site);
    if (region.shared) seen_[(at - shared_begin_) / 4] = 0;
    return;
  }
  record_read(f, cell, region, own, at, site);
}

void Detector::check(const Fiber& f, Access kind, const void* p, size_t bytes, size_t alignment,
                     const void* site) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(p);
  if (alignment != 0 && at % alignment != 0) {
    executor_.fault(f, verb(kind), " ", bytes, " bytes at an address that is no multiple of ", alignment,
                    ", in ", line_of(site));
  }
  const Region region = find(f, kind, p, bytes, site);
  if (region.shadow == nullptr) return;
  if (kind == Access::Write && region.shared && held_[(at - shared_begin_) / 16] != 0) {
    executor_.fault(f, "writes ", Place{region, at}, " in ", line_of(site),
                    " while a wgmma that reads it is under way: it has not been waited for");
  }
  if (bytes == 4 && at % 4 == 0) {
    Cell& word = region.shadow->words[(at - region.shadow->begin) / 4];
    if (word.split < region.first_block) return touch(f, kind, word, region, at, site, false);
  }
  for_cells(region, at, bytes,
            [&](Cell& cell, uintptr_t where) { touch(f, kind, cell, region, where, site, false); });
}

void Detector::read_row(const Fiber& f, const void* row, const void* site) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(row);
  if (at % 16 != 0) executor_.fault(f, "ldmatrix of a row that is not aligned, in ", line_of(site));
  const Region region = find(f, Access::Read, row, 16, site);
  if (!region.shared) executor_.fault(f, "ldmatrix of a row outside of shared memory, in ", line_of(site));
  for_cells(region, at, 16,
            [&](Cell& cell, uintptr_t where) { touch(f, Access::Read, cell, region, where, site, true); });
}

void Detector::read_in_background(const Fiber& f, uintptr_t at, Where where) {
  if (at - shared_begin_ >= shared_bytes_ || at + 16 > shared_begin_ + shared_bytes_) {
    executor_.fault(f, "wgmma in ", where, " reads byte ", static_cast<int64_t>(at - shared_begin_),
                    " of shared memory, which has ", shared_bytes_);
  }
  const Region region{shared_.get(), block_, true};
  for_cells(region, at, 16, [&](Cell& cell, uintptr_t byte) {
    if (unfenced(cell.write, f) && ordered(cell.write, f, true)) {
      executor_.fault(f, "wgmma in ", where, " reads ", Place{region, byte}, ", and thread ",
                      thread_of(cell.write), " writes it in ", line_of(cell.write_site),
                      ", with no fence between the proxies");
    }
    touch(f, Access::Read, cell, region, byte, f.request.site, true);
  });
}

void Detector::hold(uintptr_t at, int more) {
  held_[(at - shared_begin_) / 16] = static_cast<uint16_t>(held_[(at - shared_begin_) / 16] + more);
}

void Detector::begin_bulk(const Fiber& f, const void* to, Where where, const void* site, int mbarrier,
                          uint32_t phase) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(to);
  if (at - shared_begin_ >= shared_bytes_ || at + 16 > shared_begin_ + shared_bytes_) {
    executor_.fault(f, "the copy in ", where, " writes byte ", static_cast<int64_t>(at - shared_begin_),
                    " of shared memory, which has ", shared_bytes_);
  }
  const Region region{shared_.get(), block_, true};
  for_cells(region, at, 16, [&](Cell& cell, uintptr_t byte) {
    if (unfenced(cell.write, f) && ordered(cell.write, f, false)) {
      executor_.fault(f, "the copy in ", where, " writes ", Place{region, byte}, ", and thread ",
                      thread_of(cell.write), " writes it in ", line_of(cell.write_site),
                      ", with no fence between the proxies");
    }
  });
  check(f, Access::Write, to, 16, 16, site);
  const Stamp own = static_cast<Stamp>(block_) << 32 | static_cast<Stamp>(mbarrier) << (kEpochBits + 2) |
                    static_cast<Stamp>(phase) << 2 | kBulk;
  for_cells(region, at, 16, [&](Cell& cell, uintptr_t) { cell.write = own | kCopy; });
}

void Detector::end_bulk(const void* to) {
  const Region region{shared_.get(), block_, true};
  for_cells(region, reinterpret_cast<uintptr_t>(to), 16,
            [&](Cell& cell, uintptr_t) { cell.write &= ~kCopy; });
}

void Detector::check_mbarrier(const Fiber& f, uintptr_t at, Stamp made, Where where, bool by_copy) {
  const Cell& cell = shared_->words[(at - shared_begin_) / 4];
  const uintptr_t byte = at - shared_begin_;
  if (cell.write != made) {
    executor_.fault(f, "comes in ", where, " to the mbarrier at byte ", byte,
                    " of shared memory, over which a thread has written in ", line_of(cell.write_site));
  }
  if (!ordered(made, f, false)) {
    executor_.fault(f, "race: comes in ", where, " to the mbarrier at byte ", byte,
                    " of shared memory, and thread ", thread_of(made), " initialises it in ",
                    line_of(cell.write_site), ", with no sync between");
  }
  if (by_copy && unfenced(made, f)) {
    executor_.fault(f, "the copy in ", where, " tells the mbarrier at byte ", byte,
                    " of shared memory, and thread ", thread_of(made), " initialises it in ",
                    line_of(cell.write_site), ", with no fence between the proxies");
  }
}

void Detector::begin_copy(const Fiber& f, const void* to, const void* from, const void* site) {
  if (from != nullptr) {
    access(f, Access::Read, from, 16, 16, site);
    if (find(f, Access::Read, from, 16, site).shared) {
      executor_.fault(f, "cp.async from shared memory, in ", line_of(site));
    }
  }
  access(f, Access::Write, to, 16, 16, site);
  const Region region = find(f, Access::Write, to, 16, site);
  if (!region.shared) executor_.fault(f, "cp.async to global memory, in ", line_of(site));
  for_cells(region, reinterpret_cast<uintptr_t>(to), 16,
            [&](Cell& cell, uintptr_t) { cell.write = stamp(f) | kCopy; });
}

void Detector::end_copy(const Fiber& f, const void* to) {
  const Region region = find(f, Access::Write, to, 16, nullptr);
  for_cells(region, reinterpret_cast<uintptr_t>(to), 16,
            [&](Cell& cell, uintptr_t) { cell.write = stamp(f); });
}

std::ostream& operator<<(std::ostream& out, const Detector::Place& place) {
  out << "byte " << place.at - place.region.shadow->begin;
  if (place.region.shared) return out << " of shared memory";
  return out << " of a buffer of " << place.region.shadow->bytes;
}

void Detector::out_of_bounds(const Fiber& f, Access kind, const void* p, size_t bytes, const void* site) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(p);
  const uintptr_t shared_end = shared_begin_ + shared_bytes_;
  constexpr uintptr_t kNear = 1 << 20;
  if (at + kNear >= shared_begin_ && at < shared_end + kNear) {
    executor_.fault(f, verb(kind), " ", bytes, " bytes at byte ", static_cast<int64_t>(at - shared_begin_),
                    " of shared memory, which has ", shared_bytes_, ", in ", line_of(site));
  }
  auto next = buffers_.upper_bound(at);
  if (next != buffers_.begin()) {
    const auto& [begin, buffer] = *std::prev(next);
    if (at - begin < buffer.bytes + kNear) {
      executor_.fault(f, verb(kind), " ", bytes, " bytes at byte ", at - begin, " of a buffer of ",
                      buffer.bytes, ", in ", line_of(site));
    }
  }
  if (next != buffers_.end() && next->first - at < kNear) {
    executor_.fault(f, verb(kind), " ", bytes, " bytes, ", next->first - at, " before a buffer of ",
                    next->second.bytes, ", in ", line_of(site));
  }
  executor_.fault(f, verb(kind), " ", bytes, " bytes at ", p, ", which is no memory of the device, in ",
                  line_of(site));
}

void Detector::conflict(const Fiber& f, Access kind, const Cell& cell, int reader, const Region& region,
                        uintptr_t at, const void* site) {
  const Stamp other = reader < 0 ? cell.write : cell.reads[reader];
  const uint32_t other_site = reader < 0 ? cell.write_site : cell.read_sites[reader];
  if (reader < 0 && is_bulk(other)) {
    executor_.fault(f, verb(kind), " ", Place{region, at}, " in ", line_of(site), ", which the copy in ",
                    line_of(other_site), " writes: it has not waited for its mbarrier");
  }
  if (is_copy(other)) {
    executor_.fault(f, verb(kind), " ", Place{region, at}, " in ", line_of(site),
                    " while the copy of thread ", thread_of(other), " in ", line_of(other_site),
                    " is under way: it has not waited");
  }
  executor_.fault(f, "race: ", verb(kind), " ", Place{region, at}, " in ", line_of(site), ", and thread ",
                  thread_of(other), block_of(other) == block_ ? "" : " of another block",
                  reader < 0 ? " writes" : " reads", " it in ", line_of(other_site),
                  ", with no sync between");
}

}  // namespace simt
}  // namespace fintune
