// The forward pass on the tensor cores of sm_90a, as attention_forward.cuh in all but who multiplies: two or
// three warpgroups own 64 queries each of one head, and go over the tiles of keys from the first to the
// diagonal. The scores of a tile of keys are computed while the weights of the tile before meet its values,
// and become weights while that product is still under way (Shah et al. 2024, FlashAttention-3). Keys and
// values have two slots each of shared memory; all threads copy, which leaves rows beyond a sequence zero,
// whatever lies there.
#pragma once

#include "cuda/attention_forward.cuh"
#include "cuda/attention_hopper.h"
#include "cuda/wgmma.h"

namespace fintune {
namespace cuda {
namespace attention {

// As many warpgroups as registers allow: of a head of 128, outputs, scores and weights take 160 a thread.
template <int kDim_>
struct WarpgroupTile {
  static constexpr int kDim = kDim_, kTiles = 1;
  static constexpr int kGroups = kDim == 64 ? 3 : 2, kThreads = 128 * kGroups;
  static constexpr int kRows = 64, kQueries = kRows * kGroups, kKeys = 128;
  static constexpr int kRowsBytes = kRows * 2 * kDim, kSlot = kKeys * 2 * kDim;
  static constexpr int kFirstSlot = kGroups * kRowsBytes;
  // Dynamic shared memory begins at a multiple of 128 only.
  static constexpr size_t kBytes = gpu::kSwizzledAtom - 128 + kFirstSlot + 4 * kSlot;
};

// kRows rows in shared memory: 64 columns after the other, each as the atoms of swizzled_operand.
template <int kRows, int kDim>
struct Panels {
  static constexpr int kPanel = kRows * gpu::kSwizzledLine, kCount = kDim / 64;

  GPU_FN static int place(int row, int chunk) { return plain(row, chunk ^ (row & 7)); }
  GPU_FN static int plain(int row, int chunk) { return row * gpu::kSwizzledLine + 16 * chunk; }

  // Starts to copy rows [first, first + kRows) to byte `to`; those beyond the sequence become zero.
  template <class T, int kThreads>
  GPU_FN static void copy(int to, const Rows<T>& from, int first) {
    constexpr int kStep = kThreads / 8;
    const int own = gpu::thread() / 8, chunk = gpu::thread() % 8;
#pragma unroll
    for (int n = 0; n < (kRows + kStep - 1) / kStep; ++n) {
      const int row = own + n * kStep;
      if (kRows % kStep != 0 && row >= kRows) break;
      const int at = to + GPU_SWIZZLE(place(row, chunk), plain(row, chunk));
      const bool valid = first + row < from.count;
#pragma unroll
      for (int panel = 0; panel < kCount; ++panel) {
        gpu::cp_async_16(gpu::shared<T>(at + panel * kPanel), from.at(first + row, 8 * panel + chunk), valid);
      }
    }
  }
};

// s = left right^T of the 64 rows at byte `left` and the kColumns at `right`, in the background.
template <class T, int kDim, int kColumns>
GPU_FN void begin_scores(float (&s)[kColumns / 8][4], int left, int right) {
  const uint64_t a = gpu::swizzled_operand(gpu::shared<T>(left), 16, gpu::kSwizzledAtom);
  const uint64_t b = gpu::swizzled_operand(gpu::shared<T>(right), 16, gpu::kSwizzledAtom);
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    // Start addresses count in 16 bytes.
    const int a_at = step / 4 * Panels<64, kDim>::kPanel + step % 4 * 32;
    const int b_at = step / 4 * Panels<kColumns, kDim>::kPanel + step % 4 * 32;
    gpu::wgmma_shared<T, kColumns>(s, a + a_at / 16, b + b_at / 16, step > 0);
  }
  gpu::wgmma_commit();
}

// o += w right of the weights w and the kRows rows at byte `right`, in the background.
template <class T, int kDim, int kRows>
GPU_FN void begin_outputs(float (&o)[kDim / 8][4], const uint32_t (&w)[kRows / 16][4], int right) {
  const uint64_t b =
      gpu::swizzled_operand(gpu::shared<T>(right), Panels<kRows, kDim>::kPanel, gpu::kSwizzledAtom);
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    gpu::wgmma_transposed<T, kDim>(o, w[step], b + step * 16 * gpu::kSwizzledLine / 16);
  }
  gpu::wgmma_commit();
}

template <class T, class Tile>
GPU_KERNEL(Tile::kThreads, 1)
void warpgroup_forward_kernel(Forward op) {
  constexpr int kKeys = Tile::kKeys, kDim = Tile::kDim;
  const Shape& shape = op.shape;
  const int head = gpu::block_x() % shape.heads;
  const Work work = find_wanted(op, Tile::kQueries, gpu::block_x() / shape.heads);
  if (work.tile < 0) return;
  const int first = work.tile * Tile::kQueries;
  const auto tiles_before = [&](int row) { return (gpu::min(work.length, row) + kKeys - 1) / kKeys; };
  const int tiles = tiles_before(first + Tile::kQueries);
  // From one lane, so that the compiler knows it to be one number for the warp, as descriptors are.
  const int warp = gpu::shuffle(gpu::warp(), 0);
  const int group = warp / 4, group_first = first + group * Tile::kRows;
  // Tiles of keys that the group's queries see.
  const int seen = group_first < work.length ? tiles_before(group_first + Tile::kRows) : 0;
  const int own = group_first + warp % 4 * 16;  // the warp's first row

  const int base = gpu::aligned_offset(gpu::kSwizzledAtom);
  const int queries = base + group * Tile::kRowsBytes, slots = base + Tile::kFirstSlot;
  const auto key_slot = [&](int j) { return slots + j % 2 * Tile::kSlot; };
  const auto value_slot = [&](int j) { return slots + (2 + j % 2) * Tile::kSlot; };
  const Rows<T> keys = rows_of<T>(op.k, shape, work, head / shape.group);
  const Rows<T> values = rows_of<T>(op.v, shape, work, head / shape.group);
  // What the products of tile j need, and of the values those of the tile before.
  const auto begin_copies = [&](int j) {
    if (j < tiles) Panels<kKeys, kDim>::template copy<T, Tile::kThreads>(key_slot(j), keys, j * kKeys);
    if (j > 0)
      Panels<kKeys, kDim>::template copy<T, Tile::kThreads>(value_slot(j - 1), values, (j - 1) * kKeys);
    gpu::cp_async_commit();
  };
  {
    const Rows<T> from = rows_of<T>(op.q, shape, work, head);
#pragma unroll
    for (int n = 0; n < Tile::kGroups; ++n) {
      Panels<Tile::kRows, kDim>::template copy<T, Tile::kThreads>(base + n * Tile::kRowsBytes, from,
                                                                  first + n * Tile::kRows);
    }
  }
  begin_copies(0);
  begin_copies(1);

  ForwardRows<T, Tile> result;
  result.clear();
  float scores[1][kKeys / 8][4], factor[1][2];
  uint32_t weights[kKeys / 16][4];
  const float c = shape.scale * kLog2E;
  const auto soften = [&](int j) {
    const int ahead = own - j * kKeys;
    if (ahead < kKeys - 1) result.mask(scores, ahead);
    result.raise(factor, scores, c);
    result.weigh(scores, c);
  };
  const auto pack = [&] {
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) pack_left<T, kKeys>(weights[step], scores[0], step);
  };

  GPU_ASYNC_WAIT(1);
  GPU_PROXY_FENCE();
  GPU_BARRIER();
  if (seen > 0) {
    GPU_WGMMA_FENCE();
    begin_scores<T, kDim, kKeys>(scores[0], queries, key_slot(0));
    GPU_WGMMA_WAIT(0);
    gpu::pin(scores[0]);
    soften(0);
    pack();
  }
#pragma unroll 1
  for (int j = 1; j <= tiles; ++j) {
    GPU_ASYNC_WAIT(0);
    GPU_PROXY_FENCE();
    GPU_BARRIER();  // all have come, and the slots that the next copies go to are used up
    if (j < tiles) begin_copies(j + 1);
    if (j > seen) continue;
    gpu::pin(result.out[0]);
    gpu::pin(weights);
    if (j < seen) {
      gpu::pin(scores[0]);
      GPU_WGMMA_FENCE();
      begin_scores<T, kDim, kKeys>(scores[0], queries, key_slot(j));
      begin_outputs<T, kDim, kKeys>(result.out[0], weights, value_slot(j - 1));
      GPU_WGMMA_WAIT(1);
      gpu::pin(scores[0]);
      soften(j);
      GPU_WGMMA_WAIT(0);
      gpu::pin(result.out[0]);
      gpu::pin(weights);
      result.rescale(factor);
      pack();
    } else {
      GPU_WGMMA_FENCE();
      begin_outputs<T, kDim, kKeys>(result.out[0], weights, value_slot(j - 1));
      GPU_WGMMA_WAIT(0);
      gpu::pin(result.out[0]);
    }
  }
  if (own < work.length) result.store(op, work, head, own, queries + warp % 4 * 16 * 2 * kDim);
}

template <class T, int kDim>
void launch_warpgroup_tile(Exec& exec, const Forward& op) {
  using Tile = WarpgroupTile<kDim>;
  const int64_t blocks = most_tiles(op.shape.sequences, Tile::kQueries) * op.shape.heads;
  launch(exec, "attention_warpgroup_forward", warpgroup_forward_kernel<T, Tile>,
         Grid{static_cast<int>(blocks), 1, 1}, Tile::kThreads, Tile::kBytes, op);
}

template <class T>
void launch_warpgroup_forward(Exec& exec, const Forward& op) {
  if (op.shape.dim == 64) {
    launch_warpgroup_tile<T, 64>(exec, op);
  } else {
    launch_warpgroup_tile<T, 128>(exec, op);
  }
}

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
