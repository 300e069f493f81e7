// The forward pass on the tensor cores of sm_90a, as attention_forward.cuh in all but who copies and who
// multiplies (Shah et al. 2024, FlashAttention-3). Two or three warpgroups own 64 queries each of one head,
// and go over the tiles of keys from the first to the diagonal: the scores of a tile are computed while the
// weights of the tile before meet its values, and become weights while that product is still under way.
// Another warpgroup, which needs few registers, brings the tiles. Keys and values have two slots each of
// shared memory; a slot's two mbarriers say when it is full and when it is empty again, so that no warp waits
// for the block.
//
// Each producing warp brings 32 rows of a tile: by TMA where they are all the sequence's. Else the next
// sequence's lie behind them, which may hold anything: then it copies those of the sequence and zeros instead
// of the others, so that bits do not depend on the neighbours.
#pragma once

#include "cuda/attention_forward.cuh"
#include "cuda/attention_hopper.h"
#include "cuda/tma.h"
#include "cuda/wgmma.h"

namespace fintune {
namespace cuda {
namespace attention {

// As many warpgroups as registers allow: of a head of 128, outputs, scores and weights take 160 a thread.
template <int kDim_>
struct WarpgroupTile {
  static constexpr int kDim = kDim_, kTiles = 1;
  static constexpr int kGroups = kDim == 64 ? 3 : 2, kThreads = 128 * (kGroups + 1);
  static constexpr int kRegisters = kDim == 64 ? 160 : 232, kProducerRegisters = kDim == 64 ? 32 : 40;
  static constexpr int kRows = 64, kQueries = kRows * kGroups, kKeys = 128, kSlots = 2;
  static constexpr int kRowsBytes = kRows * 2 * kDim, kSlot = kKeys * 2 * kDim;
  static constexpr int kFirstSlot = kGroups * kRowsBytes, kBarriers = kFirstSlot + 2 * kSlots * kSlot;
  // Dynamic shared memory begins at a multiple of 128 only.
  static constexpr size_t kBytes = gpu::kSwizzledAtom - 128 + kBarriers + 8 * (1 + 4 * kSlots);
  // Warpgroups with queries see all tiles of keys or all but the last, which no slot is needed behind.
  static_assert(kQueries - kRows <= kKeys, "slots become empty without the groups that are ahead");
};

struct ForwardMaps {
  TensorMap q, k, v;  // boxes of kSlab rows
};

// Rows that a warp brings at once: a tile of keys has one such for each warp of the warpgroup.
constexpr int kSlab = 32;

// kRows rows in shared memory: 64 columns after the other, each as the atoms of swizzled_operand.
template <int kRows, int kDim>
struct Panels {
  static constexpr int kPanel = kRows * gpu::kSwizzledLine, kCount = kDim / 64;

  GPU_FN static int place(int row, int chunk) { return plain(row, chunk ^ (row & 7)); }
  GPU_FN static int plain(int row, int chunk) { return row * gpu::kSwizzledLine + 16 * chunk; }

  // Threads whose numbers are 0 .. kThreads - 1, modulo kThreads, start to copy rows [first, first + kMany)
  // to byte `to`; those beyond the sequence become zero.
  template <class T, int kThreads, int kMany = kRows>
  GPU_FN static void copy(int to, const Rows<T>& from, int first) {
    constexpr int kStep = kThreads / 8, kSteps = (kMany + kStep - 1) / kStep;
    [[maybe_unused]] constexpr int kAtOnce = kThreads == 32 ? 1 : kSteps;  // a warp that has few registers
    const int own = gpu::thread() % kThreads / 8, chunk = gpu::thread() % 8;
#pragma unroll kAtOnce
    for (int n = 0; n < kSteps; ++n) {
      const int row = own + n * kStep;
      if (kMany % kStep != 0 && row >= kMany) break;
      const int at = to + GPU_SWIZZLE(place(row, chunk), plain(row, chunk));
      const bool valid = first + row < from.count;
#pragma unroll
      for (int panel = 0; panel < kCount; ++panel) {
        gpu::cp_async_16(gpu::shared<T>(at + panel * kPanel), from.at(first + row, 8 * panel + chunk), valid);
      }
    }
  }

  // A warp brings rows [first, first + kSlab) to byte `to`, those beyond the sequence as zeros, and arrives
  // at `full` once.
  template <class T>
  GPU_FN static void bring(int to, const TensorMap& map, const Rows<T>& from, int first, uint64_t* full) {
    if (first + kSlab <= from.count) {
      GPU_MBARRIER_ANNOUNCE(full, kSlab * 2 * kDim);
      if (gpu::lane() == 0) {
#pragma unroll
        for (int panel = 0; panel < kCount; ++panel) {
          gpu::copy_box(gpu::shared<T>(to + panel * kPanel), map,
                        static_cast<int>(from.column) + panel * kBoxColumns,
                        static_cast<int>(from.start) + first, full);
        }
      }
    } else {
      copy<T, 32, kSlab>(to, from, first);
      gpu::cp_async_commit();
      GPU_ASYNC_WAIT(0);
      GPU_PROXY_FENCE();
      GPU_MBARRIER_ARRIVE(full);
    }
  }
};

// From one lane, so that the compiler knows them to be one number for the warp, as descriptors and all that
// they come from must be to cost no registers.
GPU_FN Work uniform(const Work& work) {
  return Work{gpu::shuffle(work.sequence, 0), gpu::shuffle(work.start, 0), gpu::shuffle(work.length, 0),
              gpu::shuffle(work.tile, 0)};
}

// What all warps of a block know: its work, and where things lie in shared memory.
template <class Tile>
struct WarpgroupBlock {
  Work work;
  int head, first, tiles;  // first query; tiles of keys that some query sees
  int base;                // byte offset

  GPU_FN static int tiles_before(int row, int length) {
    return (gpu::min(length, row) + Tile::kKeys - 1) / Tile::kKeys;
  }
  GPU_FN int queries(int group) const { return base + group * Tile::kRowsBytes; }
  GPU_FN int keys(int j) const { return base + Tile::kFirstSlot + j % Tile::kSlots * Tile::kSlot; }
  GPU_FN int values(int j) const { return keys(j) + Tile::kSlots * Tile::kSlot; }
  GPU_FN uint64_t* barrier(int n) const { return gpu::shared<uint64_t>(base + Tile::kBarriers + 8 * n); }
  GPU_FN uint64_t* queries_full() const { return barrier(4 * Tile::kSlots); }
  GPU_FN uint64_t* keys_full(int j) const { return barrier(j % Tile::kSlots); }
  GPU_FN uint64_t* values_full(int j) const { return barrier(Tile::kSlots + j % Tile::kSlots); }
  GPU_FN uint64_t* keys_empty(int j) const { return barrier(2 * Tile::kSlots + j % Tile::kSlots); }
  GPU_FN uint64_t* values_empty(int j) const { return barrier(3 * Tile::kSlots + j % Tile::kSlots); }
  // Of the phase in which a slot holds tile j, and becomes empty of it.
  GPU_FN static int parity(int j) { return j / Tile::kSlots & 1; }

  // By one thread.
  GPU_FN void init_barriers() const {
    const int groups = (gpu::min(work.length - first, Tile::kQueries) + Tile::kRows - 1) / Tile::kRows;
    gpu::mbarrier_init(queries_full(), Tile::kQueries / kSlab);
#pragma unroll
    for (int j = 0; j < Tile::kSlots; ++j) {
      gpu::mbarrier_init(keys_full(j), Tile::kKeys / kSlab);
      gpu::mbarrier_init(values_full(j), Tile::kKeys / kSlab);
      gpu::mbarrier_init(keys_empty(j), 4 * groups);
      gpu::mbarrier_init(values_empty(j), 4 * groups);
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

// The producing warpgroup: `warp` is one of its four.
template <class T, class Tile>
GPU_FN void bring_tiles(const Forward& op, const ForwardMaps& maps, const WarpgroupBlock<Tile>& block,
                        int warp) {
  using Queries = Panels<Tile::kRows, Tile::kDim>;
  using Keys = Panels<Tile::kKeys, Tile::kDim>;
  static_assert(Tile::kKeys == 4 * kSlab, "each warp brings its part of a tile of keys");
  const int key_head = block.head / op.shape.group;
  const Rows<T> queries = rows_of<T>(op.q, op.shape, block.work, block.head);
  const Rows<T> keys = rows_of<T>(op.k, op.shape, block.work, key_head);
  const Rows<T> values = rows_of<T>(op.v, op.shape, block.work, key_head);
  const int part = kSlab * warp, part_bytes = part * gpu::kSwizzledLine;
#pragma unroll 1
  for (int j = 0; j <= block.tiles; ++j) {
    if (j < block.tiles) {
      GPU_MBARRIER_WAIT(block.keys_empty(j), block.parity(j) ^ 1);
      Keys::bring(block.keys(j) + part_bytes, maps.k, keys, j * Tile::kKeys + part, block.keys_full(j));
    }
    if (j == 0) {
#pragma unroll 1
      for (int row = part; row < Tile::kQueries; row += 4 * kSlab) {
        const int to = block.queries(row / Tile::kRows) + row % Tile::kRows * gpu::kSwizzledLine;
        Queries::bring(to, maps.q, queries, block.first + row, block.queries_full());
      }
    } else {
      const int i = j - 1;
      GPU_MBARRIER_WAIT(block.values_empty(i), block.parity(i) ^ 1);
      Keys::bring(block.values(i) + part_bytes, maps.v, values, i * Tile::kKeys + part, block.values_full(i));
    }
  }
}

// A multiplying warpgroup.
template <class T, class Tile>
GPU_FN void attend(const Forward& op, const WarpgroupBlock<Tile>& block, int warp) {
  constexpr int kKeys = Tile::kKeys, kDim = Tile::kDim;
  const int group = warp / 4, group_first = block.first + group * Tile::kRows;
  if (group_first >= block.work.length) return;
  // Tiles of keys that the group's queries see.
  const int seen = block.tiles_before(group_first + Tile::kRows, block.work.length);
  const int own = group_first + warp % 4 * 16;  // the warp's first row
  const int queries = block.queries(group);

  ForwardRows<T, Tile> result;
  result.clear();
  float scores[1][kKeys / 8][4], factor[1][2];
  uint32_t weights[kKeys / 16][4];
  const float c = op.shape.scale * kLog2E;
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

  GPU_MBARRIER_WAIT(block.queries_full(), 0);
  GPU_MBARRIER_WAIT(block.keys_full(0), 0);
  GPU_WGMMA_FENCE();
  begin_scores<T, kDim, kKeys>(scores[0], queries, block.keys(0));
  GPU_WGMMA_WAIT(0);
  gpu::pin(scores[0]);
  GPU_MBARRIER_ARRIVE(block.keys_empty(0));
  soften(0);
  pack();
#pragma unroll 1
  for (int j = 1; j < seen; ++j) {
    gpu::pin(result.out[0]);
    gpu::pin(weights);
    gpu::pin(scores[0]);
    GPU_MBARRIER_WAIT(block.keys_full(j), block.parity(j));
    GPU_MBARRIER_WAIT(block.values_full(j - 1), block.parity(j - 1));
    GPU_WGMMA_FENCE();
    begin_scores<T, kDim, kKeys>(scores[0], queries, block.keys(j));
    begin_outputs<T, kDim, kKeys>(result.out[0], weights, block.values(j - 1));
    GPU_WGMMA_WAIT(1);
    gpu::pin(scores[0]);
    GPU_MBARRIER_ARRIVE(block.keys_empty(j));
    soften(j);
    gpu::settle(result.sum[0][0] + result.sum[0][1]);
    GPU_WGMMA_WAIT(0);
    gpu::pin(result.out[0]);
    gpu::pin(weights);
    GPU_MBARRIER_ARRIVE(block.values_empty(j - 1));
    result.rescale(factor);
    pack();
  }
  gpu::pin(result.out[0]);
  gpu::pin(weights);
  GPU_MBARRIER_WAIT(block.values_full(seen - 1), block.parity(seen - 1));
  GPU_WGMMA_FENCE();
  begin_outputs<T, kDim, kKeys>(result.out[0], weights, block.values(seen - 1));
  GPU_WGMMA_WAIT(0);
  gpu::pin(result.out[0]);
  GPU_NAMED_BARRIER(1 + group, 128);  // outputs leave by way of the queries' place
  if (own < block.work.length) {
    result.store(op, block.work, block.head, own, queries + warp % 4 * 16 * 2 * kDim);
  }
}

template <class T, class Tile>
GPU_KERNEL(Tile::kThreads, 1)
void warpgroup_forward_kernel(Forward op, GPU_GRID_CONSTANT ForwardMaps maps) {
  WarpgroupBlock<Tile> block;
  block.work = uniform(find_wanted(op, Tile::kQueries, gpu::block_x() / op.shape.heads));
  if (block.work.tile < 0) return;
  const int warp = gpu::shuffle(gpu::warp(), 0);
  block.head = gpu::block_x() % op.shape.heads;
  block.first = block.work.tile * Tile::kQueries;
  block.tiles = block.tiles_before(block.first + Tile::kQueries, block.work.length);
  block.base = gpu::aligned_offset(gpu::kSwizzledAtom);
  if (warp == 0) {
    if (gpu::lane() == 0) {
      gpu::fetch_map(maps.k);
      gpu::fetch_map(maps.q);
      gpu::fetch_map(maps.v);
      block.init_barriers();
    }
    GPU_PROXY_FENCE();
  }
  GPU_BARRIER();
  if (warp >= 4 * Tile::kGroups) {
    gpu::give_registers<Tile::kProducerRegisters>();
    bring_tiles<T>(op, maps, block, warp % 4);
  } else {
    gpu::take_registers<Tile::kRegisters>();
    attend<T>(op, block, warp);
  }
}

template <class T, int kDim>
void launch_warpgroup_tile(Exec& exec, const Forward& op) {
  using Tile = WarpgroupTile<kDim>;
  const Shape& shape = op.shape;
  const int64_t rows = shape.sequences.tokens;
  if (rows == 0) return;
  const auto map = [&](const Heads& m, int heads) {
    const int64_t columns = heads * kDim;
    // Of one row the stride means nothing.
    return tensor_map(exec, {m.data, rows, columns, rows == 1 ? columns : m.ld}, kSlab);
  };
  const ForwardMaps maps{map(op.q, shape.heads), map(op.k, shape.kv_heads()), map(op.v, shape.kv_heads())};
  const int64_t blocks = most_tiles(shape.sequences, Tile::kQueries) * shape.heads;
  launch(exec, "attention_warpgroup_forward", warpgroup_forward_kernel<T, Tile>,
         Grid{static_cast<int>(blocks), 1, 1}, Tile::kThreads, Tile::kBytes, op, maps);
}

template <class T>
void launch_warpgroup_forward(Exec& exec, const Forward& op) {
  if (!has_tensor_maps()) {
    launch_forward<T>(exec, op);  // a driver that knows less than the device
  } else if (op.shape.dim == 64) {
    launch_warpgroup_tile<T, 64>(exec, op);
  } else {
    launch_warpgroup_tile<T, 128>(exec, op);
  }
}

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
