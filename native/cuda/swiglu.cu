// SwiGLU, see ops/swiglu.h. Bound by memory: a thread makes a pack of neighbours.
#include "cuda/gpu.h"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/packs.cuh"
#include "cuda/rows.cuh"
#include "cuda/values.cuh"
#include "ops/row_checks.h"

namespace fintune {
namespace cuda {
namespace {

constexpr int kThreads = 128;
template <typename T>
constexpr int kColumns = kThreads* kPack<T>;  // of a block

GPU_FN float sigmoid(float x) { return gpu::reciprocal(1.0f + gpu::exp(-x)); }

// The columns of a row that a thread makes: from j, where n are left in row t. Blocks that follow each other
// follow each other in memory.
struct Place {
  int64_t t;
  int j, n;
};
template <typename T>
GPU_FN Place place_of(int cols) {
  const int blocks = (cols + kColumns<T> - 1) / kColumns<T>;
  const int j = gpu::block_x() % blocks * kColumns<T> + gpu::thread() * kPack<T>;
  return Place{gpu::block_x() / blocks, j, cols - j};
}

template <typename T>
Grid grid_of_places(const View& v) {
  return grid_of(v.rows * blocks_of(v.cols, kColumns<T>));
}

template <typename T>
struct ForwardArgs {
  Rows<T> gate, up, h;
  int cols;
};

template <typename T>
GPU_KERNEL(kThreads, 8)
void forward(ForwardArgs<T> a) {
  const Place p = place_of<T>(a.cols);
  if (p.n <= 0) return;
  float g[kPack<T>], u[kPack<T>];
  load_pack(a.gate.row(p.t) + p.j, p.n, a.gate.wide, g);
  load_pack(a.up.row(p.t) + p.j, p.n, a.up.wide, u);
#pragma unroll
  for (int e = 0; e < kPack<T>; ++e) g[e] = g[e] * sigmoid(g[e]) * u[e];
  store_pack(a.h.row(p.t) + p.j, p.n, a.h.wide, g);
}

template <typename T>
struct BackwardArgs {
  Rows<T> gate, up, dh, dgate, dup, h;
  int cols;
};

template <typename T>
GPU_KERNEL(kThreads, 8)
void backward(BackwardArgs<T> a) {
  const Place p = place_of<T>(a.cols);
  if (p.n <= 0) return;
  float g[kPack<T>], u[kPack<T>], d[kPack<T>], h[kPack<T>];
  load_pack(a.gate.row(p.t) + p.j, p.n, a.gate.wide, g);
  load_pack(a.up.row(p.t) + p.j, p.n, a.up.wide, u);
  load_pack(a.dh.row(p.t) + p.j, p.n, a.dh.wide, d);
#pragma unroll
  for (int e = 0; e < kPack<T>; ++e) {
    const float s = sigmoid(g[e]);
    // The same order of factors as in the forward: h must have the same bits.
    h[e] = g[e] * s * u[e];
    const float dgate = d[e] * u[e] * (s * (1.0f + g[e] * (1.0f - s)));
    u[e] = d[e] * (g[e] * s);
    g[e] = dgate;
  }
  if (a.h) store_pack(a.h.row(p.t) + p.j, p.n, a.h.wide, h);
  store_pack(a.dup.row(p.t) + p.j, p.n, a.dup.wide, u);
  store_pack(a.dgate.row(p.t) + p.j, p.n, a.dgate.wide, g);
}

}  // namespace

void swiglu_forward(Exec& exec, const SwigluForward& op) {
  check(op);
  with_float_type(op.gate.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    launch(exec, "swiglu_forward", forward<T>, grid_of_places<T>(op.gate), kThreads, 0,
           ForwardArgs<T>{rows_of<T>(op.gate), rows_of<T>(op.up), rows_of<T>(op.h),
                          static_cast<int>(op.gate.cols)});
  });
}

void swiglu_backward(Exec& exec, const SwigluBackward& op) {
  check(op);
  with_float_type(op.gate.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    launch(exec, "swiglu_backward", backward<T>, grid_of_places<T>(op.gate), kThreads, 0,
           BackwardArgs<T>{rows_of<T>(op.gate), rows_of<T>(op.up), rows_of<T>(op.dh), rows_of<T>(op.dgate),
                           rows_of<T>(op.dup), rows_of<T>(op.h), static_cast<int>(op.gate.cols)});
  });
}

}  // namespace cuda
}  // namespace fintune
