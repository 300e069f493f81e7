// Which tile of which sequence a block works on. The host never reads cu_seqlens: it launches as many blocks
// as there can be tiles, and each finds its own.
#pragma once

#include "cuda/attention.cuh"
#include "cuda/gpu.h"

namespace fintune {
namespace cuda {
namespace attention {

struct Work {
  int sequence;
  int start;  // first token of the sequence
  int length;
  int tile;  // -1: nothing is left for this block
};

// Whose tiles: what a tile costs is the number of tiles of the other side that it meets. Queries see the keys
// before them, so their last tile is the dearest; of the keys it is the first.
enum class Side { Queries, Keys };

// At most that many tiles, whatever the lengths.
inline int64_t most_tiles(const Sequences& s, int rows) { return s.tokens / rows + s.count; }

// Whatever cu_seqlens holds, no token outside of the batch is touched.
GPU_FN Work sequence_work(const Sequences& s, int sequence) {
  const int start = gpu::min(gpu::max(s.starts[sequence], 0), s.tokens);
  const int end = gpu::min(gpu::max(s.starts[sequence + 1], start), s.tokens);
  return Work{sequence, start, end - start, -1};
}
GPU_FN int tiles_of(const Work& work, int rows) {
  return static_cast<int>(static_cast<unsigned>(work.length + rows - 1) / static_cast<unsigned>(rows));
}
// The tile of a cost from 1 to `tiles`.
GPU_FN int tile_of_cost(Side side, int cost, int tiles) {
  return side == Side::Queries ? cost - 1 : tiles - cost;
}

GPU_FN int count_ones(uint32_t bits) {
  bits -= (bits >> 1) & 0x55555555u;
  bits = (bits & 0x33333333u) + ((bits >> 2) & 0x33333333u);
  return static_cast<int>(((bits + (bits >> 4)) & 0x0F0F0F0Fu) * 0x01010101u >> 24);
}

// Up to this many sequences are ordered; with more of them each is short.
constexpr int kOrdered = 128;

// The tiles of all sequences by falling cost, so that no long one starts last; equal ones in the sequences'
// order. Every warp finds the same.
GPU_FN Work ordered_work(const Sequences& s, Side side, int rows, int index) {
  constexpr int kEach = kOrdered / 32;
  int tiles[kEach];
  int all = 0, most = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int sequence = gpu::lane() + 32 * i;
    tiles[i] = sequence < s.count ? tiles_of(sequence_work(s, sequence), rows) : 0;
    all += tiles[i];
    most = gpu::max(most, tiles[i]);
  }
  if (index >= gpu::warp_sum(all)) return Work{0, 0, 0, -1};
  // The least cost such that no more than `index` tiles cost more.
  int low = 1, high = gpu::warp_max(most), before = 0;
  while (low < high) {
    const int cost = (low + high) / 2;
    int dearer = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) dearer += gpu::max(tiles[i] - cost, 0);
    if (gpu::warp_sum(dearer) <= index) {
      high = cost;
    } else {
      low = cost + 1;
    }
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) before += gpu::max(tiles[i] - low, 0);
  int rank = index - gpu::warp_sum(before);
  // The sequence of that rank among those with a tile of this cost.
  int found = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const uint32_t having = gpu::ballot(tiles[i] >= low);
    const uint32_t below = (1u << gpu::lane()) - 1;
    const bool mine = tiles[i] >= low && count_ones(having & below) == rank;
    const uint32_t chosen = gpu::ballot(mine);
    if (chosen != 0) found = 32 * i + count_ones(chosen - 1);
    rank -= count_ones(having);
  }
  Work work = sequence_work(s, found);
  work.tile = tile_of_cost(side, low, tiles_of(work, rows));
  return work;
}

// Sequence s owns the blocks from starts[s] / rows + s on: at least as many as it has tiles.
GPU_FN Work searched_work(const Sequences& s, Side side, int rows, int index) {
  int low = 0, count = s.count;
  while (count > 1) {
    const int step = (count + 31) / 32;
    const int at = low + step * gpu::lane();
    const bool owns = step * gpu::lane() < count && s.starts[at] / rows + at <= index;
    const int last = gpu::max(count_ones(gpu::ballot(owns)) - 1, 0) * step;
    low += last;
    count = gpu::min(step, count - last);
  }
  Work work = sequence_work(s, low);
  const int place = index - (s.starts[low] / rows + low), tiles = tiles_of(work, rows);
  if (place >= 0 && place < tiles) work.tile = tile_of_cost(side, tiles - place, tiles);
  return work;
}

// Work of block `index` on tiles of `rows` tokens.
GPU_FN Work find_work(const Sequences& s, Side side, int rows, int index) {
  return s.count <= kOrdered ? ordered_work(s, side, rows, index) : searched_work(s, side, rows, index);
}

// Queries of which some are wanted (AttentionForward::wanted_from).
GPU_FN Work find_wanted(const Forward& op, int rows, int index) {
  Work work = find_work(op.shape.sequences, Side::Queries, rows, index);
  const bool chosen = op.wanted_from != nullptr && work.tile >= 0;
  if (chosen && (work.tile + 1) * rows <= op.wanted_from[work.sequence]) work.tile = -1;
  return work;
}

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
