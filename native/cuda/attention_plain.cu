// Attention by multiply-adds in f32: f32 activations, products whose operands must not be rounded, heads
// wider than the tensor core kernels take, and devices without tensor cores for the type. Tiles of rows and
// columns pass through shared memory as f32; 16 x 16 threads, of which a row of 16 shares a row of the tile,
// so that softmax and the second product stay within half a warp.
#include <limits>

#include "cuda/attention.cuh"
#include "cuda/attention_work.cuh"
#include "cuda/gpu.h"
#include "cuda/launch.h"
#include "cuda/values.cuh"

namespace fintune {
namespace cuda {
namespace attention {
namespace {

constexpr int kThreads = 256, kSide = 16;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct alignas(16) Four {
  float x[4];
};

// Rows of a head of a sequence.
struct PlainRows {
  Heads m;
  const Shape& shape;
  const Work& work;
  int head;
  GPU_FN int64_t at(int row, int column) const {
    return static_cast<int64_t>(work.start + row) * m.ld + head * shape.dim + column;
  }
};

// kDim columns lie kDim + 4 apart: rows of 16 bytes that meet all banks.
template <int kDim>
struct PlainTile {
  static constexpr int kStride = kDim + 4, kFours = kDim / 64;  // groups of four columns that a thread owns

  // Rows [first, first + rows); zeros beyond the sequence and the head.
  GPU_FN static void load(float* tile, int rows, const PlainRows& from, int first) {
#pragma unroll 4
    for (int i = gpu::thread(); i < rows * kDim; i += kThreads) {
      const int row = i / kDim, column = i % kDim;
      const bool valid = first + row < from.work.length && column < from.shape.dim;
      tile[row * kStride + column] =
          valid ? load_value(from.m.data, from.at(first + row, column), from.shape.dtype) : 0.0f;
    }
  }

  // Always in the same order, so that every kernel finds the same scores.
  GPU_FN static float dot(const float* a, const float* b) {
    float sum = 0.0f;
#pragma unroll 4
    for (int c = 0; c < kDim; c += 4) {
      const Four x = *reinterpret_cast<const Four*>(a + c), y = *reinterpret_cast<const Four*>(b + c);
#pragma unroll
      for (int i = 0; i < 4; ++i) sum = gpu::fma(x.x[i], y.x[i], sum);
    }
    return sum;
  }

  // out += weight * row, the thread's columns of it.
  GPU_FN static void add_row(Four (&out)[kFours], float weight, const float* row) {
#pragma unroll
    for (int n = 0; n < kFours; ++n) {
      const Four x = *reinterpret_cast<const Four*>(row + 64 * n + 4 * (gpu::thread() % kSide));
#pragma unroll
      for (int i = 0; i < 4; ++i) out[n].x[i] = gpu::fma(weight, x.x[i], out[n].x[i]);
    }
  }

  GPU_FN static void store(const Four (&out)[kFours], float factor, const PlainRows& to, int row) {
    if (row >= to.work.length) return;
#pragma unroll
    for (int n = 0; n < kFours; ++n) {
      const int column = 64 * n + 4 * (gpu::thread() % kSide);
      if (to.shape.dtype == DType::F32) {
        float four[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) four[i] = out[n].x[i] * factor;
        float* const p = static_cast<float*>(to.m.data) + to.at(row, column);
        store4(p, to.shape.dim - column, reinterpret_cast<uintptr_t>(p) % 16 == 0, four);
        continue;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (column + i < to.shape.dim) {
          store_value(to.m.data, to.at(row, column + i), to.shape.dtype, out[n].x[i] * factor);
        }
      }
    }
  }
};

template <int kOwn, int kFours>
GPU_FN void clear(Four (&out)[kOwn][kFours]) {
#pragma unroll
  for (int a = 0; a < kOwn; ++a) {
#pragma unroll
    for (int n = 0; n < kFours; ++n) out[a][n] = Four{{0.0f, 0.0f, 0.0f, 0.0f}};
  }
}

// kRows rows are owned (two a thread, or one), kColumns pass by; sized for the 64 KB of shared memory that
// every device has.
template <int kDim_, int kRows_, int kColumns_, int kRowTiles, int kColumnTiles, int kWeights>
struct PlainShape {
  static constexpr int kDim = kDim_, kRows = kRows_, kColumns = kColumns_;
  static constexpr int kOwn = kRows / kSide;
  static constexpr int kRowTile = kRows * (kDim + 4), kColumnTile = kColumns * (kDim + 4);
  static constexpr int kWeightRow = kColumns + 1, kWeightTile = kRows * kWeightRow;
  static constexpr size_t kBytes =
      sizeof(float) * (kRowTiles * kRowTile + kColumnTiles * kColumnTile + kWeights * kWeightTile);
  static_assert(kRows % kSide == 0 && kBytes <= 65536, "a tile that every device can hold");
};
template <int kDim>
using ForwardPlain = PlainShape<kDim, kDim == 256 ? 16 : 32, kDim == 256 ? 16 : 32, 1, 2, 1>;
template <int kDim>
using BackwardPlain = PlainShape<kDim, kDim == 64 ? 32 : 16,
                                 kDim == 64    ? 32
                                 : kDim == 128 ? 16
                                               : 8,
                                 2, 2, 2>;

template <class P>
GPU_KERNEL(kThreads, 1)
void plain_forward_kernel(Forward op) {
  using Tile = PlainTile<P::kDim>;
  const Shape& shape = op.shape;
  const int head = gpu::block_x() % shape.heads;
  const Work work = find_wanted(op, P::kRows, gpu::block_x() / shape.heads);
  if (work.tile < 0) return;
  const int first = work.tile * P::kRows;
  const int y = gpu::thread() / kSide, x = gpu::thread() % kSide;
  float* const queries = gpu::shared<float>();
  float* const keys = queries + P::kRowTile;
  float* const values = keys + P::kColumnTile;
  float* const weights = values + P::kColumnTile;
  const PlainRows k{op.k, shape, work, head / shape.group}, v{op.v, shape, work, head / shape.group};
  Tile::load(queries, P::kRows, PlainRows{op.q, shape, work, head}, first);

  Four out[P::kOwn][Tile::kFours];
  float top[P::kOwn], sum[P::kOwn];
  clear(out);
#pragma unroll
  for (int a = 0; a < P::kOwn; ++a) {
    top[a] = -kInfinity;
    sum[a] = 0.0f;
  }
  for (int key = 0; key < gpu::min(work.length, first + P::kRows); key += P::kColumns) {
    GPU_BARRIER();  // the tile before is used up
    Tile::load(keys, P::kColumns, k, key);
    Tile::load(values, P::kColumns, v, key);
    GPU_BARRIER();
#pragma unroll
    for (int a = 0; a < P::kOwn; ++a) {
      const int row = y + kSide * a;
      float s[P::kColumns / kSide], now = top[a];
#pragma unroll
      for (int b = 0; b < P::kColumns / kSide; ++b) {
        const int column = x + kSide * b;
        s[b] = Tile::dot(queries + row * Tile::kStride, keys + column * Tile::kStride) * shape.scale;
        if (key + column > first + row) s[b] = -kInfinity;
        now = gpu::max(now, s[b]);
      }
#pragma unroll
      for (int distance = kSide / 2; distance > 0; distance /= 2) {
        now = gpu::max(now, gpu::shuffle_xor(now, distance));
      }
      const float factor = gpu::exp(top[a] - now);
      top[a] = now;
      sum[a] *= factor;
#pragma unroll
      for (int b = 0; b < P::kColumns / kSide; ++b) {
        const float p = gpu::exp(s[b] - now);
        sum[a] += p;
        weights[row * P::kWeightRow + x + kSide * b] = p;
      }
#pragma unroll
      for (int n = 0; n < Tile::kFours; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) out[a][n].x[i] *= factor;
      }
    }
    GPU_WARP_SYNC();
#pragma unroll 2
    for (int j = 0; j < P::kColumns; ++j) {
#pragma unroll
      for (int a = 0; a < P::kOwn; ++a) {
        Tile::add_row(out[a], weights[(y + kSide * a) * P::kWeightRow + j], values + j * Tile::kStride);
      }
    }
  }
#pragma unroll
  for (int a = 0; a < P::kOwn; ++a) {
    const int row = first + y + kSide * a;
    float total = sum[a];
#pragma unroll
    for (int distance = kSide / 2; distance > 0; distance /= 2) total += gpu::shuffle_xor(total, distance);
    Tile::store(out[a], 1.0f / total, PlainRows{op.y, shape, work, head}, row);
    if (op.lse != nullptr && x == 0 && row < work.length) {
      op.lse[static_cast<int64_t>(work.start + row) * shape.heads + head] = top[a] + gpu::log(total);
    }
  }
}

// The weights of both backward kernels: exp(s - lse) and dS of the pair of rows `query` and `key`.
template <class Tile>
GPU_FN void pair_weights(float& p, float& ds, const float* q, const float* k, const float* dy, const float* v,
                         float scale, const RowStats& row, bool visible) {
  p = visible ? gpu::exp(Tile::dot(q, k) * scale - row.lse) : 0.0f;
  ds = visible ? p * (Tile::dot(dy, v) - row.delta) : 0.0f;
}

template <class P>
GPU_KERNEL(kThreads, 1)
void plain_backward_keys_kernel(Backward op) {
  using Tile = PlainTile<P::kDim>;
  const Shape& shape = op.shape;
  const int kv_heads = shape.heads / shape.group, kv_head = gpu::block_x() % kv_heads;
  const Work work = find_work(shape.sequences, Side::Keys, P::kRows, gpu::block_x() / kv_heads);
  if (work.tile < 0) return;
  const int first = work.tile * P::kRows;
  const int y = gpu::thread() / kSide, x = gpu::thread() % kSide;
  float* const keys = gpu::shared<float>();
  float* const values = keys + P::kRowTile;
  float* const queries = values + P::kRowTile;
  float* const dy = queries + P::kColumnTile;
  float* const weights = dy + P::kColumnTile;
  float* const slopes = weights + P::kWeightTile;
  Tile::load(keys, P::kRows, PlainRows{op.k, shape, work, kv_head}, first);
  Tile::load(values, P::kRows, PlainRows{op.v, shape, work, kv_head}, first);

  Four dk[P::kOwn][Tile::kFours], dv[P::kOwn][Tile::kFours];
  clear(dk);
  clear(dv);
  for (int head = kv_head * shape.group; head < (kv_head + 1) * shape.group; ++head) {
    const RowStats* stats = op.stats + static_cast<int64_t>(head) * shape.sequences.tokens + work.start;
    for (int query = first / P::kColumns * P::kColumns; query < work.length; query += P::kColumns) {
      GPU_BARRIER();  // the tile before is used up
      Tile::load(queries, P::kColumns, PlainRows{op.q, shape, work, head}, query);
      Tile::load(dy, P::kColumns, PlainRows{op.dy, shape, work, head}, query);
      GPU_BARRIER();
#pragma unroll
      for (int a = 0; a < P::kOwn; ++a) {
        const int row = y + kSide * a;
        for (int column = x; column < P::kColumns; column += kSide) {
          const bool visible = query + column < work.length && query + column >= first + row;
          const RowStats of_query = visible ? stats[query + column] : RowStats{0.0f, 0.0f};
          float p, ds;
          pair_weights<Tile>(p, ds, queries + column * Tile::kStride, keys + row * Tile::kStride,
                             dy + column * Tile::kStride, values + row * Tile::kStride, shape.scale, of_query,
                             visible);
          weights[row * P::kWeightRow + column] = p;
          slopes[row * P::kWeightRow + column] = ds;
        }
      }
      GPU_WARP_SYNC();
#pragma unroll 2
      for (int j = 0; j < P::kColumns; ++j) {
#pragma unroll
        for (int a = 0; a < P::kOwn; ++a) {
          const int at = (y + kSide * a) * P::kWeightRow + j;
          Tile::add_row(dv[a], weights[at], dy + j * Tile::kStride);
          Tile::add_row(dk[a], slopes[at], queries + j * Tile::kStride);
        }
      }
    }
  }
#pragma unroll
  for (int a = 0; a < P::kOwn; ++a) {
    const int row = first + y + kSide * a;
    Tile::store(dk[a], shape.scale, PlainRows{op.dk, shape, work, kv_head}, row);
    Tile::store(dv[a], 1.0f, PlainRows{op.dv, shape, work, kv_head}, row);
  }
}

template <class P>
GPU_KERNEL(kThreads, 1)
void plain_backward_queries_kernel(Backward op) {
  using Tile = PlainTile<P::kDim>;
  const Shape& shape = op.shape;
  const int head = gpu::block_x() % shape.heads;
  const Work work = find_work(shape.sequences, Side::Queries, P::kRows, gpu::block_x() / shape.heads);
  if (work.tile < 0) return;
  const int first = work.tile * P::kRows;
  const int y = gpu::thread() / kSide, x = gpu::thread() % kSide;
  float* const queries = gpu::shared<float>();
  float* const dy = queries + P::kRowTile;
  float* const keys = dy + P::kRowTile;
  float* const values = keys + P::kColumnTile;
  float* const slopes = values + P::kColumnTile;
  const PlainRows k{op.k, shape, work, head / shape.group}, v{op.v, shape, work, head / shape.group};
  Tile::load(queries, P::kRows, PlainRows{op.q, shape, work, head}, first);
  Tile::load(dy, P::kRows, PlainRows{op.dy, shape, work, head}, first);

  Four dq[P::kOwn][Tile::kFours];
  clear(dq);
  const RowStats* stats = op.stats + static_cast<int64_t>(head) * shape.sequences.tokens + work.start;
  for (int key = 0; key < gpu::min(work.length, first + P::kRows); key += P::kColumns) {
    GPU_BARRIER();  // the tile before is used up
    Tile::load(keys, P::kColumns, k, key);
    Tile::load(values, P::kColumns, v, key);
    GPU_BARRIER();
#pragma unroll
    for (int a = 0; a < P::kOwn; ++a) {
      const int row = y + kSide * a;
      const RowStats of_row = first + row < work.length ? stats[first + row] : RowStats{0.0f, 0.0f};
      for (int column = x; column < P::kColumns; column += kSide) {
        const bool visible = first + row < work.length && key + column <= first + row;
        float p, ds;
        pair_weights<Tile>(p, ds, queries + row * Tile::kStride, keys + column * Tile::kStride,
                           dy + row * Tile::kStride, values + column * Tile::kStride, shape.scale, of_row,
                           visible);
        slopes[row * P::kWeightRow + column] = ds;
      }
    }
    GPU_WARP_SYNC();
#pragma unroll 2
    for (int j = 0; j < P::kColumns; ++j) {
#pragma unroll
      for (int a = 0; a < P::kOwn; ++a) {
        Tile::add_row(dq[a], slopes[(y + kSide * a) * P::kWeightRow + j], keys + j * Tile::kStride);
      }
    }
  }
#pragma unroll
  for (int a = 0; a < P::kOwn; ++a) {
    Tile::store(dq[a], shape.scale, PlainRows{op.dq, shape, work, head}, first + y + kSide * a);
  }
}

template <class P>
Grid blocks(const Shape& shape, int heads) {
  return Grid{static_cast<int>(most_tiles(shape.sequences, P::kRows) * heads), 1, 1};
}

// fn(width of the tiles as an integral constant).
template <class Fn>
void with_width(int dim, Fn&& fn) {
  if (dim <= 64) {
    fn(std::integral_constant<int, 64>());
  } else if (dim <= 128) {
    fn(std::integral_constant<int, 128>());
  } else {
    fn(std::integral_constant<int, 256>());
  }
}

}  // namespace

void launch_plain_forward(Exec& exec, const Forward& op) {
  with_width(op.shape.dim, [&](auto width) {
    using P = ForwardPlain<width.value>;
    launch(exec, "attention_plain_forward", plain_forward_kernel<P>, blocks<P>(op.shape, op.shape.heads),
           kThreads, P::kBytes, op);
  });
}

void launch_plain_backward(Exec& exec, const Backward& op) {
  with_width(op.shape.dim, [&](auto width) {
    using P = BackwardPlain<width.value>;
    launch(exec, "attention_plain_backward_keys", plain_backward_keys_kernel<P>,
           blocks<P>(op.shape, op.shape.kv_heads()), kThreads, P::kBytes, op);
    launch(exec, "attention_plain_backward_queries", plain_backward_queries_kernel<P>,
           blocks<P>(op.shape, op.shape.heads), kThreads, P::kBytes, op);
  });
}

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
