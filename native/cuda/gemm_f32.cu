// The dense product without rounded operands: every element of C is one chain of fused multiply-adds in
// rising k.
#include "cuda/gemm_tile.h"
#include "cuda/values.cuh"

namespace fintune {
namespace cuda {

namespace {

constexpr int kTile = 64, kStep = 16, kThreads = 256;
constexpr int kLine = kTile + 4;  // of shared memory: columns of a tile start in different banks
constexpr int kEach = kTile * kStep / kThreads;

struct Operands {
  float a[2][kStep][kLine];
  float b[2][kStep][kLine];
};

// Lines line .. line + 63 (rows of A or columns of B), k .. k + 15 of one operand, element by element:
// inner_k where neighbours in memory follow each other in k.
GPU_FN void fetch(const void* p, DType type, int64_t ld, bool inner_k, int64_t lines, int k_total, int k,
                  float scale, float (&held)[kEach]) {
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int index = i * kThreads + gpu::thread();
    const int line = inner_k ? index / kStep : index % kTile, step = inner_k ? index % kStep : index / kTile;
    const bool valid = line < lines && k + step < k_total;
    const int64_t at = inner_k ? line * ld + k + step : (k + step) * ld + line;
    held[i] = valid ? scale * load_value(p, at, type) : 0.0f;
  }
}
GPU_FN void put(const float (&held)[kEach], bool inner_k, float (&slot)[kStep][kLine]) {
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int index = i * kThreads + gpu::thread();
    const int line = inner_k ? index / kStep : index % kTile, step = inner_k ? index % kStep : index / kTile;
    slot[step][line] = held[i];
  }
}

// A thread owns rows 4 y .. 4 y + 3 and columns x, x + 16, x + 32, x + 48 of the tile.
GPU_KERNEL(kThreads, 2) void gemm_f32(TileGemm g) {
  Operands& slots = *gpu::shared<Operands>();
  const int64_t m = static_cast<int64_t>(gpu::block_x() % g.tiles_m) * kTile;
  const int64_t n = static_cast<int64_t>(gpu::block_x() / g.tiles_m) * kTile;
  const int first = gpu::block_z() * g.split_steps, last = gpu::min(first + g.split_steps, g.steps);
  const int x = gpu::thread() % 16, y = gpu::thread() / 16;
  float sum[4][4] = {};
  int product = 0, k = first * kStep;
  for (int step = first; step < last; ++step) {
    const TileProduct& p = g.products[product];
    float a[kEach], b[kEach];
    const bool a_inner = !p.a_transposed, b_inner = p.b_transposed;
    fetch(at_byte(p.a, a_inner ? m * p.lda : m, p.a_type), p.a_type, p.lda, a_inner, g.m - m, p.k, k, p.scale,
          a);
    fetch(at_byte(p.b, b_inner ? n * p.ldb : n, p.b_type), p.b_type, p.ldb, b_inner, g.n - n, p.k, k, 1.0f,
          b);
    put(a, a_inner, slots.a[step & 1]);
    put(b, b_inner, slots.b[step & 1]);
    GPU_BARRIER();
#pragma unroll
    for (int i = 0; i < kStep; ++i) {
      float left[4], right[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        left[e] = slots.a[step & 1][i][4 * y + e];
        right[e] = slots.b[step & 1][i][x + 16 * e];
      }
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int c = 0; c < 4; ++c) sum[r][c] = gpu::fma(left[r], right[c], sum[r][c]);
      }
    }
    k += kStep;
    if (k >= p.k) {
      ++product;
      k = 0;
    }
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int64_t row = m + 4 * y + r, column = n + x + 16 * c;
      if (row >= g.m || column >= g.n) continue;
      float v = sum[r][c];
      if (g.partial != nullptr) {
        g.partial[(gpu::block_z() * g.m + row) * g.n + column] = v;
        continue;
      }
      if (g.rounded != nullptr) {
        static_cast<float*>(g.rounded)[row * g.ld_rounded + column] = g.rounded_scale * v;
      }
      if (g.c == nullptr) continue;
      if (g.bias != nullptr) v += g.bias[column];
      const int64_t at = row * g.ldc + column;
      if (g.accumulate) v += load_value(g.c, at, g.c_type);
      store_value(g.c, at, g.c_type, v);
    }
  }
}

}  // namespace

TileKernel tile_kernel_f32() {
  return TileKernel{gemm_f32, kTile, kTile, kStep, kThreads, static_cast<int>(sizeof(Operands))};
}

}  // namespace cuda
}  // namespace fintune
