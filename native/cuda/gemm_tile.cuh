// The dense product on tensor cores. A block computes one tile of C; its warps share slots of A and B in
// shared memory, filled kStages - 1 steps of K ahead.
//
// A slot's operand lies as in global memory, rows of 16-byte chunks: with K innermost [rows][kK], with K
// outermost [kK][rows], which ldmatrix then transposes. Chunk c of row r lies at c ^ swizzle(r), so that the
// eight rows of a matrix, and the eight chunks that a quarter of a warp copies, meet all banks.
#pragma once

#include "cuda/gemm_mma.cuh"
#include "cuda/gemm_tile.h"
#include "cuda/gpu.h"
#include "cuda/values.cuh"

namespace fintune {
namespace cuda {

template <int kChunks>
GPU_FN int swizzled(int row, int chunk) {
  return chunk ^ (kChunks == 4 ? (row >> 1) & 3 : row & 7);
}

// One operand of one step: the tile [kRows][kChunks] whose first element is at `from`; what lies beyond
// `rows` rows or `cols` columns (a multiple of 8) becomes zero.
struct TileSource {
  const uint16_t* from;
  int64_t ld;
  int64_t rows, cols;
};

template <bool kInnerK, int kLines, int kStep>
struct OperandTile {
  static constexpr int kRows = kInnerK ? kLines : kStep;
  static constexpr int kChunks = (kInnerK ? kStep : kLines) / 8;
  static constexpr int kValues = kLines * kStep;
  static_assert(kChunks == 4 || kChunks % 8 == 0, "the swizzle permutes 4 or 8 chunks");

  // The tile of step k of a matrix with `lines` lines (rows of A, columns of B), first line `line`.
  GPU_FN static TileSource source(const void* p, int64_t ld, int64_t lines, int64_t line, int k_total,
                                  int k) {
    const uint16_t* from = static_cast<const uint16_t*>(p);
    if (kInnerK) return TileSource{from + line * ld + k, ld, lines - line, k_total - k};
    return TileSource{from + k * ld + line, ld, k_total - k, lines - line};
  }

  template <int kThreads, class Fn>
  GPU_FN static void each_chunk(const TileSource& s, Fn fn) {
    static_assert(kRows * kChunks % kThreads == 0, "every thread copies as much");
#pragma unroll
    for (int i = 0; i < kRows * kChunks / kThreads; ++i) {
      const int index = i * kThreads + gpu::thread();
      const int row = index / kChunks, chunk = index % kChunks;
      const bool valid = row < s.rows && 8 * chunk < s.cols;
      fn(i, row, chunk, valid ? s.from + row * s.ld + 8 * chunk : s.from, valid);
    }
  }

  GPU_FN static uint16_t* place(uint16_t* slot, int row, int chunk) {
    return slot + 8 * (row * kChunks + GPU_SWIZZLE(swizzled<kChunks>(row, chunk), chunk));
  }
};

// Steps of the sum over K: products one behind the other.
struct TileCursor {
  int product;
  int k;
};

template <typename T, int kArch, class Shape, Layout kLayout>
struct TileBlock {
  static constexpr int kWarpsN = Shape::kN / Shape::kWarpN;
  static constexpr int kTilesM = Shape::kWarpM / 16, kTilesN = Shape::kWarpN / 8;
  using TileA = OperandTile<kLayout != Layout::TN, Shape::kM, Shape::kK>;
  using TileB = OperandTile<kLayout == Layout::NT, Shape::kN, Shape::kK>;
  static constexpr int kSlot = TileA::kValues + TileB::kValues;
  static constexpr int kVectors = kSlot / 8 / Shape::kThreads;  // of 16 bytes that a thread copies each step
  static constexpr int kVectorsA = TileA::kValues / 8 / Shape::kThreads;

  float sum[kTilesM][kTilesN][4];

  GPU_FN static TileSource source_a(const TileGemm& g, const TileCursor& at, int64_t m) {
    const TileProduct& p = g.products[at.product];
    return TileA::source(p.a, p.lda, g.m, m, p.k, at.k);
  }
  GPU_FN static TileSource source_b(const TileGemm& g, const TileCursor& at, int64_t n) {
    const TileProduct& p = g.products[at.product];
    return TileB::source(p.b, p.ldb, g.n, n, p.k, at.k);
  }
  GPU_FN static void advance(const TileGemm& g, TileCursor& at) {
    at.k += Shape::kK;
    if (at.k >= g.products[at.product].k) {
      ++at.product;
      at.k = 0;
    }
  }

  // In the background (sm_80).
  GPU_FN static void copy(const TileGemm& g, const TileCursor& at, int64_t m, int64_t n, uint16_t* slot) {
    TileA::template each_chunk<Shape::kThreads>(
        source_a(g, at, m), [&](int, int row, int chunk, const uint16_t* from, bool valid) {
          gpu::cp_async_16(TileA::place(slot, row, chunk), from, valid);
        });
    slot += TileA::kValues;
    TileB::template each_chunk<Shape::kThreads>(
        source_b(g, at, n), [&](int, int row, int chunk, const uint16_t* from, bool valid) {
          gpu::cp_async_16(TileB::place(slot, row, chunk), from, valid);
        });
  }

  // Through registers (sm_75).
  GPU_FN static void fetch(const TileGemm& g, const TileCursor& at, int64_t m, int64_t n,
                           gpu::Vec16 (&held)[kVectors]) {
    TileA::template each_chunk<Shape::kThreads>(source_a(g, at, m),
                                                [&](int i, int, int, const uint16_t* from, bool valid) {
                                                  held[i] = valid ? gpu::load16(from) : gpu::Vec16{};
                                                });
    TileB::template each_chunk<Shape::kThreads>(
        source_b(g, at, n), [&](int i, int, int, const uint16_t* from, bool valid) {
          held[kVectorsA + i] = valid ? gpu::load16(from) : gpu::Vec16{};
        });
  }
  GPU_FN static void put(const gpu::Vec16 (&held)[kVectors], uint16_t* slot) {
    TileA::template each_chunk<Shape::kThreads>(TileSource{},
                                                [&](int i, int row, int chunk, const uint16_t*, bool) {
                                                  gpu::store16(TileA::place(slot, row, chunk), held[i]);
                                                });
    slot += TileA::kValues;
    TileB::template each_chunk<Shape::kThreads>(
        TileSource{}, [&](int i, int row, int chunk, const uint16_t*, bool) {
          gpu::store16(TileB::place(slot, row, chunk), held[kVectorsA + i]);
        });
  }

  // Rows m .. m + 15, k .. k + 15 of A as the four registers of an operand.
  GPU_FN static void load_a(uint32_t (&r)[4], const uint16_t* tile, int m, int k) {
    const int lane = gpu::lane();
    if (kLayout != Layout::TN) {
      const int row = m + (lane & 15), chunk = k / 8 + (lane >> 4);
      const int at = GPU_SWIZZLE(swizzled<TileA::kChunks>(row, chunk), chunk);
      gpu::ldmatrix_x4(r, tile + 8 * (row * TileA::kChunks + at));
    } else {
      const int row = k + (lane & 7) + (lane >> 4) * 8, chunk = m / 8 + ((lane >> 3) & 1);
      const int at = GPU_SWIZZLE(swizzled<TileA::kChunks>(row, chunk), chunk);
      gpu::ldmatrix_x4_trans(r, tile + 8 * (row * TileA::kChunks + at));
    }
  }
  // Columns n .. n + 15, k .. k + 15 of B: two operands of two registers.
  GPU_FN static void load_b(uint32_t (&r)[4], const uint16_t* tile, int n, int k) {
    const int lane = gpu::lane();
    if (kLayout == Layout::NT) {
      const int row = n + (lane & 7) + (lane >> 4) * 8, chunk = k / 8 + ((lane >> 3) & 1);
      const int at = GPU_SWIZZLE(swizzled<TileB::kChunks>(row, chunk), chunk);
      gpu::ldmatrix_x4(r, tile + 8 * (row * TileB::kChunks + at));
    } else {
      const int row = k + (lane & 15), chunk = n / 8 + (lane >> 4);
      const int at = GPU_SWIZZLE(swizzled<TileB::kChunks>(row, chunk), chunk);
      gpu::ldmatrix_x4_trans(r, tile + 8 * (row * TileB::kChunks + at));
    }
  }

  GPU_FN void multiply(const uint16_t* slot, int warp_m, int warp_n) {
#pragma unroll
    for (int k = 0; k < Shape::kK; k += 16) {
      uint32_t a[kTilesM][4], b[kTilesN / 2][4];
#pragma unroll
      for (int i = 0; i < kTilesM; ++i) load_a(a[i], slot, warp_m + 16 * i, k);
#pragma unroll
      for (int j = 0; j < kTilesN / 2; ++j) load_b(b[j], slot + TileA::kValues, warp_n + 16 * j, k);
#pragma unroll
      for (int i = 0; i < kTilesM; ++i) {
#pragma unroll
        for (int j = 0; j < kTilesN; ++j) {
          multiply_add<T, kArch>(sum[i][j], a[i], b[j / 2][2 * (j % 2)], b[j / 2][2 * (j % 2) + 1]);
        }
      }
    }
  }

  GPU_FN void run(const TileGemm& g, int64_t m, int64_t n, int first, int last) {
    uint16_t* const slots = gpu::shared<uint16_t>();
    const int warp_m = gpu::warp() / kWarpsN * Shape::kWarpM, warp_n = gpu::warp() % kWarpsN * Shape::kWarpN;
#pragma unroll
    for (int i = 0; i < kTilesM; ++i) {
#pragma unroll
      for (int j = 0; j < kTilesN; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[i][j][e] = 0;
      }
    }
    // Only a single product is cut into parts.
    TileCursor next{0, first * Shape::kK};
    const int steps = last - first;
    if constexpr (kArch >= 80) {
#pragma unroll
      for (int s = 0; s < Shape::kStages - 1; ++s) {
        if (s < steps) {
          copy(g, next, m, n, slots + s * kSlot);
          advance(g, next);
        }
        gpu::cp_async_commit();
      }
      int read = 0, write = Shape::kStages - 1;
      for (int step = 0; step < steps; ++step) {
        GPU_ASYNC_WAIT(Shape::kStages - 2);
        GPU_BARRIER();
        // All warps are done with the slot that was read last.
        if (step + Shape::kStages - 1 < steps) {
          copy(g, next, m, n, slots + write * kSlot);
          advance(g, next);
        }
        gpu::cp_async_commit();
        multiply(slots + read * kSlot, warp_m, warp_n);
        read = read + 1 == Shape::kStages ? 0 : read + 1;
        write = write + 1 == Shape::kStages ? 0 : write + 1;
      }
    } else {
      gpu::Vec16 held[kVectors];
      if (steps > 0) fetch(g, next, m, n, held);
      for (int step = 0; step < steps; ++step) {
        uint16_t* const slot = slots + (step & 1) * kSlot;
        put(held, slot);
        GPU_BARRIER();
        if (step + 1 < steps) {
          advance(g, next);
          fetch(g, next, m, n, held);
        }
        multiply(slot, warp_m, warp_n);
      }
    }
    store(g, m + warp_m, n + warp_n);
  }

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

  // The warp's part of C, first element (m, n).
  GPU_FN void store(const TileGemm& g, int64_t m, int64_t n) {
    const int lane = gpu::lane(), quad = lane & 3;
#pragma unroll
    for (int i = 0; i < kTilesM; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = m + 16 * i + 8 * half + (lane >> 2);
        const bool inside = row < g.m;
#pragma unroll
        for (int j = 0; j < kTilesN; j += 4) {
          if (g.partial != nullptr || g.c_type == DType::F32) {
            if (g.partial != nullptr || g.c != nullptr)
              store_f32(g, row, inside, n + 8 * j + 2 * quad, i, j, half);
          } else if (g.c != nullptr) {
            store_16(g, row, inside, n + 8 * j, i, j, half);
          }
          if (g.rounded != nullptr) {
            uint32_t r[4];
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              r[e] = gpu::pack2<T>(g.rounded_scale * sum[i][j + e][2 * half],
                                   g.rounded_scale * sum[i][j + e][2 * half + 1]);
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
  }

  GPU_FN void store_f32(const TileGemm& g, int64_t row, bool inside, int64_t column, int i, int j, int half) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int64_t at = column + 8 * e, left = g.n - at;
      if (!inside || left <= 0) continue;
      float x = sum[i][j + e][2 * half], y = sum[i][j + e][2 * half + 1];
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
  GPU_FN void store_16(const TileGemm& g, int64_t row, bool inside, int64_t column, int i, int j, int half) {
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
      float x = sum[i][j + e][2 * half], y = sum[i][j + e][2 * half + 1];
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

// Blocks go down 16 tiles of rows before they go to the next columns, so that those in flight share operands.
template <typename T, int kArch, class Shape, Layout kLayout>
GPU_KERNEL(Shape::kThreads, Shape::kMinBlocks)
void gemm_tile(TileGemm g) {
  if constexpr (runs_here<kArch>()) {
    constexpr int kGroup = 16;
    const int per_group = kGroup * g.tiles_n;
    const int group = gpu::block_x() / per_group, within = gpu::block_x() % per_group;
    const int rows = gpu::min(g.tiles_m - group * kGroup, kGroup);
    const int64_t m = static_cast<int64_t>(group * kGroup + within % rows) * Shape::kM;
    const int64_t n = static_cast<int64_t>(within / rows) * Shape::kN;
    const int first = gpu::block_z() * g.split_steps;
    TileBlock<T, kArch, Shape, kLayout> block;
    block.run(g, m, n, first, gpu::min(first + g.split_steps, g.steps));
  }
}

template <typename T, int kArch, class Shape, Layout kLayout>
TileKernel tile_kernel() {
  return TileKernel{gemm_tile<T, kArch, Shape, kLayout>,
                    Shape::kM,
                    Shape::kN,
                    Shape::kK,
                    Shape::kThreads,
                    Shape::kSharedBytes};
}

template <typename T, int kArch, class Shape>
TileKernel tile_kernel(Layout layout) {
  if (layout == Layout::NT) return tile_kernel<T, kArch, Shape, Layout::NT>();
  if (layout == Layout::NN) return tile_kernel<T, kArch, Shape, Layout::NN>();
  return tile_kernel<T, kArch, Shape, Layout::TN>();
}

}  // namespace cuda
}  // namespace fintune
