// Rotary position embedding, see ops/rope.h. Bound by memory: a thread turns a pack of neighbouring pairs.
// Positions are checked by those who upload them; one that is out of the tables gives a row of NaN.
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
struct RopeArgs {
  Rows<T> x;
  const int32_t* positions;
  const float* cos;
  const float* sin;
  int64_t rows, max_position;
  int heads, half;
  int rows_per_block;
  bool wide_x, wide_tables;  // 16-byte accesses to all packs of a head, and of a row of the tables
  bool inverse;
};

template <typename T>
GPU_KERNEL(kThreads, 8)
void turn(RopeArgs<T> a) {
  constexpr int n = kPack<T>;
  const int packs = (a.half + n - 1) / n;
  const int per_row = a.heads * packs;
  for (int i = gpu::thread(); i < a.rows_per_block * per_row; i += kThreads) {
    const int64_t t = static_cast<int64_t>(gpu::block_x()) * a.rows_per_block + i / per_row;
    if (t >= a.rows) return;
    const int j = i % packs * n, left = a.half - j;
    const int64_t position = a.positions[t];
    float c[n], s[n];
    if (position >= 0 && position < a.max_position) {
      load_pack(a.cos + position * a.half + j, left, a.wide_tables, c);
      load_pack(a.sin + position * a.half + j, left, a.wide_tables, s);
    } else {
#pragma unroll
      for (int e = 0; e < n; ++e) c[e] = s[e] = word_as_float(0x7FC00000u);
    }
    T* const low = a.x.row(t) + i % per_row / packs * 2 * a.half + j;
    T* const high = low + a.half;
    float x[n], y[n], turned[n];
    load_pack(low, left, a.wide_x, x);
    load_pack(high, left, a.wide_x, y);
#pragma unroll
    for (int e = 0; e < n; ++e) {
      if (a.inverse) s[e] = -s[e];
      turned[e] = x[e] * c[e] - y[e] * s[e];
      y[e] = y[e] * c[e] + x[e] * s[e];
    }
    store_pack(low, left, a.wide_x, turned);
    store_pack(high, left, a.wide_x, y);
  }
}

}  // namespace

void rope(Exec& exec, const Rope& op) {
  check(op);
  const int heads = static_cast<int>(op.heads), half = static_cast<int>(op.x.cols / op.heads / 2);
  if (half == 0) return;
  with_float_type(op.x.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const int per_row = heads * ((half + kPack<T> - 1) / kPack<T>);
    const int rows_per_block = std::max(1, kThreads / per_row);
    const Rows<T> x = rows_of<T>(op.x);
    const bool wide_x = x.wide && half * sizeof(T) % 16 == 0;
    const bool wide_tables = gpu::aligned16(op.cos, half, 4) && gpu::aligned16(op.sin, half, 4);
    launch(exec, "rope", turn<T>, grid_of(blocks_of(op.x.rows, rows_per_block)), kThreads, 0,
           RopeArgs<T>{x, op.positions, op.cos, op.sin, op.x.rows, op.max_position, heads, half,
                       rows_per_block, wide_x, wide_tables, op.inverse});
  });
}

}  // namespace cuda
}  // namespace fintune
