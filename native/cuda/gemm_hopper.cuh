// The dense product on the tensor cores of sm_90a. A block computes a tile of C of 128 rows and kN columns:
// two warpgroups 64 rows each, while one warp of a third, which needs few registers, brings steps of 64 of K
// by TMA into a ring of slots. A slot's two mbarriers say when it is full and when it is empty again; the
// products of a step run while the next slot is waited for.
//
// An operand's lines (rows of A, columns of B) lie in a slot as the boxes of TMA bring them: with K innermost
// one box of all lines, each 64 of K; with K outermost boxes of 64 lines, each 64 rows of K one behind the
// other. What lies beyond the matrix arrives as zero, so that edges need nothing but care at the store.
#pragma once

#include "cuda/gemm_hopper.h"
#include "cuda/gemm_store.cuh"
#include "cuda/tma.h"
#include "cuda/wgmma_operands.h"

namespace fintune {
namespace cuda {

// One operand of a step of K in its slot.
template <bool kInnerK, int kLines>
struct WarpgroupOperand {
  static constexpr int kStep = WarpgroupSteps::kStep;
  static constexpr int kBytes = kLines * 2 * kStep, kPanel = kBoxColumns * gpu::kSwizzledLine;
  static constexpr bool kAcross = !kInnerK;

  // By one thread: the lines from `line` on of the step at k, to byte `to`.
  GPU_FN static void bring(int to, const TensorMap& map, int line, int k, uint64_t* full) {
    if constexpr (kInnerK) {
      gpu::copy_box(gpu::shared<char>(to), map, k, line, full);
    } else {
#pragma unroll
      for (int at = 0; at < kLines; at += kBoxColumns) {
        gpu::copy_box(gpu::shared<char>(to + at / kBoxColumns * kPanel), map, line + at, k, full);
      }
    }
  }

  // What a product takes of the lines from `line` on, a multiple of 64, for the first 16 of K; starts count
  // in 16 bytes. 64 lines of either kind are 8 KB on.
  GPU_FN static uint64_t descriptor(int slot, int line) {
    return gpu::swizzled_operand(gpu::shared<char>(slot + line / 64 * kPanel), kInnerK ? 16 : kPanel,
                                 gpu::kSwizzledAtom);
  }
  static constexpr int kNext = (kInnerK ? 32 : 16 * gpu::kSwizzledLine) / 16;  // to the next 16 of K
};

template <typename T, int kColumns, Layout kLayout>
struct WarpgroupShape {
  static constexpr int kM = WarpgroupSteps::kRows, kN = kColumns, kThreads = 3 * 128;
  static constexpr int kRegisters = 232, kProducerRegisters = 40;
  using OperandA = WarpgroupOperand<kLayout != Layout::TN, kM>;
  using OperandB = WarpgroupOperand<kLayout == Layout::NT, kN>;
  static constexpr int kSlot = OperandA::kBytes + OperandB::kBytes;
  static constexpr int kSlots = 192 * 1024 / kSlot, kBarriers = kSlots * kSlot;
  // Dynamic shared memory begins at a multiple of 128 only.
  static constexpr size_t kBytes = gpu::kSwizzledAtom - 128 + kBarriers + 2 * 8 * kSlots;
};

// A place in the ring, and the parity of the phase in which it holds the step.
template <int kSlots>
struct RingPlace {
  int slot = 0, parity = 0;

  GPU_FN void advance() {
    if (++slot == kSlots) {
      slot = 0;
      parity ^= 1;
    }
  }
};

template <typename T, class Shape>
struct WarpgroupBlock {
  using A = typename Shape::OperandA;
  using B = typename Shape::OperandB;
  using Ring = RingPlace<Shape::kSlots>;

  TilePlace at;
  int base;  // byte offset of the slots

  GPU_FN int slot(int n) const { return base + n * Shape::kSlot; }
  GPU_FN uint64_t* full(int n) const { return gpu::shared<uint64_t>(base + Shape::kBarriers + 8 * n); }
  GPU_FN uint64_t* empty(int n) const { return full(Shape::kSlots + n); }

  // By one thread.
  GPU_FN void init_barriers() const {
#pragma unroll
    for (int n = 0; n < Shape::kSlots; ++n) {
      gpu::mbarrier_init(full(n), 1);
      gpu::mbarrier_init(empty(n), 8);
    }
  }

  // One warp.
  GPU_FN void bring_steps(const WarpgroupGemm& g, const WarpgroupMaps& maps) const {
    Ring ring;
    // Only a single product is cut into parts.
    int product = 0, k = at.first * WarpgroupSteps::kStep;
#pragma unroll 1
    for (int step = at.first; step < at.last; ++step) {
      GPU_MBARRIER_WAIT(empty(ring.slot), ring.parity ^ 1);
      GPU_MBARRIER_ANNOUNCE(full(ring.slot), Shape::kSlot);
      if (gpu::lane() == 0) {
        const int to = slot(ring.slot);
        A::bring(to, maps.a[product], static_cast<int>(at.m), k, full(ring.slot));
        B::bring(to + A::kBytes, maps.b[product], static_cast<int>(at.n), k, full(ring.slot));
      }
      ring.advance();
      k += WarpgroupSteps::kStep;
      if (k >= g.k[product]) {
        ++product;
        k = 0;
      }
    }
  }

  // Four warps, of which `warp` is one of eight.
  GPU_FN void multiply(const WarpgroupGemm& g, int warp) const {
    float sum[Shape::kN / 8][4];
#pragma unroll
    for (int j = 0; j < Shape::kN / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[j][e] = 0;
    }
    Ring ring;
    gpu::pin(sum);
#pragma unroll 1
    for (int step = at.first; step < at.last; ++step) {
      GPU_MBARRIER_WAIT(full(ring.slot), ring.parity);
      GPU_WGMMA_FENCE();
      const uint64_t a = A::descriptor(slot(ring.slot), warp / 4 * 64);
      const uint64_t b = B::descriptor(slot(ring.slot) + A::kBytes, 0);
#pragma unroll
      for (int n = 0; n < WarpgroupSteps::kStep / 16; ++n) {
        gpu::wgmma_operands<T, Shape::kN, A::kAcross, B::kAcross>(sum, a + n * A::kNext, b + n * B::kNext);
      }
      gpu::wgmma_commit();
      // All products before these have read their slot.
      GPU_WGMMA_WAIT(1);
      if (step > at.first) {
        GPU_MBARRIER_ARRIVE(empty(ring.slot == 0 ? Shape::kSlots - 1 : ring.slot - 1));
      }
      ring.advance();
    }
    GPU_WGMMA_WAIT(0);
    gpu::pin(sum);
    GPU_NAMED_BARRIER(1, 8 * 32);  // the slots are free
    store(g, sum, warp);
  }

  // By way of the slots, so that code for 32 columns does for all: a thread takes back what it has put there.
  GPU_FN void store(const WarpgroupGemm& g, const float (&sum)[Shape::kN / 8][4], int warp) const {
    static_assert(8 * 16 * Shape::kN * 4 <= Shape::kBarriers, "all sums fit");
    gpu::Vec16* const own = gpu::shared<gpu::Vec16>(base + warp * 16 * Shape::kN * 4) + gpu::lane();
#pragma unroll
    for (int j = 0; j < Shape::kN / 8; ++j) {
      gpu::store16(own + 32 * j, gpu::Vec16{{float_as_word(sum[j][0]), float_as_word(sum[j][1]),
                                             float_as_word(sum[j][2]), float_as_word(sum[j][3])}});
    }
    const int tiles = static_cast<int>(gpu::min<int64_t>(g.n - at.n + 7, Shape::kN) / 8);
#pragma unroll 1
    for (int j = 0; j < tiles; j += 4) {
      float some[4][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const gpu::Vec16 words = gpu::load16(own + 32 * (j + i));
#pragma unroll
        for (int e = 0; e < 4; ++e) some[i][e] = word_as_float(words.w[e]);
      }
      TileStore<T, 4>::store(g, some, at.m + 16 * warp, at.n + 8 * j);
    }
  }
};

template <typename T, class Shape>
GPU_KERNEL(Shape::kThreads, 1)
void gemm_warpgroups(GPU_GRID_CONSTANT WarpgroupGemm g, GPU_GRID_CONSTANT WarpgroupMaps maps) {
  WarpgroupBlock<T, Shape> block;
  block.at = place_of_block<Shape::kM, Shape::kN>(g);
  block.base = gpu::aligned_offset(gpu::kSwizzledAtom);
  // From one lane, so that the compiler knows it to be one number for the warp, as descriptors are.
  const int warp = gpu::shuffle(gpu::warp(), 0);
  if (warp == 0) {
    if (gpu::lane() == 0) {
      gpu::fetch_map(maps.a[0]);
      gpu::fetch_map(maps.b[0]);
      block.init_barriers();
    }
    GPU_PROXY_FENCE();
  }
  GPU_BARRIER();
  if (warp >= 8) {
    gpu::give_registers<Shape::kProducerRegisters>();
    if (warp == 8) block.bring_steps(g, maps);
  } else {
    gpu::take_registers<Shape::kRegisters>();
    block.multiply(g, warp);
  }
}

template <typename T, int kColumns, Layout kLayout>
WarpgroupKernel warpgroup_kernel() {
  using Shape = WarpgroupShape<T, kColumns, kLayout>;
  return WarpgroupKernel{gemm_warpgroups<T, Shape>, Shape::kThreads, Shape::kBytes};
}

template <typename T, int kColumns>
WarpgroupKernel warpgroup_kernel(Layout layout) {
  if (layout == Layout::NT) return warpgroup_kernel<T, kColumns, Layout::NT>();
  if (layout == Layout::NN) return warpgroup_kernel<T, kColumns, Layout::NN>();
  return warpgroup_kernel<T, kColumns, Layout::TN>();
}

template <typename T>
WarpgroupKernel warpgroup_kernel(Layout layout, int tile_n) {
  if (tile_n == 64) return warpgroup_kernel<T, 64>(layout);
  if (tile_n == 128) return warpgroup_kernel<T, 128>(layout);
  return warpgroup_kernel<T, 256>(layout);
}

}  // namespace cuda
}  // namespace fintune
