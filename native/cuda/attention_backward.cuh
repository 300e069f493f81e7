// The backward pass on tensor cores, in two kernels that recompute the scores: one owns tiles of keys and
// sums dk and dv over the queries and the heads of the group in fixed order, one owns tiles of queries and
// sums dq over the keys. Seven products instead of five, but no sum is shared between blocks, so nothing
// depends on the order in which they run (the first version of Dao's deterministic scheme; no atomics, no
// locks).
#pragma once

#include "cuda/attention_tile.cuh"
#include "cuda/launch.h"

namespace fintune {
namespace cuda {
namespace attention {

// Two slots of two tiles each, a and b, and kMore bytes behind them: one is used while the other is filled.
// kFirst: byte offset.
template <class T, class Tile, int kRows, int kFirst, int kMore>
struct PairSlots {
  static constexpr int kTile = kRows * 2 * Tile::kDim;  // bytes; b lies that far behind a
  static constexpr int kSlot = 2 * kTile + kMore;
  int free = kFirst;  // the slot that the next pair goes to
  TileCopy<T, Tile::kFamily, kRows, Tile::kDim, Tile::kThreads> copy_a, copy_b;

  GPU_FN static int other(int slot) { return 2 * kFirst + kSlot - slot; }

  // Starts to fetch rows `first` .. of both; end() completes it.
  GPU_FN void begin(const Rows<T>& a, const Rows<T>& b, int first) {
    copy_a.begin(free, a, first);
    copy_b.begin(free + kTile, b, first);
    if constexpr (Tile::kFamily != 75) gpu::cp_async_commit();
  }
  GPU_FN void end() {
    copy_a.end(free);
    copy_b.end(free + kTile);
  }
  // The pair that was fetched, once all its copies have come; the other slot is free from then on.
  GPU_FN int take() {
    if constexpr (Tile::kFamily != 75) GPU_ASYNC_WAIT(0);
    GPU_BARRIER();
    const int taken = free;
    free = other(taken);
    return taken;
  }
};

struct alignas(16) StatsPair {
  RowStats rows[2];
};

// Queries, dy and what belongs to their rows.
template <class T, class Tile, int kFirst>
struct QuerySlots : PairSlots<T, Tile, Tile::kQueries, kFirst, Tile::kQueries * sizeof(RowStats)> {
  using Base = PairSlots<T, Tile, Tile::kQueries, kFirst, Tile::kQueries * sizeof(RowStats)>;
  static constexpr int kStats = 2 * Base::kTile;  // behind the first tile
  RowStats row;

  GPU_FN void begin(const Backward& op, const Work& work, int head, int query) {
    Base::begin(rows_of<T>(op.q, op.shape, work, head), rows_of<T>(op.dy, op.shape, work, head), query);
    // Queries beyond the sequence are rows of zeros, and so is what they add.
    const int at = query + gpu::thread();
    row = RowStats{0.0f, 0.0f};
    if (gpu::thread() < Tile::kQueries && at < work.length) {
      row = op.stats[static_cast<int64_t>(head) * op.shape.sequences.tokens + work.start + at];
    }
  }
  GPU_FN void end() {
    Base::end();
    if (gpu::thread() < Tile::kQueries) gpu::shared<RowStats>(Base::free + kStats)[gpu::thread()] = row;
  }
};

// exp(score - lse), which rounding must not lift above 1.
GPU_FN float weight(float score, float c, float lse2) {
  return gpu::exp2(gpu::min(gpu::fma(score, c, -lse2), 0.0f));
}

template <int kTiles>
GPU_FN void fill(float (&x)[kTiles][2], float value) {
#pragma unroll
  for (int m = 0; m < kTiles; ++m) x[m][0] = x[m][1] = value;
}

// Shapes. dk and dv of 16 rows and 128 columns are 128 registers: eight warps of them fill an SM, and share
// each tile of queries. With 64 columns a warp owns 32 rows.
template <int kFamily_, int kDim_>
struct KeysTile {
  static constexpr int kFamily = kFamily_, kDim = kDim_;
  static constexpr bool kWide = kFamily != 75 && kDim == 64;
  static constexpr int kTiles = kWide ? 2 : 1;
  static constexpr int kWarps = kWide || (kFamily == 75 && kDim != 64) ? 4 : 8, kThreads = 32 * kWarps;
  static constexpr int kBlocks = kWide ? 2 : 1;
  static constexpr int kKeys = 16 * kTiles * kWarps, kQueries = kFamily == 75 && kDim == 128 ? 16 : 32;
  static constexpr size_t kBytes = 2 * kDim * (2 * kKeys + 4 * kQueries) + 2 * kQueries * sizeof(RowStats);
};
template <int kFamily_, int kDim_>
struct QueriesTile {
  static constexpr int kFamily = kFamily_, kDim = kDim_;
  static constexpr bool kWide = kFamily != 75 && kDim == 64;
  static constexpr int kTiles = kWide ? 2 : 1;
  static constexpr int kWarps = kWide ? 4 : 8, kThreads = 32 * kWarps;
  static constexpr int kBlocks = kWide ? 2 : 1;
  static constexpr int kQueries = 16 * kTiles * kWarps, kKeys = kFamily == 75 || kWide ? 32 : 64;
  // Queries and dy pass through the memory of the slots first.
  static constexpr size_t kBytes = 2 * kDim * (2 * kQueries > 4 * kKeys ? 2 * kQueries : 4 * kKeys);
};

template <class T, class Tile>
GPU_KERNEL(Tile::kThreads, Tile::kBlocks)
void backward_keys_kernel(Backward op) {
  if constexpr (!kCompiled<Tile::kFamily>) {
    gpu::trap();
  } else {
    constexpr int kTiles = Tile::kTiles, kQueries = Tile::kQueries;
    const Shape& shape = op.shape;
    const int kv_heads = shape.heads / shape.group, kv_head = gpu::block_x() % kv_heads;
    const Work work = find_work(shape.sequences, Side::Keys, Tile::kKeys, gpu::block_x() / kv_heads);
    if (work.tile < 0) return;
    const int first = work.tile * Tile::kKeys;
    const int own = gpu::warp() * 16 * kTiles;  // the warp's rows within the tile
    static_assert(Tile::kKeys % kQueries == 0, "queries that see keys of the tile begin with it");

    constexpr int kKeysAt = 0, kValuesAt = Tile::kKeys * 2 * Tile::kDim;
    QuerySlots<T, Tile, 2 * kValuesAt> slots;
    {
      TileCopy<T, Tile::kFamily, Tile::kKeys, Tile::kDim, Tile::kThreads> copy;
      const Rows<T> k = rows_of<T>(op.k, shape, work, kv_head), v = rows_of<T>(op.v, shape, work, kv_head);
      copy.begin(kKeysAt, k, first);
      copy.end(kKeysAt);
      copy.begin(kValuesAt, v, first);
      copy.end(kValuesAt);
    }
    int head = kv_head * shape.group, query = first;
    const int last_head = head + shape.group;
    slots.begin(op, work, head, query);
    slots.end();

    float dk[kTiles][Tile::kDim / 8][4], dv[kTiles][Tile::kDim / 8][4];
    clear(dk);
    clear(dv);
    const int own_bytes = own * 2 * Tile::kDim;
    SharedRows<Tile::kDim, kTiles> left_k, left_v;
    left_k.load(kKeysAt + own_bytes);
    left_v.load(kValuesAt + own_bytes);
    const float c = shape.scale * kLog2E;
    const int g = gpu::lane() / 4, t = gpu::lane() % 4;
#pragma unroll 1
    while (head < last_head) {
      const int ahead = query - first - own;
      query += kQueries;
      if (query >= work.length) {
        query = first;
        ++head;
      }
      const int q = slots.take(), dy = q + slots.kTile;
      if (head < last_head) slots.begin(op, work, head, query);
      // Rows of the products are keys, columns are queries: some query of the tile sees a key of the warp.
      if (first + own < work.length && ahead + kQueries > 0) {
        const bool masked = ahead < 16 * kTiles - 1;
        const auto hidden = [&](int m, int n, int i) {
          return masked && ahead + 8 * n + 2 * t + i % 2 < 16 * m + 8 * (i / 2) + g;
        };
        float p[kTiles][kQueries / 8][4], ds[kTiles][kQueries / 8][4];
        clear(p);
        product<T, Tile::kFamily, Tile::kDim, kTiles, kQueries>(p, left_k, q);
        const StatsPair* const stats = gpu::shared<StatsPair>(q + slots.kStats) + t;
#pragma unroll
        for (int n = 0; n < kQueries / 8; ++n) {
          const StatsPair pair = stats[4 * n];
#pragma unroll
          for (int m = 0; m < kTiles; ++m) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              p[m][n][i] = hidden(m, n, i) ? 0.0f : weight(p[m][n][i], c, pair.rows[i % 2].lse);
            }
          }
        }
        clear(ds);
        product<T, Tile::kFamily, Tile::kDim, kTiles, kQueries>(ds, left_v, dy);
#pragma unroll
        for (int n = 0; n < kQueries / 8; ++n) {
          const StatsPair pair = stats[4 * n];  // again: registers are what there is least of
#pragma unroll
          for (int m = 0; m < kTiles; ++m) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              ds[m][n][i] = hidden(m, n, i) ? 0.0f : p[m][n][i] * (ds[m][n][i] - pair.rows[i % 2].delta);
            }
          }
        }
        add_product<T, Tile::kFamily, Tile::kDim, kTiles, kQueries>(dv, p, dy);
        add_product<T, Tile::kFamily, Tile::kDim, kTiles, kQueries>(dk, ds, q);
      }
      if (head < last_head) slots.end();
    }
    if (first + own >= work.length) return;
    GPU_WARP_SYNC();  // keys and values, which only the warp's lanes read, become the way out
    float factor[kTiles][2];
    fill(factor, shape.scale);
    store_rows<T, Tile::kDim, kTiles>(rows_of<T>(op.dk, shape, work, kv_head), first + own, dk, factor,
                                      kKeysAt + own_bytes);
    fill(factor, 1.0f);
    store_rows<T, Tile::kDim, kTiles>(rows_of<T>(op.dv, shape, work, kv_head), first + own, dv, factor,
                                      kValuesAt + own_bytes);
  }
}

template <class T, class Tile>
GPU_KERNEL(Tile::kThreads, Tile::kBlocks)
void backward_queries_kernel(Backward op) {
  if constexpr (!kCompiled<Tile::kFamily>) {
    gpu::trap();
  } else {
    constexpr int kTiles = Tile::kTiles, kKeys = Tile::kKeys;
    const Shape& shape = op.shape;
    const int head = gpu::block_x() % shape.heads;
    const Work work = find_work(shape.sequences, Side::Queries, Tile::kQueries, gpu::block_x() / shape.heads);
    if (work.tile < 0) return;
    const int first = work.tile * Tile::kQueries;
    const int own = gpu::warp() * 16 * kTiles;
    const int tiles = (gpu::min(work.length, first + Tile::kQueries) + kKeys - 1) / kKeys;

    const int own_bytes = own * 2 * Tile::kDim;
    PairSlots<T, Tile, kKeys, 0, 0> slots;
    HeldRows<Tile::kDim, kTiles> left_q, left_dy;
    {
      constexpr int kDyAt = Tile::kQueries * 2 * Tile::kDim;
      TileCopy<T, Tile::kFamily, Tile::kQueries, Tile::kDim, Tile::kThreads> copy;
      copy.begin(0, rows_of<T>(op.q, shape, work, head), first);
      copy.end(0);
      copy.begin(kDyAt, rows_of<T>(op.dy, shape, work, head), first);
      copy.end(kDyAt);
      if constexpr (Tile::kFamily != 75) {
        gpu::cp_async_commit();
        GPU_ASYNC_WAIT(0);
      }
      GPU_BARRIER();
      left_q.load(own_bytes);
      left_dy.load(kDyAt + own_bytes);
      GPU_BARRIER();
    }
    const Rows<T> k = rows_of<T>(op.k, shape, work, head / shape.group);
    const Rows<T> v = rows_of<T>(op.v, shape, work, head / shape.group);
    slots.begin(k, v, 0);
    slots.end();

    const int g = gpu::lane() / 4, t = gpu::lane() % 4;
    RowStats stats[kTiles][2];
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = first + own + 16 * m + 8 * half + g;
        stats[m][half] = RowStats{0.0f, 0.0f};
        if (row < work.length) {
          stats[m][half] = op.stats[static_cast<int64_t>(head) * shape.sequences.tokens + work.start + row];
        }
      }
    }
    float dq[kTiles][Tile::kDim / 8][4];
    clear(dq);
    const float c = shape.scale * kLog2E;
#pragma unroll 1
    for (int j = 0; j < tiles; ++j) {
      const int keys = slots.take(), values = keys + slots.kTile;
      if (j + 1 < tiles) slots.begin(k, v, (j + 1) * kKeys);
      const int ahead = first + own - j * kKeys;
      if (first + own < work.length && ahead + 16 * kTiles > 0) {
        float p[kTiles][kKeys / 8][4], ds[kTiles][kKeys / 8][4];
        clear(p);
        product<T, Tile::kFamily, Tile::kDim, kTiles, kKeys>(p, left_q, keys);
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
#pragma unroll
          for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              p[m][n][i] = weight(p[m][n][i], c, stats[m][i / 2].lse);
              ds[m][n][i] = -stats[m][i / 2].delta;
            }
          }
        }
        product<T, Tile::kFamily, Tile::kDim, kTiles, kKeys>(ds, left_dy, values);
        const bool masked = ahead < kKeys - 1;
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
#pragma unroll
          for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const bool hidden = masked && 8 * n + 2 * t + i % 2 > ahead + 16 * m + 8 * (i / 2) + g;
              ds[m][n][i] = hidden ? 0.0f : p[m][n][i] * ds[m][n][i];
            }
          }
        }
        add_product<T, Tile::kFamily, Tile::kDim, kTiles, kKeys>(dq, ds, keys);
      }
      if (j + 1 < tiles) slots.end();
    }
    GPU_BARRIER();  // the slots become the way out
    if (first + own >= work.length) return;
    float factor[kTiles][2];
    fill(factor, shape.scale);
    store_rows<T, Tile::kDim, kTiles>(rows_of<T>(op.dq, shape, work, head), first + own, dq, factor,
                                      own_bytes);
  }
}

template <class T, int kFamily, int kDim>
void launch_backward_tile(Exec& exec, const Backward& op) {
  using Keys = KeysTile<kFamily, kDim>;
  using Queries = QueriesTile<kFamily, kDim>;
  const Sequences& s = op.shape.sequences;
  const int64_t keys = most_tiles(s, Keys::kKeys) * op.shape.kv_heads();
  launch(exec, "attention_backward_keys", backward_keys_kernel<T, Keys>, Grid{static_cast<int>(keys), 1, 1},
         Keys::kThreads, Keys::kBytes, op);
  const int64_t queries = most_tiles(s, Queries::kQueries) * op.shape.heads;
  launch(exec, "attention_backward_queries", backward_queries_kernel<T, Queries>,
         Grid{static_cast<int>(queries), 1, 1}, Queries::kThreads, Queries::kBytes, op);
}

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
