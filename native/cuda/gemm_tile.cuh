// The dense product on tensor cores. A block computes one tile of C; its warps share slots of A and B in
// shared memory, filled kStages - 1 steps of K ahead.
//
// A slot's operand lies as in global memory, rows of 16-byte chunks: with K innermost [rows][kK], with K
// outermost [kK][rows], which ldmatrix then transposes. Chunk c of row r lies at c ^ swizzle(r), so that the
// eight rows of a matrix, and the eight chunks that a quarter of a warp copies, meet all banks.
#pragma once

#include "cuda/gemm_mma.cuh"
#include "cuda/gemm_store.cuh"
#include "cuda/gpu.h"

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
#pragma unroll
    for (int i = 0; i < kTilesM; ++i) {
      TileStore<T, kTilesN>::store(g, sum[i], m + warp_m + 16 * i, n + warp_n);
    }
  }
};

template <typename T, int kArch, class Shape, Layout kLayout>
GPU_KERNEL(Shape::kThreads, Shape::kMinBlocks)
void gemm_tile(TileGemm g) {
  if constexpr (runs_here<kArch>()) {
    const TilePlace at = place_of_block<Shape::kM, Shape::kN>(g);
    TileBlock<T, kArch, Shape, kLayout> block;
    block.run(g, at.m, at.n, at.first, at.last);
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
