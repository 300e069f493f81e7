// Queues, registers and arithmetic of warpgroups' products.
#include "simt/warpgroup.h"

#include <algorithm>
#include <cstring>

#include "core/dtype.h"
#include "simt/detector.h"
#include "simt/sites.h"
#include "simt/wgmma_runtime.h"

namespace fintune {
namespace simt {
namespace {

constexpr uint32_t kPoison = 0x7FA17FA1u;  // a NaN
constexpr uintptr_t kAtom = 1024;

// Where the addresses in descriptors count from.
uintptr_t window(const Executor& executor) {
  return reinterpret_cast<uintptr_t>(executor.shared()) / kAtom * kAtom;
}

// A matrix descriptor (PTX ISA, "Asynchronous Warpgroup Level Matrix Shared Memory Layout"), bytes
// throughout.
struct Layout {
  explicit Layout(uint64_t d)
      : start((d & 0x3FFF) << 4),
        leading((d >> 16 & 0x3FFF) << 4),
        stride((d >> 32 & 0x3FFF) << 4),
        base_offset(static_cast<int>(d >> 49 & 7)),
        chunks(d >> 62 == 0 ? 1 : 16 >> (d >> 62)),
        unused((d & ~0xC00E3FFF3FFF3FFFull) != 0) {}
  uint64_t start, leading, stride;
  int base_offset;
  uint64_t chunks;  // of 16 bytes, of a line of an atom: 8, 4 or 2 where they are swizzled, else 1
  bool unused;      // bits that mean nothing are set

  // The chunk that holds element (line, depth) where lines lie along the depth, or (column, depth) where they
  // lie along the columns, as an address in the window.
  uint64_t along_depth(uint64_t line, uint64_t depth) const {
    const uint64_t next = chunks == 1 ? leading : 16;
    return swizzle(start + line % 8 * 16 * chunks + line / 8 * stride + depth / 8 * next);
  }
  uint64_t along_columns(uint64_t column, uint64_t depth) const {
    const uint64_t chunk = column / 8;
    // Without swizzle the two offsets change places.
    const uint64_t across = chunks == 1 ? chunk * stride : chunk % chunks * 16 + chunk / chunks * leading;
    return swizzle(start + across + depth % 8 * 16 * chunks + depth / 8 * (chunks == 1 ? leading : stride));
  }
  // By the bits of the address itself, not of the place within the operand.
  uint64_t swizzle(uint64_t at) const { return at ^ ((at >> 7 & (chunks - 1)) << 4); }
};

float value_of(const void* p, Tile tile) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return tile == Tile::BF16K16 ? to_float(bf16{bits}) : to_float(f16{bits});
}

inline __attribute__((always_inline)) void multiply(float* c, const float* a, const float* b, int columns) {
  for (int m = 0; m < Warpgroups::kRows; ++m) {
    for (int k = 0; k < Warpgroups::kDepth; ++k) {
      const float left = a[m * Warpgroups::kDepth + k];
      for (int n = 0; n < columns; ++n) {
        c[m * columns + n] = __builtin_fmaf(left, b[k * columns + n], c[m * columns + n]);
      }
    }
  }
}
#ifdef __x86_64__
// The same bits, without a call for each product.
__attribute__((target("avx2,fma"))) void multiply_by_instruction(float* c, const float* a, const float* b,
                                                                 int columns) {
  multiply(c, a, b, columns);
}
#endif

// Of element i of lane l of warp w.
int row_of(int w, int l, int i) { return 16 * w + l / 4 + (i & 2 ? 8 : 0); }
int column_of(int l, int i) { return 8 * (i / 4) + 2 * (l % 4) + (i & 1); }

}  // namespace

void Warpgroups::begin_block() {
  for (Group& group : groups_) {
    group.queue.clear();
    group.committed = {};
  }
  queued_ = 0;
  threads_.assign(static_cast<size_t>(executor_.kernel().threads), Thread{});
}

Warpgroups::Known& Warpgroups::known(const Fiber& f, const void* registers, int count) {
  std::vector<Known>& all = threads_[f.thread].known;
  for (Known& k : all) {
    if (k.registers == registers && k.held.size() == static_cast<size_t>(count)) return k;
  }
  all.push_back(Known{registers, std::vector<uint32_t>(static_cast<size_t>(count))});
  std::memcpy(all.back().held.data(), registers, 4 * static_cast<size_t>(count));
  return all.back();
}

void Warpgroups::check_fenced(const Fiber& f, const void* registers, int count, const char* what) {
  const Where where = f.request.where;
  const bool fenced = threads_[f.thread].fenced;
  if (!fenced ||
      std::memcmp(known(f, registers, count).held.data(), registers, 4 * static_cast<size_t>(count)) != 0) {
    executor_.fault(f, "wgmma in ", where, " takes ", what, " that were changed since the last wgmma.fence");
  }
}

void Warpgroups::fence(Warp& w) {
  for (int l = 0; l < kLanes; ++l) {
    Thread& thread = threads_[w.lanes[l].thread];
    thread.fenced = true;
    for (Known& k : thread.known) std::memcpy(k.held.data(), k.registers, 4 * k.held.size());
  }
}

void Warpgroups::commit(Warp& w) { ++group_of(w).committed[w.index % kWarps]; }

void Warpgroups::check_same(Warp* four) const {
  const Request& a = four[0].lanes[0].request;
  for (int t = 0; t < kThreads; ++t) {
    const Fiber& f = four[0].lanes[t];
    const Request& b = f.request;
    const ProductShape &x = a.product, &y = b.product;
    const bool same = same_place(a.where, b.where) && x.tile == y.tile && x.columns == y.columns &&
                      x.add == y.add && x.a_in_registers == y.a_in_registers &&
                      x.transposed == y.transposed && a.a_across == b.a_across;
    if (!same) {
      executor_.fault(f, "comes to wgmma in ", b.where, ", thread ", four[0].lanes[0].thread,
                      " of its warpgroup to another in ", a.where);
    }
    if (a.a_descriptor != b.a_descriptor || a.b_descriptor != b.b_descriptor) {
      executor_.fault(f, "comes to wgmma in ", b.where, " with other descriptors than thread ",
                      four[0].lanes[0].thread, " of its warpgroup");
    }
  }
}

std::vector<uintptr_t> Warpgroups::chunks_of(const Product& p, const Fiber& f) const {
  std::vector<uintptr_t> chunks;
  const auto check = [&](const Layout& layout) {
    if (layout.unused || layout.base_offset != 0) {
      executor_.fault(f, "wgmma in ", p.where, " has a descriptor with bits that mean nothing here");
    }
  };
  const auto add = [&](const Layout& layout, int lines, bool across) {
    for (int at = 0; at < lines; at += across ? 8 : 1) {
      for (int k = 0; k < kDepth; k += across ? 1 : 8) {
        chunks.push_back(window(executor_) +
                         (across ? layout.along_columns(at, k) : layout.along_depth(at, k)));
      }
    }
  };
  const Layout b(p.b_descriptor);
  check(b);
  if (!p.shape.a_in_registers) {
    const Layout a(p.a_descriptor);
    check(a);
    add(a, kRows, p.a_across);
  }
  add(b, p.shape.columns, p.shape.transposed);
  return chunks;
}

// The accumulator on its way that has the same registers, or these registers' values.
void Warpgroups::take_accumulator(Group& group, Product& p, Warp* four) {
  const int count = p.shape.columns / 2;
  for (auto other = group.queue.rbegin(); other != group.queue.rend(); ++other) {
    Accumulator& a = *other->accumulator;
    const bool waits = std::find(a.poisoned.begin(), a.poisoned.end(), true) != a.poisoned.end();
    if (waits && a.registers[0] == four[0].lanes[0].request.c) {
      if (a.columns != p.shape.columns) {
        executor_.fault(four[0].lanes[0], "wgmma in ", p.where, " has ", p.shape.columns,
                        " columns, the one before it in the same registers ", a.columns);
      }
      p.accumulator = other->accumulator;
      ++a.queued;
      return;
    }
  }
  p.accumulator = std::make_shared<Accumulator>();
  Accumulator& a = *p.accumulator;
  a.columns = p.shape.columns;
  a.values.resize(static_cast<size_t>(kRows) * a.columns);
  a.queued = 1;
  a.poisoned.fill(true);
  for (int t = 0; t < kThreads; ++t) {
    const Fiber& f = four[0].lanes[t];
    float* const c = f.request.c;
    check_fenced(f, c, count, "accumulators");
    a.registers[t] = c;
    for (int i = 0; i < count; ++i) {
      a.values[row_of(t / kLanes, t % kLanes, i) * a.columns + column_of(t % kLanes, i)] = c[i];
      std::memcpy(c + i, &kPoison, 4);
    }
  }
}

void Warpgroups::issue(Warp* four) {
  const Fiber& first = four[0].lanes[0];
  const Request& r = first.request;
  if (executor_.capability != 90) {
    executor_.fault(first, "wgmma in ", r.where, " needs sm_90a, the device is sm_", executor_.capability);
  }
  check_same(four);
  Group& group = group_of(four[0]);
  group.four = four;
  Product p;
  p.shape = r.product;
  p.a_across = r.a_across;
  p.where = r.where;
  p.a_descriptor = r.a_descriptor;
  p.b_descriptor = r.b_descriptor;
  p.group = group.committed;
  if (p.shape.a_in_registers) {
    for (int t = 0; t < kThreads; ++t) {
      const Fiber& f = four[0].lanes[t];
      check_fenced(f, f.request.a, 4, "operands");
      p.a_registers[t] = f.request.a;
      std::memcpy(p.a[t].data(), f.request.a, 16);
    }
  }
  take_accumulator(group, p, four);
  p.chunks = chunks_of(p, first);
  for (uintptr_t chunk : p.chunks) {
    for (int w = 0; w < kWarps; ++w)
      executor_.detector().read_in_background(four[w].lanes[0], chunk, p.where);
    executor_.detector().hold(chunk, 1);
  }
  group.queue.push_back(std::move(p));
  ++queued_;
  const bool early = executor_.async_mode == AsyncMode::Early ||
                     (executor_.async_mode == AsyncMode::Random && executor_.random().below(3) == 0);
  if (!early) return;
  for (Product& queued : group.queue) {
    if (!queued.done) run(queued);
  }
  write_back_all(group, group.queue.back());
}

void Warpgroups::run(Product& p) {
  const ProductShape& shape = p.shape;
  float a[kRows * kDepth];
  std::vector<float> b(static_cast<size_t>(kDepth) * shape.columns);
  const auto element = [&](const Layout& layout, int line, int k, bool across) {
    const uint64_t chunk = across ? layout.along_columns(line, k) : layout.along_depth(line, k);
    const int within = (across ? line : k) % 8;
    return value_of(reinterpret_cast<const char*>(window(executor_) + chunk) + 2 * within, shape.tile);
  };
  if (shape.a_in_registers) {
    for (int t = 0; t < kThreads; ++t) {
      for (int i = 0; i < 8; ++i) {
        // As mma's: registers alternate between rows g and g + 8, each pair of registers is 8 columns on.
        const int row = row_of(t / kLanes, t % kLanes, i);
        const int column = 2 * (t % 4) + i % 2 + i / 4 * 8;
        a[row * kDepth + column] = value_of(reinterpret_cast<const char*>(p.a[t].data()) + 2 * i, shape.tile);
      }
    }
  } else {
    const Layout layout(p.a_descriptor);
    for (int m = 0; m < kRows; ++m) {
      for (int k = 0; k < kDepth; ++k) a[m * kDepth + k] = element(layout, m, k, p.a_across);
    }
  }
  const Layout layout(p.b_descriptor);
  for (int k = 0; k < kDepth; ++k) {
    for (int n = 0; n < shape.columns; ++n) {
      b[static_cast<size_t>(k) * shape.columns + n] = element(layout, n, k, shape.transposed);
    }
  }
  std::vector<float>& c = p.accumulator->values;
  if (!shape.add) std::fill(c.begin(), c.end(), 0.0f);
#ifdef __x86_64__
  static const bool fused = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  fused ? multiply_by_instruction(c.data(), a, b.data(), shape.columns)
        : multiply(c.data(), a, b.data(), shape.columns);
#else
  multiply(c.data(), a, b.data(), shape.columns);
#endif
  p.done = true;
  --p.accumulator->queued;
}

void Warpgroups::write_back(Accumulator& a, const Warp& w, Where where) {
  const int own = w.index % kWarps;
  if (a.queued > 0 || !a.poisoned[own]) return;
  a.poisoned[own] = false;
  for (int l = 0; l < kLanes; ++l) {
    const Fiber& f = w.lanes[l];
    float* const c = a.registers[own * kLanes + l];
    for (int i = 0; i < a.columns / 2; ++i) {
      if (std::memcmp(c + i, &kPoison, 4) != 0) {
        executor_.fault(f, "changes accumulators of the wgmma in ", where, " while it is under way");
      }
      c[i] = a.values[row_of(own, l, i) * a.columns + column_of(l, i)];
    }
    Known& k = known(f, c, a.columns / 2);
    std::memcpy(k.held.data(), c, 4 * k.held.size());
  }
}

void Warpgroups::write_back_all(const Group& group, const Product& p) {
  for (int w = 0; w < kWarps; ++w) write_back(*p.accumulator, group.four[w], p.where);
}

// Registers that a product reads stay as they were until it is waited for.
void Warpgroups::check_a(const Product& p, const Warp& w) const {
  if (!p.shape.a_in_registers) return;
  for (int l = 0; l < kLanes; ++l) {
    const int t = w.index % kWarps * kLanes + l;
    if (std::memcmp(p.a_registers[t], p.a[t].data(), 16) != 0) {
      executor_.fault(w.lanes[l], "changes operands of the wgmma in ", p.where, " while it is under way");
    }
  }
}

void Warpgroups::wait(Warp& w, int groups) {
  Group& group = group_of(w);
  const int own = w.index % kWarps;
  for (Product& p : group.queue) {
    if (p.group[own] >= group.committed[own] - groups) break;
    if (p.waited[own]) continue;
    if (!p.done) run(p);
    check_a(p, w);
    write_back(*p.accumulator, w, p.where);
    p.waited[own] = true;
    for (uintptr_t chunk : p.chunks) executor_.detector().read_in_background(w.lanes[0], chunk, p.where);
  }
  const auto all_waited = [](const Product& p) {
    return std::find(p.waited.begin(), p.waited.end(), false) == p.waited.end();
  };
  while (!group.queue.empty() && all_waited(group.queue.front())) {
    for (uintptr_t chunk : group.queue.front().chunks) executor_.detector().hold(chunk, -1);
    group.queue.pop_front();
    --queued_;
  }
}

void Warpgroups::run_one_at_random() {
  if (queued_ == 0) return;
  Group& group = groups_[executor_.random().below(kMaxWarps / kWarps)];
  for (Product& p : group.queue) {
    if (p.done) continue;
    run(p);
    write_back_all(group, p);
    return;
  }
}

void Warpgroups::leave(const Fiber& f) {
  for (const Product& p : groups_[f.thread / kThreads].queue) {
    if (!p.waited[f.thread / kLanes % kWarps]) {
      executor_.fault(f, "ends while its wgmma in ", p.where, " is under way: wait for it");
    }
  }
}

// The functions of runtime.h.

namespace {

void meet_at(Site& site, Meeting meeting, int count) {
  if (!visit(site).enabled) return;
  current_executor->request(meeting, {site.file, site.line}, 0, count);
  current_executor->meet();
}

Request& request_product(const ProductShape& shape, bool a_across, float* c, const uint32_t* a,
                         uint64_t a_descriptor, uint64_t b_descriptor, Where where) {
  Request& r = current_executor->request(Meeting::WarpgroupProduct, where, 0, 0);
  r.product = shape;
  r.a_across = a_across;
  r.c = c;
  r.a = a;
  r.a_descriptor = a_descriptor;
  r.b_descriptor = b_descriptor;
  return r;
}

}  // namespace

void warpgroup_fence(Site& site) { meet_at(site, Meeting::WarpgroupFence, 0); }
void warpgroup_wait(Site& site, int groups) { meet_at(site, Meeting::WarpgroupWait, groups); }
void proxy_fence(Site& site) { meet_at(site, Meeting::ProxyFence, 0); }

void warpgroup_commit(Where where) {
  current_executor->request(Meeting::WarpgroupCommit, where, 0, 0);
  current_executor->meet();
}

void warpgroup_product(const ProductShape& shape, float* c, const uint32_t* a, uint64_t a_descriptor,
                       uint64_t b_descriptor, Where where) {
  request_product(shape, false, c, a, a_descriptor, b_descriptor, where).site = __builtin_return_address(0);
  current_executor->meet();
}

void warpgroup_operands(const ProductShape& shape, bool a_across, float* c, uint64_t a_descriptor,
                        uint64_t b_descriptor, Where where) {
  request_product(shape, a_across, c, nullptr, a_descriptor, b_descriptor, where).site =
      __builtin_return_address(0);
  current_executor->meet();
}

uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(p) - window(*current_executor));
}

}  // namespace simt
}  // namespace fintune
