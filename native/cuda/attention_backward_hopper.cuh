// The backward pass on the tensor cores of sm_90a: the two kernels of attention_backward.cuh, on warpgroups.
// One owns keys and values and meets queries and dy, of all heads of the group in fixed order; the other owns
// queries and dy and meets keys and values.
#pragma once

#include "cuda/attention_pairs.cuh"

namespace fintune {
namespace cuda {
namespace attention {

template <class T, class Tile>
GPU_KERNEL(Tile::kThreads, 1)
void warpgroup_backward_keys_kernel(Backward op) {
  constexpr int kRows = Tile::kRows;
  const Shape& shape = op.shape;
  const int kv_heads = shape.heads / shape.group, kv_head = gpu::block_x() % kv_heads;
  const Work work = uniform(find_work(shape.sequences, Side::Keys, Tile::kOwn, gpu::block_x() / kv_heads));
  if (work.tile < 0) return;
  const int first = work.tile * Tile::kOwn;
  const int warp = gpu::shuffle(gpu::warp(), 0);
  const int group = warp / 4, group_first = first + group * kRows;
  const int own = group_first + warp % 4 * 16;  // the warp's first row

  const Pairs<T, Tile> pairs{gpu::aligned_offset(gpu::kSwizzledAtom)};
  pairs.copy_own(rows_of<T>(op.k, shape, work, kv_head), rows_of<T>(op.v, shape, work, kv_head), first);
  // The pair that is copied next, from the first queries that see keys of the tile on.
  int copied = 0, head = kv_head * shape.group, query = first;
  const int last_head = head + shape.group;
  // What belongs to the rows of the newest pair, on its way; rows beyond the sequence are zeros, and so is
  // what they add.
  RowStats row;
  const auto copy = [&] {
    pairs.copy(head < last_head, copied, rows_of<T>(op.q, shape, work, head),
               rows_of<T>(op.dy, shape, work, head), query);
    const int at = query + gpu::thread();
    row = RowStats{0.0f, 0.0f};
    if (head < last_head && gpu::thread() < kRows && at < work.length) {
      row = op.stats[static_cast<int64_t>(head) * shape.sequences.tokens + work.start + at];
    }
    ++copied;
    query += kRows;
    if (query >= work.length) {
      query = first;
      ++head;
    }
  };
  const auto keep_row = [&] {
    if (gpu::thread() >= kRows) return;
    float* const stats = pairs.template stats<float>(copied - 1) + gpu::thread();
    stats[0] = row.lse;
    stats[kRows] = row.delta;
  };
  copy();
  keep_row();
  copy();
  keep_row();

  SharedPair<T, Tile> left;
  left.load(pairs, warp);
  PairRows<T, Tile> rows;
  rows.clear();
  const float c = shape.scale * kLog2E;
  const int each = (work.length - first + kRows - 1) / kRows, steps = each * shape.group;
  bool had = false;
  Pairs<T, Tile>::arrive();
#pragma unroll 1
  for (int j = 0, met = 0; j <= steps; ++j) {
    if (j > 0 || group > 0) Pairs<T, Tile>::turn();
    const bool now = j < steps && group_first < work.length && met >= group;
    const int ahead = first + met * kRows - own;
    const Two* const lse = pairs.template stats<Two>(j) + gpu::lane() % 4;
    const Two* const delta = lse + kRows / 2;
    rows.step(
        j, now, had, left, pairs,
        [&] {
          if (j < steps || group == 0) Pairs<T, Tile>::arrive();
        },
        [&](float(&p)[kRows / 8][4]) {
#pragma unroll
          for (int n = 0; n < kRows / 8; ++n) {
            const Two of = lse[4 * n];
#pragma unroll
            for (int i = 0; i < 4; ++i) p[n][i] = weight(p[n][i], c, of.x[i % 2]);
          }
          if (ahead < 15) hide<Side::Keys, kRows>(p, ahead);
        },
        [&](float(&ds)[kRows / 8][4], const float(&p)[kRows / 8][4]) {
#pragma unroll
          for (int n = 0; n < kRows / 8; ++n) {
            const Two of = delta[4 * n];
#pragma unroll
            for (int i = 0; i < 4; ++i) ds[n][i] = p[n][i] * (ds[n][i] - of.x[i % 2]);
          }
        },
        copy);
    keep_row();
    had = now;
    met = met + 1 < each ? met + 1 : 0;
  }
  if (own >= work.length) return;
  // Keys and values become the way out.
  float factor[1][2];
  fill(factor, shape.scale);
  store_rows<T, Tile::kDim, 1>(rows_of<T>(op.dk, shape, work, kv_head), own, rows.sum, factor,
                               pairs.own_rows(0, warp));
  fill(factor, 1.0f);
  store_rows<T, Tile::kDim, 1>(rows_of<T>(op.dv, shape, work, kv_head), own, rows.dv, factor,
                               pairs.own_rows(1, warp));
}

template <class T, class Tile>
GPU_KERNEL(Tile::kThreads, 1)
void warpgroup_backward_queries_kernel(Backward op) {
  constexpr int kRows = Tile::kRows;
  const Shape& shape = op.shape;
  const int head = gpu::block_x() % shape.heads;
  const Work work =
      uniform(find_work(shape.sequences, Side::Queries, Tile::kOwn, gpu::block_x() / shape.heads));
  if (work.tile < 0) return;
  const int first = work.tile * Tile::kOwn;
  const int warp = gpu::shuffle(gpu::warp(), 0);
  const int group = warp / 4, group_first = first + group * kRows;
  const int own = group_first + warp % 4 * 16;
  // Pairs of tiles of keys that some query of the block, and of the group, sees.
  const auto tiles_before = [&](int row) { return (gpu::min(work.length, row) + kRows - 1) / kRows; };
  const int tiles = tiles_before(first + Tile::kOwn);
  const int seen = group_first < work.length ? tiles_before(group_first + kRows) : 0;

  const Pairs<T, Tile> pairs{gpu::aligned_offset(gpu::kSwizzledAtom)};
  const Rows<T> keys = rows_of<T>(op.k, shape, work, head / shape.group);
  const Rows<T> values = rows_of<T>(op.v, shape, work, head / shape.group);
  pairs.copy_own(rows_of<T>(op.q, shape, work, head), rows_of<T>(op.dy, shape, work, head), first);
  const auto copy = [&](int j) { pairs.copy(j < tiles, j, keys, values, j * kRows); };
  copy(0);
  copy(1);

  if (gpu::thread() < Tile::kOwn) {
    const int row = first + gpu::thread();
    RowStats of{0.0f, 0.0f};
    if (row < work.length) {
      of = op.stats[static_cast<int64_t>(head) * shape.sequences.tokens + work.start + row];
    }
    pairs.own_stats()[gpu::thread()] = of;
  }
  // Read again in each step, so that weights are computed behind the barrier that the others wait at.
  const RowStats* const stats = pairs.own_stats() + (own - first) + gpu::lane() / 4;
  PairRows<T, Tile> rows;
  rows.clear();
  const float c = shape.scale * kLog2E;
  Pairs<T, Tile>::arrive();
  HeldPair<T, Tile> left;
  left.load(pairs, warp);
#pragma unroll 1
  for (int j = 0; j <= tiles; ++j) {
    if (j > 0 || group > 0) Pairs<T, Tile>::turn();
    const bool now = j < seen;
    const bool had = j > 0 && j <= seen;
    const int ahead = own - j * kRows;
    rows.step(
        j, now, had, left, pairs,
        [&] {
          if (j < tiles || group == 0) Pairs<T, Tile>::arrive();
        },
        [&](float(&p)[kRows / 8][4]) {
          const float lse[2] = {stats[0].lse, stats[8].lse};
#pragma unroll
          for (int n = 0; n < kRows / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) p[n][i] = weight(p[n][i], c, lse[i / 2]);
          }
          if (ahead < kRows - 1) hide<Side::Queries, kRows>(p, ahead);
        },
        [&](float(&ds)[kRows / 8][4], const float(&p)[kRows / 8][4]) {
          const float delta[2] = {stats[0].delta, stats[8].delta};
#pragma unroll
          for (int n = 0; n < kRows / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) ds[n][i] = p[n][i] * (ds[n][i] - delta[i / 2]);
          }
        },
        [&] { copy(j + 2); });
  }
  if (own >= work.length) return;
  float factor[1][2];
  fill(factor, shape.scale);
  // Queries become the way out.
  store_rows<T, Tile::kDim, 1>(rows_of<T>(op.dq, shape, work, head), own, rows.sum, factor,
                               pairs.own_rows(0, warp));
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
