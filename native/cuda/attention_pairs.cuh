// Pieces of the backward pass on warpgroups. A block owns rows of two matrices a and b, 64 to a warpgroup,
// and meets the two others in pairs of tiles of 64 rows, which pass through slots of shared memory. Scores
// and dy v^T of a pair are computed while what was made of the pair before is added to the sums, and become p
// and ds while these products are still under way; p and ds never leave the registers.
#pragma once

#include <type_traits>

#include "cuda/attention_backward.cuh"
#include "cuda/attention_hopper.cuh"

namespace fintune {
namespace cuda {
namespace attention {

// kSide: whose rows a block owns. Sums, scores, dy v^T, p and ds of a warpgroup take 224 registers a thread
// where keys of 128 columns are owned. Queries of as many take 144, and there is room to hold queries and dy
// as well, without which products of 64 x 64 would read shared memory all the time.
template <Side kSide_, int kDim_>
struct WarpgroupPairTile {
  static constexpr Side kSide = kSide_;
  static constexpr int kDim = kDim_;
  static constexpr int kGroups = 2, kThreads = 128 * kGroups;
  static constexpr int kRows = 64, kOwn = kRows * kGroups, kSlots = 4;
  static constexpr bool kHeld = kSide == Side::Queries;
  // p must give its registers up before copies need some.
  static constexpr bool kTight = kSide == Side::Keys && kDim == 128;
  // Bytes: of 64 rows; of a pair of tiles, with what belongs to the rows of queries; where the slots begin,
  // and behind them what belongs to queries that are owned.
  static constexpr int kTile = kRows * 2 * kDim;
  static constexpr int kSlot = 2 * kTile + (kSide == Side::Keys ? gpu::kSwizzledAtom : 0);
  static constexpr int kFirstSlot = 2 * kGroups * kTile, kOwnStats = kFirstSlot + kSlots * kSlot;
  // Dynamic shared memory begins at a multiple of 128 only.
  static constexpr size_t kBytes =
      gpu::kSwizzledAtom - 128 + kOwnStats + (kSide == Side::Queries ? kOwn * sizeof(RowStats) : 0);
};

// Of two neighbouring queries.
struct alignas(8) Two {
  float x[2];
};

// Shared memory of a block: its own rows of matrices a and b, and the slots of the pairs: that which is met,
// the one before, the next, and the one that is copied meanwhile. Byte offsets.
template <class T, class Tile>
struct Pairs {
  using Copy = Panels<Tile::kRows, Tile::kDim>;
  int base;

  GPU_FN int own(int matrix, int group) const {
    return base + (matrix * Tile::kGroups + group) * Tile::kTile;
  }
  // Of a warp's 16 rows, where they lie one after the other.
  GPU_FN int own_rows(int matrix, int warp) const {
    return own(matrix, warp / 4) + warp % 4 * 16 * 2 * Tile::kDim;
  }
  GPU_FN int slot(int j) const { return base + Tile::kFirstSlot + (j & (Tile::kSlots - 1)) * Tile::kSlot; }
  GPU_FN RowStats* own_stats() const { return gpu::shared<RowStats>(base + Tile::kOwnStats); }
  // What belongs to the rows of a pair's queries: lse of all, then delta.
  template <class V>
  GPU_FN V* stats(int j) const {
    return gpu::shared<V>(slot(j) + 2 * Tile::kTile);
  }

  // Starts to copy the block's own rows, which are complete with the first pair.
  GPU_FN void copy_own(const Rows<T>& a, const Rows<T>& b, int first) const {
    if constexpr (Tile::kHeld) {
      TileCopy<T, 80, Tile::kOwn, Tile::kDim, Tile::kThreads> copy;
      copy.begin(own(0, 0), a, first);
      copy.begin(own(1, 0), b, first);
    } else {
#pragma unroll
      for (int group = 0; group < Tile::kGroups; ++group) {
        const int row = first + group * Tile::kRows;
        Copy::template copy<T, Tile::kThreads>(own(0, group), a, row);
        Copy::template copy<T, Tile::kThreads>(own(1, group), b, row);
      }
    }
  }
  // Starts to copy pair j, if there is one.
  GPU_FN void copy(bool exists, int j, const Rows<T>& a, const Rows<T>& b, int first) const {
    if (exists) {
      Copy::template copy<T, Tile::kThreads>(slot(j), a, first);
      Copy::template copy<T, Tile::kThreads>(slot(j) + Tile::kTile, b, first);
    }
    gpu::cp_async_commit();
  }
  // The second warpgroup works half a step behind the first, so that its products are there while the first
  // has none under way: each step has two barriers, of which the first of one is the second of the other.
  //
  // Within a step: the next pair has come.
  GPU_FN static void arrive() {
    GPU_ASYNC_WAIT(0);
    GPU_PROXY_FENCE();
    GPU_NAMED_BARRIER(1, Tile::kThreads);
  }
  // Between steps.
  GPU_FN static void turn() { GPU_NAMED_BARRIER(1, Tile::kThreads); }
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

// A warpgroup's own rows of a and b as first operands: read again at each use, or held. begin() starts the
// products with a pair of tiles, a a^T and b b^T.
template <class T, class Tile>
struct SharedPair {
  int a, b;
  GPU_FN void load(const Pairs<T, Tile>& pairs, int warp) {
    a = pairs.own(0, warp / 4);
    b = pairs.own(1, warp / 4);
  }
  GPU_FN void begin(float (&p)[Tile::kRows / 8][4], float (&ds)[Tile::kRows / 8][4], int pair) const {
    begin_scores<T, Tile::kDim, Tile::kRows>(p, a, pair);
    begin_scores<T, Tile::kDim, Tile::kRows>(ds, b, pair + Tile::kTile);
  }
};
template <class T, class Tile>
struct HeldPair {
  HeldRows<Tile::kDim, 1> a, b;
  GPU_FN void load(const Pairs<T, Tile>& pairs, int warp) {
    a.load(pairs.own_rows(0, warp));
    b.load(pairs.own_rows(1, warp));
  }
  GPU_FN void begin(float (&p)[Tile::kRows / 8][4], float (&ds)[Tile::kRows / 8][4], int pair) const {
    begin(p, a, pair);
    begin(ds, b, pair + Tile::kTile);
  }

 private:
  GPU_FN static void begin(float (&s)[Tile::kRows / 8][4], const HeldRows<Tile::kDim, 1>& left, int right) {
    const uint64_t b = gpu::swizzled_operand(gpu::shared<T>(right), 16, gpu::kSwizzledAtom);
#pragma unroll
    for (int step = 0; step < Tile::kDim / 16; ++step) {
      // Start addresses count in 16 bytes.
      const int at = step / 4 * Panels<Tile::kRows, Tile::kDim>::kPanel + step % 4 * 32;
      gpu::wgmma_held<T>(s, left.r[0][step], b + at / 16, step > 0);
    }
    gpu::wgmma_commit();
  }
};

// A warpgroup's registers.
template <class T, class Tile>
struct PairRows {
  static constexpr int kRows = Tile::kRows, kDim = Tile::kDim;
  static constexpr bool kKeys = Tile::kSide == Side::Keys;
  float sum[1][kDim / 8][4];                               // ds a: dk or dq, before the scale
  float dv[1][kKeys ? kDim / 8 : 1][4];                    // p b, of keys only
  float p[kRows / 8][4], ds[kRows / 8][4];                 // scores and dy v^T, and what they become
  uint32_t p_left[kRows / 16][4], ds_left[kRows / 16][4];  // p and ds of the pair before, as operands

  GPU_FN void clear() {
    attention::clear(sum);
    attention::clear(dv);
  }

  // Step j: the products of pair j (`now`: the warpgroup meets it) and those that add the pair before
  // (`had`). `weigh` makes p of the scores, `differentiate` ds of p and dy v^T; `copy` starts to fetch a
  // later pair, which costs least while products are under way and p is not needed any more. `meet`: the
  // barrier within the step.
  template <class Own, class Meet, class Weigh, class Differentiate, class Copy>
  GPU_FN void step(int j, bool now, bool had, const Own& own, const Pairs<T, Tile>& pairs, const Meet& meet,
                   const Weigh& weigh, const Differentiate& differentiate, const Copy& copy) {
    if (now && had) {
      pin_sums();
      GPU_WGMMA_FENCE();
      own.begin(p, ds, pairs.slot(j));
      begin_sums(pairs.slot(j - 1));
      GPU_WGMMA_WAIT(kKeys ? 3 : 2);
      gpu::pin(p);
      meet();
      weigh(p);
      GPU_WGMMA_WAIT(kKeys ? 2 : 1);
      gpu::pin(ds);
      differentiate(ds, p);
      if constexpr (Tile::kTight) {
        GPU_WGMMA_WAIT(1);
        gpu::pin(dv[0]);
        gpu::pin(p_left);
        pack(p_left, p);
      }
      copy();
      GPU_WGMMA_WAIT(0);
      pin_sums();
      if constexpr (kKeys && !Tile::kTight) pack(p_left, p);
      pack(ds_left, ds);
      return;
    }
    if (now) {
      GPU_WGMMA_FENCE();
      own.begin(p, ds, pairs.slot(j));
      GPU_WGMMA_WAIT(1);
      gpu::pin(p);
      meet();
      weigh(p);
      GPU_WGMMA_WAIT(0);
      gpu::pin(ds);
      differentiate(ds, p);
      if constexpr (kKeys) pack(p_left, p);
      pack(ds_left, ds);
    } else {
      meet();
      if (had) {
        pin_sums();
        GPU_WGMMA_FENCE();
        begin_sums(pairs.slot(j - 1));
        GPU_WGMMA_WAIT(0);
        pin_sums();
      }
    }
    copy();
  }

 private:
  GPU_FN void begin_sums(int pair) {
    if constexpr (kKeys) begin_outputs<T, kDim, kRows>(dv[0], p_left, pair + Tile::kTile);
    begin_outputs<T, kDim, kRows>(sum[0], ds_left, pair);
  }
  GPU_FN static void pack(uint32_t (&to)[kRows / 16][4], const float (&from)[kRows / 8][4]) {
#pragma unroll
    for (int n = 0; n < kRows / 16; ++n) pack_left<T, kRows>(to[n], from, n);
  }
  GPU_FN void pin_sums() {
    gpu::pin(sum[0]);
    gpu::pin(ds_left);
    if constexpr (kKeys) {
      gpu::pin(dv[0]);
      gpu::pin(p_left);
    }
  }
};

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
