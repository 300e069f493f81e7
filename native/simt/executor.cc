// Scheduling of fibers, meetings of warps, barriers.
#include "simt/executor.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "simt/detector.h"
#include "simt/mbarrier.h"
#include "simt/sites.h"
#include "simt/traffic.h"
#include "simt/warpgroup.h"

namespace fintune {
namespace simt {
namespace {

// A NaN as f32 (signalling), as bf16 (signalling) and as f16, and as an index far out of range.
constexpr uint32_t kPoison = 0x7FA17FA1u;
constexpr size_t kSharedAlignment = 128;

const char* meeting_name(Meeting m) {
  static const char* const names[] = {"nothing",       "a shuffle",    "a ballot",         "ldmatrix",
                                      "mma",           "a warp sync",  "a barrier",        "a named barrier",
                                      "wgmma.fence",   "wgmma.commit", "a wait for wgmma", "wgmma",
                                      "a proxy fence", "an arrival",   "an mbarrier",      "setmaxnreg"};
  return names[static_cast<int>(m)];
}

}  // namespace

__thread Executor* current_executor = nullptr;
__thread Fiber* current_fiber = nullptr;

bool same_place(Where a, Where b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::ostream& operator<<(std::ostream& out, Where where) {
  return out << (where.file == nullptr ? "?" : base_name(where.file)) << ":" << where.line;
}

Executor::Executor() : fibers_(kLanes * kMaxWarps), warps_(kMaxWarps) {
  detector_ = std::make_unique<Detector>(*this);
  warpgroups_ = std::make_unique<Warpgroups>(*this);
  mbarriers_ = std::make_unique<Mbarriers>(*this);
  stacks_ = std::make_unique<Stacks>(kLanes * kMaxWarps);
  for (int i = 0; i < kLanes * kMaxWarps; ++i) {
    fibers_[i].stack = stacks_->low(i);
    fibers_[i].thread = i;
    fibers_[i].warp = &warps_[i / kLanes];
  }
  for (int w = 0; w < kMaxWarps; ++w) {
    warps_[w].index = w;
    warps_[w].lanes = &fibers_[w * kLanes];
  }
}

Executor::~Executor() = default;

void Executor::count_traffic(bool on) { traffic_ = on ? std::make_unique<Traffic>(*this) : nullptr; }

void Executor::run(const KernelRun& run) {
  random_ = Random(draws_.next());
  run_ = &run;
  fault_.clear();
  work_ += steps_;
  steps_ = 0;

  // Only as aligned as the device promises, so that a kernel which needs more is seen.
  const size_t needed = run.shared_bytes + 3 * kSharedAlignment;
  if (shared_capacity_ < needed) {
    shared_memory_.reset(new char[needed]);
    shared_capacity_ = needed;
  }
  uintptr_t base = reinterpret_cast<uintptr_t>(shared_memory_.get());
  base = (base + 2 * kSharedAlignment - 1) / (2 * kSharedAlignment) * (2 * kSharedAlignment);
  shared_ = reinterpret_cast<char*>(base + kSharedAlignment);

  const int64_t blocks = static_cast<int64_t>(run.grid.x) * run.grid.y * run.grid.z;
  std::vector<int64_t> order(static_cast<size_t>(blocks));
  for (int64_t i = 0; i < blocks; ++i) order[i] = i;
  for (int64_t i = blocks - 1; i > 0; --i) std::swap(order[i], order[random_.next() % (i + 1)]);
  detector_->begin_launch();
  if (traffic_) traffic_->begin_launch();
  for (int64_t index : order) {
    run_block(index);
    if (!fault_.empty()) throw Error(ErrorCode::Internal, fault_);
  }
  if (traffic_) traffic_->end_launch();
}

void Executor::run_block(int64_t index) {
  block_[0] = static_cast<int>(index % run_->grid.x);
  block_[1] = static_cast<int>(index / run_->grid.x % run_->grid.y);
  block_[2] = static_cast<int>(index / run_->grid.x / run_->grid.y);
  for (size_t i = 0; i + 4 <= run_->shared_bytes; i += 4) std::memcpy(shared_ + i, &kPoison, 4);
  detector_->begin_block(shared_, run_->shared_bytes);
  warpgroups_->begin_block();
  mbarriers_->begin_block();
  live_warps_ = run_->threads / kLanes;
  for (int t = 0; t < run_->threads; ++t) {
    Fiber& f = fibers_[t];
    f.waiting = f.done = false;
    f.copies.clear();
    f.groups = 0;
    // Not all tops in the same lines of the cache.
    prepare(f.context, f.stack, Stacks::kBytes - static_cast<size_t>(t % 61) * 64, fiber_entry);
  }
  for (int w = 0; w < live_warps_; ++w) warps_[w].state = Warp::State::Runnable;
  static constexpr int stickiness[] = {0, 8, 12, 15};
  stickiness_ = stickiness[random_.below(4)];
  current_executor = this;
  switch_context(main_, draw_warp(nullptr));
  current_executor = nullptr;
  current_fiber = nullptr;
}

void Executor::abandon() {
  Context nowhere;
  switch_context(nowhere, main_);
  __builtin_unreachable();
}

void Executor::fiber_entry() {
  current_executor->fiber_body();
  __builtin_unreachable();
}

void Executor::fiber_body() {
  Fiber& f = *current_fiber;
  try {
    run_->body();
  } catch (const std::exception& e) {
    describe_fault(f.thread, "threw ", e.what());
  }
  if (!fault_.empty()) abandon();
  leave(f);
}

void Executor::leave(Fiber& f) {
  if (!f.copies.empty()) {
    fault(f, "ends while its copy of ", f.copies.front().where, " is under way: wait for it");
  }
  warpgroups_->leave(f);
  f.done = true;
  next(f);
}

Request& Executor::request(Meeting meeting, Where where, int kind, int count) {
  Request& r = current_fiber->request;
  r.meeting = meeting;
  r.where = where;
  r.kind = kind;
  r.count = count;
  return r;
}

uint64_t Executor::meet() {
  Fiber& f = *current_fiber;
  step(f);
  f.waiting = true;
  next(f);
  return f.request.value;
}

void Executor::next(Fiber& f) {
  Warp& w = *f.warp;
  Context* to;
  if (++w.position < kLanes) {
    current_fiber = &w.lane_in_order(w.position);
    to = &current_fiber->context;
  } else {
    to = &end_of_segment(w);
  }
  if (to != &f.context) switch_context(f.context, *to);
}

Context& Executor::end_of_segment(Warp& w) {
  if (traffic_) traffic_->end_segment();
  int done = 0;
  for (int i = 0; i < kLanes; ++i) done += w.lanes[i].done;
  if (done == kLanes) {
    w.state = Warp::State::Done;
    if (--live_warps_ == 0) {
      mbarriers_->end_block(w.lanes[0]);
      return main_;
    }
  } else {
    if (done > 0) {
      int gone = 0, waits = 0;
      for (int i = 0; i < kLanes; ++i) (w.lanes[i].done ? gone : waits) = i;
      const Request& r = w.lanes[waits].request;
      fault(w.lanes[gone], "has left the kernel while thread ", w.lanes[waits].thread,
            " of its warp waits at ", meeting_name(r.meeting), " in ", r.where);
    }
    check_meeting(w);
    perform(w);
    for (int i = 0; i < kLanes; ++i) w.lanes[i].waiting = false;
  }
  if (async_mode == AsyncMode::Random) {
    land_one_at_random();
    warpgroups_->run_one_at_random();
    mbarriers_->run_one_at_random();
  }
  return draw_warp(&w);
}

Context& Executor::draw_warp(Warp* last) {
  Warp* w = last;
  if (w == nullptr || w->state != Warp::State::Runnable || random_.below(16) >= stickiness_) {
    Warp* runnable[kMaxWarps];
    int n = runnable_warps(runnable);
    while (n == 0 && mbarriers_->end_one()) n = runnable_warps(runnable);
    if (n == 0) fault(last->lanes[0], "no warp can go on: ", waiting_list());
    w = runnable[random_.below(n)];
  }
  const int draw = random_.below(kLanes * kLanes / 2);
  w->start = draw & (kLanes - 1);
  w->stride = draw / kLanes * 2 + 1;
  w->position = 0;
  current_fiber = &w->lane_in_order(0);
  return current_fiber->context;
}

int Executor::runnable_warps(Warp** runnable) {
  int n = 0;
  for (int i = 0; i < run_->threads / kLanes; ++i) {
    if (warps_[i].state == Warp::State::Runnable) runnable[n++] = &warps_[i];
  }
  return n;
}

std::string Executor::waiting_list() const {
  std::ostringstream text;
  for (int i = 0; i < run_->threads / kLanes; ++i) {
    const Warp& w = warps_[i];
    text << (i > 0 ? "; " : "") << "warp " << i;
    if (w.state == Warp::State::Done) {
      text << " has left";
      continue;
    }
    const Request& r = w.lanes[0].request;
    text << " waits at " << meeting_name(r.meeting);
    if (r.meeting == Meeting::NamedBarrier) text << " " << r.kind << " of " << r.count << " threads";
    if (r.meeting == Meeting::MbarrierWait) mbarriers_->describe_wait(text, w);
    text << " in " << r.where;
  }
  return text.str();
}

// All lanes must have come to the same place with the same parameters.
void Executor::check_meeting(const Warp& w) {
  const Request& a = w.lanes[0].request;
  for (int i = 1; i < kLanes; ++i) {
    const Request& b = w.lanes[i].request;
    if (a.meeting != b.meeting || !same_place(a.where, b.where)) {
      fault(w.lanes[i], "waits at ", meeting_name(b.meeting), " in ", b.where, " while thread ",
            w.lanes[0].thread, " of its warp waits at ", meeting_name(a.meeting), " in ", a.where);
    }
    if (a.kind != b.kind || a.count != b.count) {
      fault(w.lanes[i], "comes to ", meeting_name(b.meeting), " in ", b.where, " with (", b.kind, ", ",
            b.count, "), thread ", w.lanes[0].thread, " of its warp with (", a.kind, ", ", a.count, ")");
    }
  }
}

void Executor::perform(Warp& w) {
  Request& first = w.lanes[0].request;
  switch (first.meeting) {
    case Meeting::Exchange:
      perform_exchange(w);
      break;
    case Meeting::Vote: {
      uint64_t votes = 0;
      for (int i = 0; i < kLanes; ++i) votes |= (w.lanes[i].request.value & 1) << i;
      for (int i = 0; i < kLanes; ++i) w.lanes[i].request.value = votes;
      break;
    }
    case Meeting::LoadMatrices:
      for (int i = 0; i < 8 * first.count; ++i) {
        detector_->read_row(w.lanes[i], w.lanes[i].request.row, w.lanes[i].request.site);
      }
      if (traffic_) traffic_->add_matrices(w, first.count);
      load_matrices(w.lanes);
      break;
    case Meeting::MultiplyAccumulate:
      if (static_cast<Tile>(first.kind) != Tile::F16K8 && capability < 80) {
        fault(w.lanes[0], "mma m16n8k16 in ", first.where, " needs sm_80, the device is sm_", capability);
      }
      multiply_accumulate(w.lanes);
      break;
    case Meeting::Barrier:
    case Meeting::NamedBarrier:
      reach_barrier(w);
      break;
    case Meeting::WarpSync:
      detector_->sync_warp(w.lanes[0], w.index);
      break;
    case Meeting::WarpgroupFence:
      warpgroups_->fence(w);
      break;
    case Meeting::WarpgroupCommit:
      warpgroups_->commit(w);
      break;
    case Meeting::WarpgroupWait:
      warpgroups_->wait(w, first.count);
      break;
    case Meeting::WarpgroupProduct:
      reach_product(w);
      break;
    case Meeting::ProxyFence:
      detector_->fence_proxy(w.lanes[0], w.index);
      break;
    case Meeting::MbarrierArrive:
      mbarriers_->arrive(w);
      break;
    case Meeting::MbarrierWait:
      mbarriers_->wait(w);
      break;
    case Meeting::SetRegisters:
      mbarriers_->set_registers(w);
      break;
    case Meeting::None:
      break;
  }
}

void Executor::perform_exchange(Warp& w) {
  uint64_t values[kLanes];
  for (int i = 0; i < kLanes; ++i) values[i] = w.lanes[i].request.value;
  for (int i = 0; i < kLanes; ++i) {
    Request& r = w.lanes[i].request;
    int from = i;
    switch (static_cast<Exchange>(r.kind)) {
      case Exchange::Xor:
        from = i ^ r.operand;
        break;
      case Exchange::From:
        from = r.operand & (kLanes - 1);
        break;
      case Exchange::Up:
        from = i - r.operand;
        break;
      case Exchange::Down:
        from = i + r.operand;
        break;
    }
    if (r.operand < 0 || from >= 2 * kLanes) {
      fault(w.lanes[i], "shuffles by ", r.operand, " in ", r.where);
    }
    r.value = values[from < 0 || from >= kLanes ? i : from];
  }
}

void Executor::reach_barrier(Warp& w) {
  const Request& own = w.lanes[0].request;
  const bool named = own.meeting == Meeting::NamedBarrier;
  const int expected = named ? own.count : run_->threads;
  if (named && (own.kind < 1 || own.kind > 15 || own.count < kLanes || own.count > run_->threads ||
                own.count % kLanes != 0)) {
    fault(w.lanes[0], "named barrier (", own.kind, ", ", own.count, ") in ", own.where,
          ": ids are 1 .. 15, threads a multiple of ", kLanes, " up to the block's ", run_->threads);
  }
  w.state = Warp::State::AtBarrier;
  int there[kMaxWarps];
  int n = 0;
  for (int i = 0; i < run_->threads / kLanes; ++i) {
    Warp& other = warps_[i];
    if (other.state != Warp::State::AtBarrier) continue;
    const Request& r = other.lanes[0].request;
    if (r.meeting != own.meeting || r.kind != own.kind) continue;
    if (r.count != own.count) {
      fault(w.lanes[0], "comes to named barrier ", own.kind, " with ", own.count, " threads in ", own.where,
            ", thread ", other.lanes[0].thread, " with ", r.count, " in ", r.where);
    }
    // A __syncthreads must be one for the whole block; a named barrier may stand at several places.
    if (!named && !same_place(r.where, own.where)) {
      fault(w.lanes[0], "waits at a barrier in ", own.where, " while thread ", other.lanes[0].thread,
            " waits at one in ", r.where);
    }
    there[n++] = i;
  }
  if (n * kLanes < expected) return;
  for (int i = 0; i < n; ++i) warps_[there[i]].state = Warp::State::Runnable;
  detector_->sync_warps(w.lanes[0], there, n);
}

// The four warps come to each product together, which orders nothing else.
void Executor::reach_product(Warp& w) {
  w.state = Warp::State::AtBarrier;
  Warp* const four = &warps_[w.index / Warpgroups::kWarps * Warpgroups::kWarps];
  for (int i = 0; i < Warpgroups::kWarps; ++i) {
    if (four[i].state != Warp::State::AtBarrier ||
        four[i].lanes[0].request.meeting != Meeting::WarpgroupProduct) {
      return;
    }
  }
  for (int i = 0; i < Warpgroups::kWarps; ++i) four[i].state = Warp::State::Runnable;
  warpgroups_->issue(four);
}

void Executor::land(AsyncCopy& copy) {
  if (copy.valid) {
    std::memcpy(copy.to, copy.from, 16);
  } else {
    std::memset(copy.to, 0, 16);
  }
  copy.landed = true;
}

void Executor::copy_async(void* to, const void* from, bool valid, Where where, const void* site) {
  Fiber& f = *current_fiber;
  if (capability < 80) fault(f, "cp.async in ", where, " needs sm_80, the device is sm_", capability);
  detector_->begin_copy(f, to, valid ? from : nullptr, site);
  f.copies.push_back(
      AsyncCopy{static_cast<char*>(to), static_cast<const char*>(from), valid, false, f.groups, where});
  if (async_mode == AsyncMode::Early || (async_mode == AsyncMode::Random && random_.below(3) == 0)) {
    land(f.copies.back());
  } else {
    for (int i = 0; i < 4; ++i) std::memcpy(static_cast<char*>(to) + 4 * i, &kPoison, 4);
  }
}

void Executor::wait_async(int groups, Where where) {
  Fiber& f = *current_fiber;
  if (capability < 80) fault(f, "cp.async wait in ", where, " needs sm_80, the device is sm_", capability);
  size_t kept = 0;
  for (AsyncCopy& copy : f.copies) {
    if (copy.group < f.groups - groups) {
      if (!copy.landed) land(copy);
      detector_->end_copy(f, copy.to);
    } else {
      f.copies[kept++] = copy;
    }
  }
  f.copies.resize(kept);
}

void Executor::land_one_at_random() {
  Fiber& f = fibers_[random_.below(run_->threads)];
  if (f.copies.empty()) return;
  AsyncCopy& copy = f.copies[random_.below(static_cast<int>(f.copies.size()))];
  if (!copy.landed) land(copy);
}

}  // namespace simt
}  // namespace fintune
