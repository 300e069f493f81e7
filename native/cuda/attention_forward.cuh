// The forward pass on tensor cores: a block owns a tile of queries of one head, its warps 16 or 32 rows each,
// and goes over the tiles of keys from the first to the diagonal (Dao 2023, FlashAttention-2). Keys and
// values pass by turns, K0 V0 K1 V1 ..., through slots of shared memory; scores, weights and outputs stay in
// registers.
#pragma once

#include "cuda/attention_tile.cuh"
#include "cuda/launch.h"

namespace fintune {
namespace cuda {
namespace attention {

// Chosen for two to four warps on each of an SM's four schedulers, and so that nothing spills. On 80 warps of
// 32 rows halve what each product reads from shared memory, which is its second limit; the others have less
// tensor throughput to feed, and need the room for more blocks.
template <int kFamily_, int kDim_>
struct ForwardTile {
  static constexpr int kFamily = kFamily_, kDim = kDim_;
  static constexpr int kWarps = kFamily == 75 && kDim != 64 ? 8 : 4, kThreads = 32 * kWarps;
  static constexpr int kTiles = kFamily == 80 ? 2 : 1;  // of 16 rows, of a warp
  static constexpr int kQueries = 16 * kTiles * kWarps;
  static constexpr int kKeys = kDim == 128 && kFamily != 75 ? 48 : 64;
  static constexpr int kSlots = kFamily == 80 || (kFamily == 86 && kDim == 64) ? 3 : 2;
  static constexpr int kBlocks = kFamily == 80 ? 2 : kFamily == 86 || kDim == 64 ? 3 : 1;
  // Queries as operands: kept in registers, or read from shared memory for each tile of keys.
  static constexpr bool kHeld = kFamily != 80 || kDim == 64;
  // Queries pass through the slots before the keys do.
  static constexpr bool kShared = kFamily != 80;
  // Outputs leave through slots in which the last values may lie: of two, the second alone is the values'.
  static constexpr bool kMeets = kShared && (kSlots == 3 || kQueries > kKeys);
  static constexpr int kSlot = kKeys * 2 * kDim;  // bytes
  static constexpr size_t kBytes = kSlots * kSlot + (kShared ? 0 : kQueries * 2 * kDim);
  static_assert(!kShared || (kHeld && kQueries <= kSlots * kKeys), "queries fit into the slots");
};

// Above this exponent a product of its own is dearer than what fma(s, c, -m c) loses (2^-24 of it).
constexpr float kLargeExponent = 1024.0f;

template <class T, class Tile>
struct ForwardRows {
  static constexpr int kTiles = Tile::kTiles, kColumns = Tile::kKeys;
  float out[kTiles][Tile::kDim / 8][4];
  // Of rows g and g + 8 of each 16: largest score, and this lane's share of the sum of exp(score - top).
  float top[kTiles][2], sum[kTiles][2];

  GPU_FN void clear() {
    attention::clear(out);
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      top[m][0] = top[m][1] = -kInfinity;
      sum[m][0] = sum[m][1] = 0.0f;
    }
  }

  // Scores of keys that lie behind their query become -inf. `ahead`: first query of the warp - first key.
  GPU_FN static void mask(float (&s)[kTiles][kColumns / 8][4], int ahead) {
    const int g = gpu::lane() / 4, t = gpu::lane() % 4;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = ahead + 16 * m + 8 * (i / 2) + g, key = 8 * n + 2 * t + i % 2;
          if (key > row) s[m][n][i] = -kInfinity;
        }
      }
    }
  }

  // Largest scores so far, in which `s` counts from now on; `factor` is what the sums, which follow here, and
  // the outputs so far take from it. c = scale log2(e).
  GPU_FN void raise(float (&factor)[kTiles][2], const float (&s)[kTiles][kColumns / 8][4], float c) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float now = top[m][half];
#pragma unroll
        for (int n = 0; n < kColumns / 8; ++n) {
          now = gpu::max(now, gpu::max(s[m][n][2 * half], s[m][n][2 * half + 1]));
        }
        now = gpu::max(now, gpu::shuffle_xor(now, 1));
        now = gpu::max(now, gpu::shuffle_xor(now, 2));
        factor[m][half] = gpu::exp2((top[m][half] - now) * c);
        sum[m][half] *= factor[m][half];
        top[m][half] = now;
      }
    }
  }

  GPU_FN void rescale(const float (&factor)[kTiles][2]) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int n = 0; n < Tile::kDim / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) out[m][n][i] *= factor[m][i / 2];
      }
    }
  }

  // Scores -> exp(score - top) in place, and into the sums.
  GPU_FN void weigh(float (&s)[kTiles][kColumns / 8][4], float c) {
    float shift[kTiles][2];
    bool large = false;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        shift[m][half] = top[m][half] * c;
        large = large || gpu::max(shift[m][half], -shift[m][half]) > kLargeExponent;
      }
    }
    if (gpu::ballot(large) != 0) {
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
#pragma unroll
        for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) s[m][n][i] -= top[m][i / 2];
        }
        shift[m][0] = shift[m][1] = 0.0f;
      }
    }
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          s[m][n][i] = gpu::exp2(gpu::fma(s[m][n][i], c, -shift[m][i / 2]));
          sum[m][i / 2] += s[m][n][i];
        }
      }
    }
  }

  // Divides by the sums; writes outputs by way of the warp's rows of `tile`, and lse.
  GPU_FN void store(const Forward& op, const Work& work, int head, int first, int tile) {
    const int g = gpu::lane() / 4, t = gpu::lane() % 4;
    float inverse[kTiles][2];
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = sum[m][half];
        total += gpu::shuffle_xor(total, 1);
        total += gpu::shuffle_xor(total, 2);
        inverse[m][half] = 1.0f / total;
        const int row = first + 16 * m + 8 * half + g;
        if (op.lse != nullptr && t == 0 && row < work.length) {
          op.lse[(work.start + row) * op.shape.heads + head] =
              top[m][half] * op.shape.scale + gpu::log(total);
        }
      }
    }
    store_rows<T, Tile::kDim, kTiles>(rows_of<T>(op.y, op.shape, work, head), first, out, inverse, tile);
  }
};

// The slots: keys and values by turns. kSlots - 1 tiles are on their way while one is used.
template <class T, class Tile>
struct ForwardSlots {
  static constexpr int kFirst = Tile::kShared ? 0 : Tile::kQueries * 2 * Tile::kDim;
  static constexpr int kLast = kFirst + (Tile::kSlots - 1) * Tile::kSlot;
  int free = kFirst;  // the slot that the next tile goes to; byte offset
  TileCopy<T, Tile::kFamily, Tile::kKeys, Tile::kDim, Tile::kThreads> copy;

  GPU_FN static int after(int slot) { return slot == kLast ? kFirst : slot + Tile::kSlot; }

  // Starts to fetch tile `tile` of a matrix of which `tiles` are wanted; end() completes it.
  GPU_FN void begin(const Rows<T>& rows, int tile, int tiles) {
    if (tile < tiles) copy.begin(free, rows, tile * Tile::kKeys);
    if constexpr (Tile::kFamily != 75) gpu::cp_async_commit();
  }
  GPU_FN void end(int tile, int tiles) {
    if (tile < tiles) copy.end(free);
    free = after(free);
  }
  // The next tile, once all its copies have come; the slot before it is free from then on.
  GPU_FN int take() {
    if constexpr (Tile::kFamily != 75) GPU_ASYNC_WAIT(Tile::kSlots - 2);
    GPU_BARRIER();
    return after(free);
  }
};

template <class T, class Tile>
GPU_KERNEL(Tile::kThreads, Tile::kBlocks)
void forward_kernel(Forward op) {
  if constexpr (!kCompiled<Tile::kFamily>) {
    gpu::trap();
  } else {
    const Shape& shape = op.shape;
    const int head = gpu::block_x() % shape.heads;
    const Work work = find_wanted(op, Tile::kQueries, gpu::block_x() / shape.heads);
    if (work.tile < 0) return;
    const int first = work.tile * Tile::kQueries;
    const int own = gpu::warp() * 16 * Tile::kTiles;  // the warp's rows within the tile
    const int seen = gpu::min(work.length, first + Tile::kQueries);
    const int tiles = (seen + Tile::kKeys - 1) / Tile::kKeys;

    const Rows<T> keys = rows_of<T>(op.k, shape, work, head / shape.group);
    const Rows<T> values = rows_of<T>(op.v, shape, work, head / shape.group);
    ForwardSlots<T, Tile> slots;
    {
      TileCopy<T, Tile::kFamily, Tile::kQueries, Tile::kDim, Tile::kThreads> copy;
      copy.begin(0, rows_of<T>(op.q, shape, work, head), first);
      copy.end(0);
    }
    const int own_bytes = own * 2 * Tile::kDim;
    std::conditional_t<Tile::kHeld, HeldRows<Tile::kDim, Tile::kTiles>, SharedRows<Tile::kDim, Tile::kTiles>>
        left;
    if constexpr (Tile::kShared) {
      if constexpr (Tile::kFamily != 75) {
        gpu::cp_async_commit();
        GPU_ASYNC_WAIT(0);
      }
      GPU_BARRIER();
      left.load(own_bytes);
      GPU_BARRIER();
    } else if constexpr (!Tile::kHeld) {
      left.load(own_bytes);
    }
    slots.begin(keys, 0, tiles);
    slots.end(0, tiles);
    if constexpr (Tile::kSlots == 3) {
      slots.begin(values, 0, tiles);
      slots.end(0, tiles);
    }

    ForwardRows<T, Tile> result;
    result.clear();
    const float c = shape.scale * kLog2E;
#pragma unroll 1
    for (int j = 0; j < tiles; ++j) {
      const int ahead = first + own - j * Tile::kKeys;
      // Some row of the warp is one of the sequence and sees a key of this tile.
      const bool active = first + own < work.length && ahead + 16 * Tile::kTiles > 0;
      float scores[Tile::kTiles][Tile::kKeys / 8][4];
      int tile = slots.take();
      const int next = Tile::kSlots == 3 ? j + 1 : j;
      slots.begin(Tile::kSlots == 3 ? keys : values, next, tiles);
      if constexpr (Tile::kHeld && !Tile::kShared) {
        // The queries came with the first keys.
        if (j == 0) left.load(own_bytes);
      }
      if (active) {
        clear(scores);
        product<T, Tile::kFamily, Tile::kDim, Tile::kTiles, Tile::kKeys>(scores, left, tile);
      }
      slots.end(next, tiles);
      if (active) {
        if (ahead < Tile::kKeys - 1) result.mask(scores, ahead);
        float factor[Tile::kTiles][2];
        result.raise(factor, scores, c);
        result.rescale(factor);
        result.weigh(scores, c);
      }
      tile = slots.take();
      slots.begin(Tile::kSlots == 3 ? values : keys, j + 1, tiles);
      if (active) {
        add_product<T, Tile::kFamily, Tile::kDim, Tile::kTiles, Tile::kKeys>(result.out, scores, tile);
      }
      slots.end(j + 1, tiles);
    }
    if constexpr (Tile::kMeets) {
      GPU_BARRIER();  // the slots become the outputs' way
    }
    if (first + own < work.length) result.store(op, work, head, first + own, own_bytes);
  }
}

template <class T, int kFamily, int kDim>
void launch_forward_tile(Exec& exec, const Forward& op) {
  using Tile = ForwardTile<kFamily, kDim>;
  const int64_t blocks = most_tiles(op.shape.sequences, Tile::kQueries) * op.shape.heads;
  launch(exec, "attention_forward", forward_kernel<T, Tile>, Grid{static_cast<int>(blocks), 1, 1},
         Tile::kThreads, Tile::kBytes, op);
}

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
