// Accesses put together to instructions, and what these take.
#include "simt/traffic.h"

#include <algorithm>

#include "simt/executor.h"
#include "simt/source.h"

namespace fintune {
namespace simt {
namespace {

constexpr int kBanks = 32;
constexpr uintptr_t kWord = 4, kSector = 32, kPage = 4096;
constexpr size_t kWidest = 16;  // bytes that one instruction moves for a lane
// Bits of Access::order: key 32 | passes 27 | lane 5.
constexpr int kPassesShift = 5, kKeyShift = 32;

uint32_t key_of(const void* site, bool write) { return code_offset(site) << 1 | (write ? 1 : 0); }

// Lanes that shared memory serves at a time.
int lanes_together(uint32_t bytes) { return bytes <= 4 ? kLanes : bytes <= 8 ? kLanes / 2 : kLanes / 4; }

// Words of one group of lanes, by bank.
class Banks {
 public:
  void add(uintptr_t at, uint32_t bytes) {
    for (uintptr_t word = at / kWord; word <= (at + bytes - 1) / kWord; ++word) {
      std::vector<uintptr_t>& bank = words_[word % kBanks];
      if (std::find(bank.begin(), bank.end(), word) != bank.end()) continue;
      bank.push_back(word);
      ++different_;
      deepest_ = std::max<int64_t>(deepest_, static_cast<int64_t>(bank.size()));
    }
  }
  // Of the group; it is empty afterwards.
  Cost take() {
    const Cost cost{deepest_, (different_ + kBanks - 1) / kBanks};
    for (std::vector<uintptr_t>& bank : words_) bank.clear();
    deepest_ = different_ = 0;
    return cost;
  }

 private:
  std::array<std::vector<uintptr_t>, kBanks> words_;
  int64_t deepest_ = 0, different_ = 0;
};

Banks& banks() {
  static thread_local Banks b;
  return b;
}

int64_t bits(const std::array<uint64_t, 64>& words) {
  int64_t n = 0;
  for (uint64_t word : words) n += __builtin_popcountll(word);
  return n;
}

}  // namespace

void Traffic::begin_launch() {
  const char* const name = executor_.kernel().name;
  kernel_ = &kernels_[name];
  kernel_->totals.kernel = name;
  ++kernel_->totals.launches;
  segment_.clear();
  lane_ = nullptr;
  pages_.clear();
  last_page_ = nullptr;
}

void Traffic::end_launch() {
  for (const auto& [number, page] : pages_) {
    if (page->constant) continue;
    kernel_->totals.different_read += bits(page->read);
    kernel_->totals.different_written += bits(page->written);
  }
}

uint32_t& Traffic::passes(uint32_t key) {
  if (2 * passes_used_ > passes_.size()) {
    std::vector<Passes> old(2 * passes_.size());
    old.swap(passes_);
    passes_used_ = 0;
    for (const Passes& p : old) {
      if (p.lane_run == lane_run_) passes(p.key) = p.count;
    }
  }
  const size_t mask = passes_.size() - 1;
  size_t i = (key * 2654435761u >> 8) & mask;
  while (passes_[i].lane_run == lane_run_ && passes_[i].key != key) i = (i + 1) & mask;
  if (passes_[i].lane_run != lane_run_) {
    passes_[i] = Passes{key, lane_run_, 0};
    ++passes_used_;
  }
  return passes_[i].count;
}

void Traffic::add(const Fiber& f, bool write, const void* p, size_t bytes, const void* site) {
  if (lane_ != &f) {
    lane_ = &f;
    ++lane_run_;
    passes_used_ = 0;
  }
  const uint32_t key = key_of(site, write);
  for (size_t done = 0; done < bytes; done += kWidest) {
    const uint64_t order = static_cast<uint64_t>(key) << kKeyShift |
                           static_cast<uint64_t>(passes(key)++) << kPassesShift |
                           static_cast<uint64_t>(f.thread % kLanes);
    segment_.push_back(Access{order, reinterpret_cast<uintptr_t>(p) + done,
                              static_cast<uint32_t>(std::min(bytes - done, kWidest))});
  }
}

void Traffic::end_segment() {
  std::sort(segment_.begin(), segment_.end(),
            [](const Access& a, const Access& b) { return a.order < b.order; });
  const Access* const end = segment_.data() + segment_.size();
  for (const Access* first = segment_.data(); first != end;) {
    const Access* last = first;
    while (last != end && last->instruction() == first->instruction()) ++last;
    count(first, last, static_cast<uint32_t>(first->order >> kKeyShift));
    first = last;
  }
  segment_.clear();
  lane_ = nullptr;
}

void Traffic::add_matrices(const Warp& w, int count) {
  Access rows[kLanes];
  for (int l = 0; l < 8 * count; ++l) {
    rows[l] = Access{static_cast<uint64_t>(l), reinterpret_cast<uintptr_t>(w.lanes[l].request.row), 16};
  }
  this->count(rows, rows + 8 * count, key_of(w.lanes[0].request.site, false));
}

void Traffic::count(const Access* first, const Access* last, uint32_t key) {
  const bool write = (key & 1) != 0;
  const uintptr_t shared = reinterpret_cast<uintptr_t>(executor_.shared());
  Line& line = kernel_->lines[key];
  if (first->at - shared >= executor_.kernel().shared_bytes) return count_global(first, last, write, line);
  const int together = lanes_together(first->bytes);
  Cost cost;
  for (const Access* a = first; a != last;) {
    const int group = a->lane() / together;
    for (; a != last && a->lane() / together == group; ++a) banks().add(a->at, a->bytes);
    cost.add(banks().take());
  }
  line.shared.add(cost);
  kernel_->totals.shared.add(cost);
}

void Traffic::count_global(const Access* first, const Access* last, bool write, Line& line) {
  std::array<std::pair<uintptr_t, uintptr_t>, kLanes> ranges;
  size_t n = 0;
  for (const Access* a = first; a != last; ++a) ranges[n++] = {a->at, a->at + a->bytes};
  std::sort(ranges.begin(), ranges.begin() + n);
  int64_t bytes = 0, sectors = 0;
  uintptr_t done = 0, next_sector = 0;
  for (size_t i = 0; i < n; ++i) {
    const auto [begin, end] = ranges[i];
    const uintptr_t from = std::max(begin, done);
    if (from >= end) continue;
    if (!touch(from, end, write)) return;
    bytes += static_cast<int64_t>(end - from);
    done = end;
    const uintptr_t sector = std::max(from / kSector, next_sector);
    next_sector = (end - 1) / kSector + 1;
    sectors += static_cast<int64_t>(next_sector - std::min(sector, next_sector));
  }
  const Cost cost{sectors, (bytes + static_cast<int64_t>(kSector) - 1) / static_cast<int64_t>(kSector)};
  line.global.add(cost);
  kernel_->totals.global.add(cost);
  (write ? kernel_->totals.bytes_written : kernel_->totals.bytes_read) += bytes;
}

Traffic::Page& Traffic::page(uintptr_t number) {
  if (last_page_ != nullptr && last_number_ == number) return *last_page_;
  std::unique_ptr<Page>& page = pages_[number];
  if (page == nullptr) {
    page = std::make_unique<Page>();
    page->constant = is_constant(reinterpret_cast<const void*>(number * kPage), 1);
  }
  last_number_ = number;
  last_page_ = page.get();
  return *page;
}

bool Traffic::touch(uintptr_t begin, uintptr_t end, bool write) {
  for (uintptr_t at = begin, next; at < end; at = next) {
    next = std::min(end, (at / 64 + 1) * 64);
    Page& p = page(at / kPage);
    if (p.constant) return false;
    const uint64_t mask = next - at == 64 ? ~uint64_t{0} : ((uint64_t{1} << (next - at)) - 1) << at % 64;
    (write ? p.written : p.read)[at % kPage / 64] |= mask;
  }
  return true;
}

std::vector<KernelTraffic> Traffic::report(bool lines) const {
  std::vector<KernelTraffic> all;
  for (const auto& [name, kernel] : kernels_) {
    all.push_back(kernel.totals);
    if (!lines) continue;
    std::map<std::pair<std::string, int>, LineTraffic> sums;  // of all code that a line became
    for (const auto& [key, line] : kernel.lines) {
      for (const bool shared : {true, false}) {
        const Cost cost = shared ? line.shared : line.global;
        if (cost.taken <= cost.least) continue;
        const bool write = (key & 1) != 0;
        LineTraffic& sum = sums[{line_of(key >> 1), 2 * (shared ? 1 : 0) + (write ? 1 : 0)}];
        sum.line = line_of(key >> 1);
        sum.shared = shared;
        sum.write = write;
        sum.cost.add(cost);
      }
    }
    for (const auto& [at, sum] : sums) all.back().lines.push_back(sum);
    std::stable_sort(all.back().lines.begin(), all.back().lines.end(),
                     [](const LineTraffic& a, const LineTraffic& b) {
                       return a.cost.taken - a.cost.least > b.cost.taken - b.cost.least;
                     });
  }
  return all;
}

}  // namespace simt
}  // namespace fintune
