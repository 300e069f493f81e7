// SwiGLU, see ops/swiglu.h. Bound by memory: a thread makes eight neighbours.
#include "cuda/gpu.h"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/rows.cuh"
#include "cuda/values.cuh"
#include "ops/row_checks.h"

namespace fintune {
namespace cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kColumns = kThreads * 8;  // of a block

GPU_FN float sigmoid(float x) { return gpu::reciprocal(1.0f + gpu::exp(-x)); }

// The columns of a row that a thread makes: n of them from j, all of row t. Blocks that follow each other
// follow each other in memory.
struct Place {
  int64_t t;
  int j, n;
};
GPU_FN Place place_of(int cols) {
  const int blocks = (cols + kColumns - 1) / kColumns;
  const int j = gpu::block_x() % blocks * kColumns + gpu::thread() * 8;
  return Place{gpu::block_x() / blocks, j, cols - j};
}

Grid grid_of_places(const View& v) { return grid_of(v.rows * blocks_of(v.cols, kColumns)); }

template <typename T>
struct ForwardArgs {
  Rows<T> gate, up, h;
  int cols;
};

template <typename T>
GPU_KERNEL(kThreads, 8)
void forward(ForwardArgs<T> a) {
  const Place p = place_of(a.cols);
  if (p.n <= 0) return;
  float g[8], u[8];
  load8<T>(a.gate.row(p.t) + p.j, p.n, a.gate.wide, g);
  load8<T>(a.up.row(p.t) + p.j, p.n, a.up.wide, u);
#pragma unroll
  for (int e = 0; e < 8; ++e) g[e] = g[e] * sigmoid(g[e]) * u[e];
  store8(a.h.row(p.t) + p.j, p.n, a.h.wide, g);
}

template <typename T>
struct BackwardArgs {
  Rows<T> gate, up, dh, dgate, dup, h;
  int cols;
};

template <typename T>
GPU_KERNEL(kThreads, 8)
void backward(BackwardArgs<T> a) {
  const Place p = place_of(a.cols);
  if (p.n <= 0) return;
  float g[8], u[8], d[8], h[8];
  load8<T>(a.gate.row(p.t) + p.j, p.n, a.gate.wide, g);
  load8<T>(a.up.row(p.t) + p.j, p.n, a.up.wide, u);
  load8<T>(a.dh.row(p.t) + p.j, p.n, a.dh.wide, d);
#pragma unroll
  for (int e = 0; e < 8; ++e) {
    const float s = sigmoid(g[e]);
    // The same order of factors as in the forward: h must have the same bits.
    h[e] = g[e] * s * u[e];
    const float dgate = d[e] * u[e] * (s * (1.0f + g[e] * (1.0f - s)));
    u[e] = d[e] * (g[e] * s);
    g[e] = dgate;
  }
  if (a.h) store8(a.h.row(p.t) + p.j, p.n, a.h.wide, h);
  store8(a.dup.row(p.t) + p.j, p.n, a.dup.wide, u);
  store8(a.dgate.row(p.t) + p.j, p.n, a.dgate.wide, g);
}

}  // namespace

void swiglu_forward(Exec& exec, const SwigluForward& op) {
  check(op);
  with_float_type(op.gate.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    launch(exec, "swiglu_forward", forward<T>, grid_of_places(op.gate), kThreads, 0,
           ForwardArgs<T>{rows_of<T>(op.gate), rows_of<T>(op.up), rows_of<T>(op.h),
                          static_cast<int>(op.gate.cols)});
  });
}

void swiglu_backward(Exec& exec, const SwigluBackward& op) {
  check(op);
  with_float_type(op.gate.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    launch(exec, "swiglu_backward", backward<T>, grid_of_places(op.gate), kThreads, 0,
           BackwardArgs<T>{rows_of<T>(op.gate), rows_of<T>(op.up), rows_of<T>(op.dh), rows_of<T>(op.dgate),
                           rows_of<T>(op.dup), rows_of<T>(op.h), static_cast<int>(op.gate.cols)});
  });
}

}  // namespace cuda
}  // namespace fintune
