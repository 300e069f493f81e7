// Phases, copies and registers.
#include "simt/mbarrier.h"

#include <algorithm>
#include <cstring>

#include "simt/sites.h"
#include "simt/warpgroup.h"

namespace fintune {
namespace simt {
namespace {

constexpr uint32_t kPoison = 0x7FA17FA1u;  // a NaN
constexpr uintptr_t kAtom = 1024, kLine = 128, kChunk = 16;
constexpr int kAllRegisters = 65536;

// Of each thread at launch, where the compiler may take as many as there are.
int launch_registers(const Executor& executor) {
  return std::min(kAllRegisters / executor.kernel().threads / 8 * 8, 248);
}

uintptr_t address(const void* p) { return reinterpret_cast<uintptr_t>(p); }

void check_capability(Executor& executor, const Fiber& f, Where where) {
  if (executor.capability < 90) {
    executor.fault(f, "an mbarrier in ", where, " needs sm_90, the device is sm_", executor.capability);
  }
}

}  // namespace

void Mbarriers::begin_block() {
  barriers_.clear();
  queue_.clear();
  registers_.fill(0);
}

void Mbarriers::end_block(const Fiber& f) {
  if (!queue_.empty()) {
    executor_.fault(f, "is the last to end while the copy of ", queue_.front().where, " is under way");
  }
  for (const Barrier& b : barriers_) {
    if (b.copied > b.waited) {
      executor_.fault(f, "is the last to end, and nobody has waited for the copies of the mbarrier at byte ",
                      b.at - address(executor_.shared()), " of shared memory");
    }
  }
  const int warps = executor_.kernel().threads / kLanes;
  int sum = 0;
  for (int w = 0; w < warps; ++w) {
    const int own = registers_[w];
    if (own != registers_[w / Warpgroups::kWarps * Warpgroups::kWarps]) {
      executor_.fault(f, "ends, and warps of warpgroup ", w / Warpgroups::kWarps,
                      " came to different numbers of registers");
    }
    sum += kLanes * (own == 0 ? launch_registers(executor_) : own);
  }
  if (sum > kAllRegisters) {
    executor_.fault(f, "ends, and its block's warps took ", sum, " registers of ", kAllRegisters);
  }
}

// Addresses count from here, as those of descriptors do: swizzles go by their bits.
uintptr_t Mbarriers::window() const { return address(executor_.shared()) / kAtom * kAtom; }

void Mbarriers::init(const Fiber& f, const void* at, int warps, Where where, const void* site) {
  check_capability(executor_, f, where);
  executor_.detector().access(f, Detector::Access::Write, at, 8, 8, site);
  if (warps < 1 || warps > kMostBytes) executor_.fault(f, "an mbarrier of ", warps, " arrivals in ", where);
  for (const Barrier& b : barriers_) {
    if (b.at == address(at)) executor_.fault(f, "initialises an mbarrier twice, in ", where);
  }
  if (barriers_.size() == kMaxMbarriers) {
    executor_.fault(f, "more than ", kMaxMbarriers, " mbarriers, in ", where);
  }
  Barrier b;
  b.at = address(at);
  b.warps = b.pending = warps;
  b.made = executor_.detector().last_write(b.at);
  barriers_.push_back(b);
}

Mbarriers::Barrier& Mbarriers::find(const Fiber& f, uintptr_t at, Where where, bool by_copy) {
  check_capability(executor_, f, where);
  for (Barrier& b : barriers_) {
    if (b.at != at) continue;
    executor_.detector().check_mbarrier(f, at, b.made, where, by_copy);
    return b;
  }
  executor_.fault(f, "comes to an mbarrier at byte ", static_cast<int64_t>(at - address(executor_.shared())),
                  " of shared memory in ", where, ", and nobody has initialised it");
}

void Mbarriers::arrive(Warp& w) {
  const Fiber& f = w.lanes[0];
  const Request& r = f.request;
  Barrier& b = find(f, address(executor_.shared()) + r.kind, r.where, false);
  if (b.pending == 0) {
    executor_.fault(f, "arrives in ", r.where, " at an mbarrier whose ", b.warps,
                    " arrivals have all come: its phase ", b.phase, " lacks ", b.coming, " bytes");
  }
  if (b.coming + r.count > kMostBytes || r.count < 0) {
    executor_.fault(f, "announces ", r.count, " bytes in ", r.where, ", more than an mbarrier counts");
  }
  executor_.detector().release(f, w.index, b.arrived);
  --b.pending;
  b.announced += r.count;
  b.coming += r.count;
  end_phase_if_due(b);
}

void Mbarriers::wait(Warp& w) {
  const Fiber& f = w.lanes[0];
  Barrier& b = find(f, address(executor_.shared()) + f.request.kind, f.request.where, false);
  if ((b.phase & 1) != f.request.count) {
    pass(w, b);
  } else {
    w.state = Warp::State::AtBarrier;
    b.waiting.push_back(&w);
  }
}

void Mbarriers::pass(Warp& w, Barrier& b) {
  executor_.detector().acquire(w.index, b.ended);
  b.waited = b.phase;
  w.state = Warp::State::Runnable;
}

void Mbarriers::end_phase_if_due(Barrier& b) {
  if (b.pending > 0 || b.coming > 0) return;
  const int index = static_cast<int>(&b - barriers_.data());
  ++b.phase;
  b.pending = b.warps;
  b.ended.join(b.arrived);
  b.arrived = {};
  if (b.copies) b.ended.waited[index] = static_cast<uint32_t>(b.copied = b.phase);
  b.copies = false;
  size_t kept = 0;
  for (Warp* w : b.waiting) {
    if ((b.phase & 1) == w->lanes[0].request.count) {
      b.waiting[kept++] = w;
      continue;
    }
    pass(*w, b);
  }
  b.waiting.resize(kept);
}

char* Mbarriers::Copy::place(uintptr_t window, int line, int chunk) const {
  const uintptr_t at = address(to) - window + line * kLine + chunk * kChunk;
  return reinterpret_cast<char*>(window + (at ^ ((at / kLine & 7) * kChunk)));
}

void Mbarriers::copy(const Fiber& f, char* to, const BoxMap& map, int column, int row, const void* barrier,
                     Where where, const void* site) {
  Barrier& b = find(f, address(barrier), where, true);
  Copy c{to, map, column, row, static_cast<int>(&b - barriers_.data()), where};
  if ((address(to) - window()) % kLine != 0) {
    executor_.fault(f, "the copy in ", where, " goes to an address that is no multiple of ", kLine);
  }
  if (c.bytes() > b.announced) {
    executor_.fault(f, "the copy in ", where, " brings ", c.bytes(), " bytes to an mbarrier to which ",
                    b.announced, " more are announced");
  }
  Detector& detector = executor_.detector();
  for (int line = 0; line < map.box_rows; ++line) {
    for (int chunk = 0; chunk < c.chunks(); ++chunk) {
      char* const place = c.place(window(), line, chunk);
      for (const Barrier& other : barriers_) {
        if (other.at + 8 > address(place) && other.at < address(place) + kChunk) {
          executor_.fault(f, "the copy in ", where, " goes over an mbarrier");
        }
      }
      detector.begin_bulk(f, place, where, site, c.barrier, static_cast<uint32_t>(b.phase));
      for (int i = 0; i < 4; ++i) std::memcpy(place + 4 * i, &kPoison, 4);
    }
    const int64_t from = std::max(column, 0), end = std::min<int64_t>(column + map.box_columns, map.columns);
    if (row + line >= 0 && row + line < map.rows && from < end) {
      const char* const first = map.data + 2 * ((row + line) * map.ld + from);
      detector.read_bulk(f, first, static_cast<size_t>(2 * (end - from)), site);
    }
  }
  b.announced -= c.bytes();
  b.copies = true;
  queue_.push_back(c);
  const AsyncMode mode = executor_.async_mode;
  if (mode == AsyncMode::Early || (mode == AsyncMode::Random && executor_.random().below(4) == 0)) {
    end(queue_.size() - 1);
  }
}

void Mbarriers::land(Copy& c) {
  for (int line = 0; line < c.map.box_rows; ++line) {
    for (int chunk = 0; chunk < c.chunks(); ++chunk) {
      uint16_t values[8];
      for (int i = 0; i < 8; ++i) {
        const int64_t row = c.row + line, column = c.column + 8 * chunk + i;
        const bool inside = row >= 0 && row < c.map.rows && column >= 0 && column < c.map.columns;
        values[i] = 0;
        if (inside) std::memcpy(values + i, c.map.data + 2 * (row * c.map.ld + column), 2);
      }
      std::memcpy(c.place(window(), line, chunk), values, kChunk);
    }
  }
  c.landed = true;
}

// Lands it, and tells its mbarrier.
void Mbarriers::end(size_t index) {
  Copy& c = queue_[index];
  if (!c.landed) land(c);
  for (int line = 0; line < c.map.box_rows; ++line) {
    for (int chunk = 0; chunk < c.chunks(); ++chunk) {
      executor_.detector().end_bulk(c.place(window(), line, chunk));
    }
  }
  Barrier& b = barriers_[c.barrier];
  b.coming -= c.bytes();
  queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(index));
  end_phase_if_due(b);
}

void Mbarriers::run_one_at_random() {
  constexpr int kDraws = 16;
  if (queue_.empty()) return;
  const size_t index = static_cast<size_t>(executor_.random().below(kDraws));
  if (index >= queue_.size()) return;
  if (queue_[index].landed) {
    end(index);
  } else {
    land(queue_[index]);
  }
}

bool Mbarriers::end_one() {
  if (queue_.empty()) return false;
  end(static_cast<size_t>(executor_.random().below(static_cast<int>(queue_.size()))));
  return true;
}

void Mbarriers::set_registers(Warp& w) {
  const Fiber& f = w.lanes[0];
  const Request& r = f.request;
  if (executor_.capability != 90) {
    executor_.fault(f, "setmaxnreg in ", r.where, " needs sm_90a, the device is sm_", executor_.capability);
  }
  const int had = registers_[w.index] == 0 ? launch_registers(executor_) : registers_[w.index];
  if (r.count % 8 != 0 || r.count < 24 || r.count > 256 || (r.kind != 0 ? r.count < had : r.count > had)) {
    executor_.fault(f, r.kind != 0 ? "takes " : "gives ", r.count, " registers of ", had, " in ", r.where,
                    ": a multiple of 8, 24 .. 256, is more, or less, than before");
  }
  registers_[w.index] = r.count;
}

void Mbarriers::describe_wait(std::ostream& out, const Warp& w) const {
  const Request& r = w.lanes[0].request;
  out << " at byte " << r.kind << " of shared memory for its phase of parity " << r.count;
  for (const Barrier& b : barriers_) {
    if (b.at != address(executor_.shared()) + r.kind) continue;
    out << ", while its phase " << b.phase << " lacks " << b.pending << " of " << b.warps << " arrivals and "
        << b.coming << " bytes";
  }
}

// The functions of tma_runtime.h.

namespace {

void meet_at_mbarrier(Site& site, Meeting meeting, const void* barrier, int count) {
  if (!visit(site).enabled) return;
  const int at = static_cast<int>(address(barrier) - address(current_executor->shared()));
  current_executor->request(meeting, {site.file, site.line}, at, count);
  current_executor->meet();
}

}  // namespace

void mbarrier_init(const void* barrier, int warps, Where where) {
  current_executor->mbarriers().init(*current_fiber, barrier, warps, where, __builtin_return_address(0));
}
void mbarrier_arrive(Site& site, const void* barrier) {
  meet_at_mbarrier(site, Meeting::MbarrierArrive, barrier, 0);
}
void mbarrier_announce(Site& site, const void* barrier, int bytes) {
  meet_at_mbarrier(site, Meeting::MbarrierArrive, barrier, bytes);
}
void mbarrier_wait(Site& site, const void* barrier, int parity) {
  meet_at_mbarrier(site, Meeting::MbarrierWait, barrier, parity);
}
void copy_box(void* to_shared, const BoxMap& map, int column, int row, const void* barrier, Where where) {
  current_executor->mbarriers().copy(*current_fiber, static_cast<char*>(to_shared), map, column, row, barrier,
                                     where, __builtin_return_address(0));
}
void set_registers(bool more, int registers, Where where) {
  current_executor->request(Meeting::SetRegisters, where, more ? 1 : 0, registers);
  current_executor->meet();
}

}  // namespace simt
}  // namespace fintune
