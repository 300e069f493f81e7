// What the tensor-core kernels of the dense product share around their sums: which tile of C a block
// computes, and how it is stored from fragments of mma, 16 rows at a time.
#pragma once

#include "cuda/gemm_tile.h"
#include "cuda/gpu.h"
#include "cuda/values.cuh"

namespace fintune {
namespace cuda {

// First row and column of C, and the steps of K.
struct TilePlace {
  int64_t m, n;
  int first, last;
};

// Blocks go down 16 tiles of rows before they go to the next columns, so that those in flight share operands.
template <int kM, int kN>
GPU_FN TilePlace place_of_block(const TileWork& g) {
  constexpr int kGroup = 16;
  const int per_group = kGroup * g.tiles_n;
  const int group = gpu::block_x() / per_group, within = gpu::block_x() % per_group;
  const int rows = gpu::min(g.tiles_m - group * kGroup, kGroup);
  const int first = gpu::block_z() * g.split_steps;
  return TilePlace{static_cast<int64_t>(group * kGroup + within % rows) * kM,
                   static_cast<int64_t>(within / rows) * kN, first, gpu::min(first + g.split_steps, g.steps)};
}

// A warp's 16 rows of C, in kTiles fragments side by side.
template <typename T, int kTiles>
struct TileStore {
  using Sums = float[kTiles][4];

  // Two neighbours of a row, of which the second may lie beyond the last column; one access where `wide`.
  GPU_FN static void add_pair(const float* p, int64_t left, bool wide, float& x, float& y) {
    if (wide && left >= 2) {
      const uint64_t two = *reinterpret_cast<const uint64_t*>(p);
      x += word_as_float(static_cast<uint32_t>(two));
      y += word_as_float(static_cast<uint32_t>(two >> 32));
    } else {
      x += p[0];
      if (left >= 2) y += p[1];
    }
  }
  GPU_FN static void store_pair(float* p, int64_t left, bool wide, float x, float y) {
    if (wide && left >= 2) {
      *reinterpret_cast<uint64_t*>(p) = float_as_word(x) | static_cast<uint64_t>(float_as_word(y)) << 32;
    } else {
      p[0] = x;
      if (left >= 2) p[1] = y;
    }
  }

  // Four tiles' pairs of one row lie in the four lanes of a quad: afterwards each lane holds the eight
  // columns of one tile.
  GPU_FN static void transpose_quad(uint32_t (&r)[4]) {
    const int lane = gpu::lane();
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2) {
      const bool high = (lane & bit) != 0;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if ((e & bit) != 0) continue;
        const uint32_t got = gpu::shuffle_xor(high ? r[e] : r[e + bit], bit);
        if (high) {
          r[e] = got;
        } else {
          r[e + bit] = got;
        }
      }
    }
  }

  // Eight columns of a row, of which `left` exist (none where it is not positive).
  GPU_FN static void load_chunk(const T* p, int64_t left, bool wide, uint32_t (&r)[4]) {
    if (wide && left >= 8) {
      const gpu::Vec16 raw = gpu::load16(p);
#pragma unroll
      for (int e = 0; e < 4; ++e) r[e] = raw.w[e];
    } else {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        if (e < left) r[e / 2] |= static_cast<uint32_t>(p[e].bits) << (16 * (e % 2));
      }
    }
  }
  GPU_FN static void store_chunk(T* p, int64_t left, bool wide, const uint32_t (&r)[4]) {
    if (wide && left >= 8) {
      gpu::store16(p, gpu::Vec16{{r[0], r[1], r[2], r[3]}});
    } else {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        if (e < left) p[e].bits = static_cast<uint16_t>(r[e / 2] >> (16 * (e % 2)));
      }
    }
  }

  // First element (m, n).
  GPU_FN static void store(const TileResult& g, const Sums& sum, int64_t m, int64_t n) {
    const int lane = gpu::lane(), quad = lane & 3;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = m + 8 * half + (lane >> 2);
      const bool inside = row < g.m;
#pragma unroll
      for (int j = 0; j < kTiles; j += 4) {
        if (g.partial != nullptr || g.c_type == DType::F32) {
          if (g.partial != nullptr || g.c != nullptr)
            store_f32(g, sum, row, inside, n + 8 * j + 2 * quad, j, half);
        } else if (g.c != nullptr) {
          store_16(g, sum, row, inside, n + 8 * j, j, half);
        }
        if (g.rounded != nullptr) {
          uint32_t r[4];
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            r[e] = gpu::pack2<T>(g.rounded_scale * sum[j + e][2 * half],
                                 g.rounded_scale * sum[j + e][2 * half + 1]);
          }
          transpose_quad(r);
          const int64_t column = n + 8 * (j + quad);
          if (inside && column < g.n) {
            store_chunk(static_cast<T*>(g.rounded) + row * g.ld_rounded + column, 8, true, r);
          }
        }
      }
    }
  }

  GPU_FN static void store_f32(const TileResult& g, const Sums& sum, int64_t row, bool inside, int64_t column,
                               int j, int half) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int64_t at = column + 8 * e, left = g.n - at;
      if (!inside || left <= 0) continue;
      float x = sum[j + e][2 * half], y = sum[j + e][2 * half + 1];
      if (g.partial != nullptr) {
        store_pair(g.partial + (gpu::block_z() * g.m + row) * g.n + at, left, g.n % 2 == 0, x, y);
        continue;
      }
      float* const c = static_cast<float*>(g.c) + row * g.ldc + at;
      if (g.bias != nullptr) {
        x += g.bias[at];
        if (left >= 2) y += g.bias[at + 1];
      }
      if (g.accumulate) add_pair(c, left, g.c_wide, x, y);
      store_pair(c, left, g.c_wide, x, y);
    }
  }

  // A lane reads from C what it then writes, and nothing else.
  GPU_FN static void store_16(const TileResult& g, const Sums& sum, int64_t row, bool inside, int64_t column,
                              int j, int half) {
    const int quad = gpu::lane() & 3;
    const int64_t own = column + 8 * quad, left = inside ? g.n - own : 0;
    T* const c = static_cast<T*>(g.c) + row * g.ldc + own;
    uint32_t r[4] = {}, before[4] = {};
    if (g.accumulate) {
      load_chunk(c, left, g.c_wide, before);
      transpose_quad(before);
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int64_t at = column + 8 * e + 2 * quad;
      float x = sum[j + e][2 * half], y = sum[j + e][2 * half + 1];
      if (g.bias != nullptr) {
        if (at < g.n) x += g.bias[at];
        if (at + 1 < g.n) y += g.bias[at + 1];
      }
      if (g.accumulate) {
        x += to_float(T{static_cast<uint16_t>(before[e])});
        y += to_float(T{static_cast<uint16_t>(before[e] >> 16)});
      }
      r[e] = gpu::pack2<T>(x, y);
    }
    transpose_quad(r);
    store_chunk(c, left, g.c_wide, r);
  }
};

}  // namespace cuda
}  // namespace fintune
