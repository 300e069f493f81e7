// The backward pass on the tensor cores of sm_90a: the two kernels of attention_backward.cuh, on warpgroups.
// A block owns rows of two matrices, which stay in shared memory, 64 to a warpgroup, and goes over pairs of
// tiles of 64 rows of the two others: one kernel owns keys and values and meets queries and dy, the other
// owns queries and dy and meets keys and values. Scores and dy v^T of a pair are computed while what was made
// of the pair before is added to the sums, and become p and ds while these products are still under way; p
// and ds never leave the registers. Pairs have three slots: one that is met, the one before, and one that the
// next is copied to.
#pragma once

#include "cuda/attention_backward.cuh"
#include "cuda/attention_hopper.cuh"

namespace fintune {
namespace cuda {
namespace attention {

// Whose rows a block owns. Sums, scores, dy v^T, p and ds of a warpgroup take 224 registers a thread where
// keys of 128 columns are owned, else at most 160: a third warpgroup fits where 168 suffice.
template <Side kSide_, int kDim_>
struct WarpgroupPairTile {
  static constexpr Side kSide = kSide_;
  static constexpr int kDim = kDim_;
  static constexpr int kGroups = kSide == Side::Queries && kDim == 64 ? 3 : 2, kThreads = 128 * kGroups;
  static constexpr int kRows = 64, kOwn = kRows * kGroups;
  // Bytes: of 64 rows, of a pair of tiles with, of queries, what belongs to their rows; begin of the slots.
  static constexpr int kTile = kRows * 2 * kDim;
  static constexpr int kSlot = 2 * kTile + (kSide == Side::Keys ? gpu::kSwizzledAtom : 0);
  static constexpr int kFirstSlot = 2 * kGroups * kTile;
  // Dynamic shared memory begins at a multiple of 128 only.
  static constexpr size_t kBytes = gpu::kSwizzledAtom - 128 + kFirstSlot + 3 * kSlot;
};

// Shared memory of a block: its own rows of matrices a and b, and the slots. Byte offsets.
template <class T, class Tile>
struct Pairs {
  using Copy = Panels<Tile::kRows, Tile::kDim>;
  int first_slot, before, now, next;

  GPU_FN explicit Pairs(int base)
      : first_slot(base + Tile::kFirstSlot),
        before(first_slot + 2 * Tile::kSlot),
        now(first_slot),
        next(first_slot + Tile::kSlot) {}
  GPU_FN int own(int matrix, int group) const {
    return first_slot + (matrix * Tile::kGroups + group) * Tile::kTile - Tile::kFirstSlot;
  }
  GPU_FN static int stats(int slot) { return slot + 2 * Tile::kTile; }

  // Starts to copy the block's own rows, which are complete with the first pair.
  GPU_FN void copy_own(const Rows<T>& a, const Rows<T>& b, int first) const {
#pragma unroll
    for (int group = 0; group < Tile::kGroups; ++group) {
      const int row = first + group * Tile::kRows;
      Copy::template copy<T, Tile::kThreads>(own(0, group), a, row);
      Copy::template copy<T, Tile::kThreads>(own(1, group), b, row);
    }
  }
  GPU_FN static void copy(int slot, const Rows<T>& a, const Rows<T>& b, int first) {
    Copy::template copy<T, Tile::kThreads>(slot, a, first);
    Copy::template copy<T, Tile::kThreads>(slot + Tile::kTile, b, first);
    gpu::cp_async_commit();
  }
  // All that was copied has come, and slot `next` is used up.
  GPU_FN static void arrive() {
    GPU_ASYNC_WAIT(0);
    GPU_PROXY_FENCE();
    GPU_BARRIER();
  }
  GPU_FN void turn() {
    const int used = before;
    before = now;
    now = next;
    next = used;
  }
};

// Elements whose key lies behind their query become zero; kRows: whose the rows are. `ahead`: first query -
// first key.
template <Side kRows, int kColumns>
GPU_FN void hide(float (&x)[kColumns / 8][4], int ahead) {
  const int g = gpu::lane() / 4, t = gpu::lane() % 4;
#pragma unroll
  for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 8 * (i / 2) + g, column = 8 * n + 2 * t + i % 2;
      const int query = kRows == Side::Queries ? row : column, key = kRows == Side::Queries ? column : row;
      if (key > ahead + query) x[n][i] = 0.0f;
    }
  }
}

// A warpgroup's registers.
template <class T, class Tile>
struct PairRows {
  static constexpr int kRows = Tile::kRows, kDim = Tile::kDim;
  static constexpr bool kKeys = Tile::kSide == Side::Keys;
  float sum[1][kDim / 8][4];                            // ds a: dk or dq, before the scale
  float dv[1][kKeys ? kDim / 8 : 1][4];                 // p b, of keys only
  float p[kRows / 8][4], ds[kRows / 8][4];              // scores and dy v^T, and what they become
  uint32_t p_left[kRows / 16][4], left[kRows / 16][4];  // p and ds of the pair before, as operands

  GPU_FN void clear() {
    attention::clear(sum);
    attention::clear(dv);
  }

  // The products of a pair (`now`: the warpgroup meets one in this step) and those that add the pair before
  // (`had`). `weigh` makes p of the scores, `differentiate` ds of p and dy v^T.
  template <class Weigh, class Differentiate>
  GPU_FN void step(bool now, bool had, int own_a, int own_b, const Pairs<T, Tile>& pairs, const Weigh& weigh,
                   const Differentiate& differentiate) {
    if (had) pin_sums();
    if (now && had) {
      GPU_WGMMA_FENCE();
      begin_products(own_a, own_b, pairs.now);
      begin_sums(pairs.before);
      GPU_WGMMA_WAIT(kKeys ? 3 : 2);
      gpu::pin(p);
      weigh(p);
      GPU_WGMMA_WAIT(kKeys ? 2 : 1);
      gpu::pin(ds);
      differentiate(ds, p);
      GPU_WGMMA_WAIT(0);
      pin_sums();
      pack();
    } else if (now) {
      GPU_WGMMA_FENCE();
      begin_products(own_a, own_b, pairs.now);
      GPU_WGMMA_WAIT(1);
      gpu::pin(p);
      weigh(p);
      GPU_WGMMA_WAIT(0);
      gpu::pin(ds);
      differentiate(ds, p);
      pack();
    } else if (had) {
      GPU_WGMMA_FENCE();
      begin_sums(pairs.before);
      GPU_WGMMA_WAIT(0);
      pin_sums();
    }
  }

 private:
  GPU_FN void begin_products(int own_a, int own_b, int pair) {
    begin_scores<T, kDim, kRows>(p, own_a, pair);
    begin_scores<T, kDim, kRows>(ds, own_b, pair + Tile::kTile);
  }
  GPU_FN void begin_sums(int pair) {
    if constexpr (kKeys) begin_outputs<T, kDim, kRows>(dv[0], p_left, pair + Tile::kTile);
    begin_outputs<T, kDim, kRows>(sum[0], left, pair);
  }
  GPU_FN void pack() {
#pragma unroll
    for (int n = 0; n < kRows / 16; ++n) {
      if constexpr (kKeys) pack_left<T, kRows>(p_left[n], p, n);
      pack_left<T, kRows>(left[n], ds, n);
    }
  }
  GPU_FN void pin_sums() {
    gpu::pin(sum[0]);
    gpu::pin(left);
    if constexpr (kKeys) {
      gpu::pin(dv[0]);
      gpu::pin(p_left);
    }
  }
};

template <class T, class Tile>
GPU_KERNEL(Tile::kThreads, 1)
void warpgroup_backward_keys_kernel(Backward op) {
  constexpr int kRows = Tile::kRows;
  const Shape& shape = op.shape;
  const int kv_heads = shape.heads / shape.group, kv_head = gpu::block_x() % kv_heads;
  const Work work = find_work(shape.sequences, Side::Keys, Tile::kOwn, gpu::block_x() / kv_heads);
  if (work.tile < 0) return;
  const int first = work.tile * Tile::kOwn;
  // From one lane, so that the compiler knows it to be one number for the warp, as descriptors are.
  const int warp = gpu::shuffle(gpu::warp(), 0);
  const int group = warp / 4, group_first = first + group * kRows;
  const int own = group_first + warp % 4 * 16;  // the warp's first row

  Pairs<T, Tile> pairs(gpu::aligned_offset(gpu::kSwizzledAtom));
  // What belongs to the rows of the next pair's queries; rows beyond the sequence are zeros, and so is what
  // they add.
  RowStats row;
  const auto begin = [&](int slot, int head, int query) {
    Pairs<T, Tile>::copy(slot, rows_of<T>(op.q, shape, work, head), rows_of<T>(op.dy, shape, work, head),
                         query);
    const int at = query + gpu::thread();
    row = RowStats{0.0f, 0.0f};
    if (gpu::thread() < kRows && at < work.length) {
      row = op.stats[static_cast<int64_t>(head) * shape.sequences.tokens + work.start + at];
    }
  };
  const auto end = [&](int slot) {
    if (gpu::thread() < kRows) gpu::shared<RowStats>(pairs.stats(slot))[gpu::thread()] = row;
  };
  pairs.copy_own(rows_of<T>(op.k, shape, work, kv_head), rows_of<T>(op.v, shape, work, kv_head), first);
  // Queries that see keys of the tile begin with it.
  int head = kv_head * shape.group, query = first;
  const int last_head = head + shape.group;
  begin(pairs.now, head, query);
  end(pairs.now);

  PairRows<T, Tile> rows;
  rows.clear();
  const float c = shape.scale * kLog2E;
  bool had = false;
#pragma unroll 1
  for (bool more = true; more; pairs.turn()) {
    Pairs<T, Tile>::arrive();
    more = head < last_head;
    const bool now = more && group_first < work.length && query + kRows > group_first;
    const int ahead = query - own;
    query += kRows;
    if (query >= work.length) {
      query = first;
      ++head;
    }
    const bool copies = head < last_head;
    if (copies) begin(pairs.next, head, query);
    const bool masked = ahead < 15;
    const StatsPair* const stats = gpu::shared<StatsPair>(pairs.stats(pairs.now)) + gpu::lane() % 4;
    rows.step(
        now, had, pairs.own(0, group), pairs.own(1, group), pairs,
        [&](float(&p)[kRows / 8][4]) {
#pragma unroll
          for (int n = 0; n < kRows / 8; ++n) {
            const StatsPair pair = stats[4 * n];
#pragma unroll
            for (int i = 0; i < 4; ++i) p[n][i] = weight(p[n][i], c, pair.rows[i % 2].lse);
          }
          if (masked) hide<Side::Keys, kRows>(p, ahead);
        },
        [&](float(&ds)[kRows / 8][4], const float(&p)[kRows / 8][4]) {
#pragma unroll
          for (int n = 0; n < kRows / 8; ++n) {
            const StatsPair pair = stats[4 * n];  // again: registers are what there is least of
#pragma unroll
            for (int i = 0; i < 4; ++i) ds[n][i] = p[n][i] * (ds[n][i] - pair.rows[i % 2].delta);
          }
          if (masked) hide<Side::Keys, kRows>(ds, ahead);
        });
    had = now;
    if (copies) end(pairs.next);
  }
  if (own >= work.length) return;
  // Keys and values become the way out.
  const int warp_bytes = warp % 4 * 16 * 2 * Tile::kDim;
  float factor[1][2];
  fill(factor, shape.scale);
  store_rows<T, Tile::kDim, 1>(rows_of<T>(op.dk, shape, work, kv_head), own, rows.sum, factor,
                               pairs.own(0, group) + warp_bytes);
  fill(factor, 1.0f);
  store_rows<T, Tile::kDim, 1>(rows_of<T>(op.dv, shape, work, kv_head), own, rows.dv, factor,
                               pairs.own(1, group) + warp_bytes);
}

template <class T, class Tile>
GPU_KERNEL(Tile::kThreads, 1)
void warpgroup_backward_queries_kernel(Backward op) {
  constexpr int kRows = Tile::kRows;
  const Shape& shape = op.shape;
  const int head = gpu::block_x() % shape.heads;
  const Work work = find_work(shape.sequences, Side::Queries, Tile::kOwn, gpu::block_x() / shape.heads);
  if (work.tile < 0) return;
  const int first = work.tile * Tile::kOwn;
  const int warp = gpu::shuffle(gpu::warp(), 0);
  const int group = warp / 4, group_first = first + group * kRows;
  const int own = group_first + warp % 4 * 16;
  // Pairs of tiles of keys that some query of the block, and of the group, sees.
  const auto tiles_before = [&](int row) { return (gpu::min(work.length, row) + kRows - 1) / kRows; };
  const int tiles = tiles_before(first + Tile::kOwn);
  const int seen = group_first < work.length ? tiles_before(group_first + kRows) : 0;

  Pairs<T, Tile> pairs(gpu::aligned_offset(gpu::kSwizzledAtom));
  const Rows<T> keys = rows_of<T>(op.k, shape, work, head / shape.group);
  const Rows<T> values = rows_of<T>(op.v, shape, work, head / shape.group);
  pairs.copy_own(rows_of<T>(op.q, shape, work, head), rows_of<T>(op.dy, shape, work, head), first);
  Pairs<T, Tile>::copy(pairs.now, keys, values, 0);

  RowStats stats[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = own + 8 * half + gpu::lane() / 4;
    stats[half] = RowStats{0.0f, 0.0f};
    if (row < work.length) {
      stats[half] = op.stats[static_cast<int64_t>(head) * shape.sequences.tokens + work.start + row];
    }
  }
  PairRows<T, Tile> rows;
  rows.clear();
  const float c = shape.scale * kLog2E;
#pragma unroll 1
  for (int j = 0; j <= tiles; ++j, pairs.turn()) {
    Pairs<T, Tile>::arrive();
    if (j + 1 < tiles) Pairs<T, Tile>::copy(pairs.next, keys, values, (j + 1) * kRows);
    const int ahead = own - j * kRows;
    rows.step(
        j<seen, j> 0 && j <= seen, pairs.own(0, group), pairs.own(1, group), pairs,
        [&](float(&p)[kRows / 8][4]) {
#pragma unroll
          for (int n = 0; n < kRows / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) p[n][i] = weight(p[n][i], c, stats[i / 2].lse);
          }
        },
        [&](float(&ds)[kRows / 8][4], const float(&p)[kRows / 8][4]) {
#pragma unroll
          for (int n = 0; n < kRows / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) ds[n][i] = p[n][i] * (ds[n][i] - stats[i / 2].delta);
          }
          if (ahead < kRows - 1) hide<Side::Queries, kRows>(ds, ahead);
        });
  }
  if (own >= work.length) return;
  float factor[1][2];
  fill(factor, shape.scale);
  // Queries become the way out.
  store_rows<T, Tile::kDim, 1>(rows_of<T>(op.dq, shape, work, head), own, rows.sum, factor,
                               pairs.own(0, group) + warp % 4 * 16 * 2 * Tile::kDim);
}

template <class T, int kDim>
void launch_warpgroup_pairs(Exec& exec, const Backward& op) {
  using Keys = WarpgroupPairTile<Side::Keys, kDim>;
  using Queries = WarpgroupPairTile<Side::Queries, kDim>;
  const Sequences& s = op.shape.sequences;
  const int64_t keys = most_tiles(s, Keys::kOwn) * op.shape.kv_heads();
  launch(exec, "attention_warpgroup_backward_keys", warpgroup_backward_keys_kernel<T, Keys>,
         Grid{static_cast<int>(keys), 1, 1}, Keys::kThreads, Keys::kBytes, op);
  const int64_t queries = most_tiles(s, Queries::kOwn) * op.shape.heads;
  launch(exec, "attention_warpgroup_backward_queries", warpgroup_backward_queries_kernel<T, Queries>,
         Grid{static_cast<int>(queries), 1, 1}, Queries::kThreads, Queries::kBytes, op);
}

template <class T>
void launch_warpgroup_backward(Exec& exec, const Backward& op) {
  if (op.shape.dim == 64) {
    launch_warpgroup_pairs<T, 64>(exec, op);
  } else {
    launch_warpgroup_pairs<T, 128>(exec, op);
  }
}

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
