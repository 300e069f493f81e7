// The row form on tensor cores: C^T = W x^T. A block owns 16 columns of C, that is 16 rows of W, for up to 64
// rows of x; W is read once from memory.
//
// K goes in groups of 32, group u to warp u % kWarps. Lane 4 g + t holds eight neighbours k = 32 u + 8 t .. +
// 7 of its rows, so that a quad reads 64 bytes of a row at once; that its four pairs stand for other k in the
// matrix operation does not matter, as both operands agree. At the end the warps are added in order.
#pragma once

#include "cuda/gemm_mma.cuh"
#include "cuda/gemm_rows.h"
#include "cuda/values.cuh"

namespace fintune {
namespace cuda {

template <typename T>
struct TypeOf;
template <>
struct TypeOf<float> {
  static constexpr DType value = DType::F32;
};
template <>
struct TypeOf<bf16> {
  static constexpr DType value = DType::BF16;
};
template <>
struct TypeOf<f16> {
  static constexpr DType value = DType::F16;
};

// Eight neighbours as four words of T.
template <typename T>
GPU_FN void pack8(const float (&v)[8], uint32_t (&w)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) w[i] = gpu::pack2<T>(v[2 * i], v[2 * i + 1]);
}

// All eight are there, p is a multiple of 16 bytes, scale is 1.
template <typename T>
GPU_FN void read8(const T* p, uint32_t (&w)[4]) {
  const gpu::Vec16 raw = gpu::load16(p);
#pragma unroll
  for (int i = 0; i < 4; ++i) w[i] = raw.w[i];
}
template <typename T>
GPU_FN void read8(const float* p, uint32_t (&w)[4]) {
  float v[8];
  load8(p, 8, true, v);
  pack8<T>(v, w);
}

// The first n of p[0 .. 8), of any type, times scale; zeros after them.
template <typename T>
GPU_FN void read8(const void* p, DType type, int n, bool wide, float scale, uint32_t (&w)[4]) {
  float v[8];
  load8(p, type, n, wide, v);
  if (scale != 1.0f) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] *= scale;
  }
  pack8<T>(v, w);
}

template <typename T, int kArch, int kRowTiles>
struct RowBlock {
  static constexpr int kWarps = 8, kThreads = 32 * kWarps;
  static constexpr int kRows = 8 * kRowTiles, kColumns = 16;
  static constexpr int kLine = kColumns + 4;  // of shared memory: the rows of a quad lie in different banks
  static constexpr int kSharedBytes = kWarps * kRows * kLine * 4;

  float sum[kRowTiles][4];

  GPU_FN void multiply(const uint32_t (&w0)[4], const uint32_t (&w8)[4], const uint32_t (&x)[kRowTiles][4]) {
#pragma unroll
    for (int s = 0; s < 4; s += 2) {
      const uint32_t a[4] = {w0[s], w8[s], w0[s + 1], w8[s + 1]};
#pragma unroll
      for (int j = 0; j < kRowTiles; ++j) multiply_add<T, kArch>(sum[j], a, x[j][s], x[j][s + 1]);
    }
  }

  // Groups from `u` on that lie whole within K, all operands as the fast loads want them: returns the next
  // group.
  template <typename W>
  GPU_FN int add_whole(const RowProduct& p, int u, const int64_t (&w_row)[2],
                       const int64_t (&x_row)[kRowTiles]) {
    const int t = gpu::lane() & 3;
    const W* const w = static_cast<const W*>(p.b);
    const T* const x = static_cast<const T*>(p.a);
#pragma unroll 2
    for (; 32 * (u + 1) <= p.k; u += kWarps) {
      const int k = 32 * u + 8 * t;
      uint32_t w0[4], w8[4], xs[kRowTiles][4];
      read8<T>(w + w_row[0] * p.ldb + k, w0);
      read8<T>(w + w_row[1] * p.ldb + k, w8);
#pragma unroll
      for (int j = 0; j < kRowTiles; ++j) read8<T>(x + x_row[j] * p.lda + k, xs[j]);
      multiply(w0, w8, xs);
    }
    return u;
  }

  GPU_FN void add(const RowProduct& p, const int64_t (&w_row)[2], const int64_t (&x_row)[kRowTiles]) {
    int u = gpu::warp();
    if (p.a_type == TypeOf<T>::value && p.a_wide && p.b_wide && p.scale == 1.0f) {
      if (p.b_type == TypeOf<T>::value) {
        u = add_whole<T>(p, u, w_row, x_row);
      } else if (p.b_type == DType::F32) {
        u = add_whole<float>(p, u, w_row, x_row);
      }
    }
    for (; 32 * u < p.k; u += kWarps) {
      const int k = 32 * u + 8 * (gpu::lane() & 3), left = p.k - k;
      uint32_t w0[4], w8[4], xs[kRowTiles][4];
      read8<T>(at_byte(p.b, w_row[0] * p.ldb + k, p.b_type), p.b_type, left, p.b_wide, 1.0f, w0);
      read8<T>(at_byte(p.b, w_row[1] * p.ldb + k, p.b_type), p.b_type, left, p.b_wide, 1.0f, w8);
#pragma unroll
      for (int j = 0; j < kRowTiles; ++j) {
        read8<T>(at_byte(p.a, x_row[j] * p.lda + k, p.a_type), p.a_type, left, p.a_wide, p.scale, xs[j]);
      }
      multiply(w0, w8, xs);
    }
  }

  // Rows of C from `first`, columns from `column`. Rows and columns beyond the last are computed from the
  // last and not stored.
  GPU_FN void run(const RowGemm& g, int64_t first, int64_t column) {
    float* const parts = gpu::shared<float>();  // [kWarps][kRows][kLine]
    const int row = gpu::lane() >> 2, t = gpu::lane() & 3;
    int64_t x_row[kRowTiles];
#pragma unroll
    for (int j = 0; j < kRowTiles; ++j) {
      x_row[j] = gpu::min(first + 8 * j + row, g.m - 1);
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[j][e] = 0;
    }
    const int64_t w_row[2] = {gpu::min(column + row, g.n - 1), gpu::min(column + row + 8, g.n - 1)};
    for (int i = 0; i < g.count; ++i) add(g.products[i], w_row, x_row);

    float* const mine = parts + gpu::warp() * kRows * kLine;
#pragma unroll
    for (int j = 0; j < kRowTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) mine[(8 * j + 2 * t + (e & 1)) * kLine + row + 8 * (e >> 1)] = sum[j][e];
    }
    GPU_BARRIER();
    for (int i = gpu::thread(); i < kRows * kColumns; i += kThreads) {
      // The two rows of a warp are four apart, so that they lie in different banks too.
      const int c = i % kColumns, r = i / (8 * kColumns) * 8 + i / (2 * kColumns) % 4 + i / kColumns % 2 * 4;
      if (first + r >= g.m || column + c >= g.n) continue;
      float x = parts[r * kLine + c];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) x += parts[(w * kRows + r) * kLine + c];
      if (g.bias != nullptr) x += g.bias[column + c];
      const int64_t at = (first + r) * g.ldc + column + c;
      if (g.accumulate) x += load_value(g.c, at, g.c_type);
      store_value(g.c, at, g.c_type, x);
    }
  }
};

template <typename T, int kArch, int kRowTiles>
GPU_KERNEL(256, 2)
void gemm_rows_kernel(RowGemm g, int row_blocks) {
  if constexpr (runs_here<kArch>()) {
    RowBlock<T, kArch, kRowTiles> block;
    // Blocks that read the same rows of W follow each other.
    block.run(g, static_cast<int64_t>(gpu::block_x() % row_blocks) * block.kRows,
              static_cast<int64_t>(gpu::block_x() / row_blocks) * block.kColumns);
  }
}

template <typename T, int kArch, int kRowTiles>
void launch_rows(Exec& exec, const RowGemm& g) {
  using Block = RowBlock<T, kArch, kRowTiles>;
  const int row_blocks = static_cast<int>((g.m + Block::kRows - 1) / Block::kRows);
  const int64_t column_blocks = (g.n + Block::kColumns - 1) / Block::kColumns;
  launch(exec, "gemm_rows", gemm_rows_kernel<T, kArch, kRowTiles>,
         Grid{static_cast<int>(row_blocks * column_blocks)}, Block::kThreads, Block::kSharedBytes, g,
         row_blocks);
}

// How many rows a block takes changes no bit.
template <typename T, int kArch>
void launch_rows(Exec& exec, const RowGemm& g) {
  if (g.m <= 8) {
    launch_rows<T, kArch, 1>(exec, g);
  } else if (g.m <= 16) {
    launch_rows<T, kArch, 2>(exec, g);
  } else {
    launch_rows<T, kArch, 4>(exec, g);
  }
}

}  // namespace cuda
}  // namespace fintune
