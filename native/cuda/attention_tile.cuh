// Pieces of the attention kernels on tensor cores: which tile a block works on, tiles of 16-bit rows in
// shared memory, and the two products that all of them consist of.
#pragma once

#include <limits>

#include "cuda/attention.cuh"
#include "cuda/attention_work.cuh"
#include "cuda/gpu.h"

namespace fintune {
namespace cuda {
namespace attention {

// True where this compilation holds the bodies of a family's kernels: one family an architecture, all of them
// in test builds. Where a binary without the right one meets a device, its kernels trap.
#ifdef __CUDA_ARCH__
template <int kFamily>
constexpr bool kCompiled = kFamily == tile_family(__CUDA_ARCH__ / 10);
#else
template <int kFamily>
constexpr bool kCompiled = true;
#endif

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLog2E = 1.4426950408889634f;

// Rows of one head of one sequence in global memory: multiples of 16 bytes, as are their starts.
template <class T>
struct Rows {
  T* data;
  uint32_t ld, start, column;  // the sequence's first row, the head's first column
  int count, dim;
  // Numbers rather than a pointer to the sequence: these the matrices share, in registers.
  GPU_FN T* at(int row, int chunk) const {
    const uint64_t place = static_cast<uint64_t>(start + static_cast<uint32_t>(row)) * ld;
    return data + (place + (column + 8u * static_cast<uint32_t>(chunk)));
  }
};

template <class T>
GPU_FN Rows<T> rows_of(const Heads& m, const Shape& shape, const Work& work, int head) {
  return Rows<T>{static_cast<T*>(m.data),
                 m.ld,
                 static_cast<uint32_t>(work.start),
                 static_cast<uint32_t>(head * shape.dim),
                 work.length,
                 shape.dim};
}

// A tile in shared memory, known by its byte offset: rows of kDim elements in chunks of 8, which are 16
// bytes. Within groups of kGroup, chunk c of row r lies at place c ^ mix(r), so that the eight rows which
// ldmatrix reads at once meet all banks.
template <int kDim>
struct TileMap {
  static constexpr int kRow = 2 * kDim, kChunks = kDim / 8;  // bytes, chunks of a row
  static constexpr int kGroup = kDim % 64 == 0 ? 8 : kDim % 32 == 0 ? 4 : 2;
  static_assert(kDim % 16 == 0 && kRow / 16 % 8 % kGroup == 0, "rows of whole groups");

  GPU_FN static int mix(int row) {
    return static_cast<int>(static_cast<unsigned>(row) / (8 / kGroup) % kGroup);
  }
  GPU_FN static int place(int row, int chunk) { return row * kRow + 16 * (chunk ^ mix(row)); }
  GPU_FN static int plain(int row, int chunk) { return row * kRow + 16 * chunk; }
  // The same of chunk 2 step + half of row first + row, for a constant step and `first` a multiple of 8: a
  // few exclusive ors of one number serve all steps.
  GPU_FN static int place(int tile, int first, int row, int step, int half) {
    const int line = tile + row * kRow + 16 * (mix(row) ^ half);
    return (line ^ (2 * step % kGroup * 16)) + 2 * step / kGroup * kGroup * 16 + first * kRow;
  }
  GPU_FN static int plain(int tile, int first, int row, int step, int half) {
    return tile + plain(first + row, 2 * step + half);
  }
};

// Copies rows [first, first + kRows) into a tile; rows beyond the sequence and columns beyond the head become
// zero. begin() starts what end() completes: on family 75 through registers, else in the background, where
// the caller commits and waits.
//
// kGroup neighbouring threads share a row and take every kGroup-th chunk of it, so that a thread's places
// differ by constants.
template <class T, int kFamily, int kRows, int kDim, int kThreads>
struct TileCopy {
  using Map = TileMap<kDim>;
  static constexpr int kStep = kThreads / Map::kGroup;  // rows that all threads copy at once
  static constexpr int kSteps = (kRows + kStep - 1) / kStep, kEach = Map::kChunks / Map::kGroup;
  gpu::Vec16 held[kFamily == 75 ? kSteps * kEach : 1];

  GPU_FN void begin(int tile, const Rows<T>& from, int first) {
    const int row = own_row(), chunk = own_chunk();
    if (kStep > kRows && row >= kRows) return;
    const T* source = from.at(first + row, chunk);
    const uint64_t stride = static_cast<uint64_t>(kStep) * from.ld;
#pragma unroll
    for (int n = 0; n < kSteps; ++n) {
#pragma unroll
      for (int k = 0; k < kEach; ++k) {
        const bool valid = first + row + n * kStep < from.count && 8 * (chunk + k * Map::kGroup) < from.dim;
        if constexpr (kFamily == 75) {
          held[n * kEach + k] = valid ? gpu::load16(source + 8 * k * Map::kGroup) : gpu::Vec16{};
        } else {
          gpu::cp_async_16(gpu::shared<T>(tile + place(row, chunk, n, k)), source + 8 * k * Map::kGroup,
                           valid);
        }
      }
      source += stride;
    }
  }

  GPU_FN void end(int tile) {
    if constexpr (kFamily == 75) {
      const int row = own_row(), chunk = own_chunk();
      if (kStep > kRows && row >= kRows) return;
#pragma unroll
      for (int n = 0; n < kSteps; ++n) {
#pragma unroll
        for (int k = 0; k < kEach; ++k) {
          gpu::store16(gpu::shared<T>(tile + place(row, chunk, n, k)), held[n * kEach + k]);
        }
      }
    }
  }

  GPU_FN static int own_row() { return static_cast<int>(static_cast<unsigned>(gpu::thread()) / Map::kGroup); }
  GPU_FN static int own_chunk() {
    return static_cast<int>(static_cast<unsigned>(gpu::thread()) % Map::kGroup);
  }
  GPU_FN static int place(int row, int chunk, int n, int k) {
    static_assert(kStep % 8 == 0, "rows of a thread have one mix");
    return GPU_SWIZZLE(Map::place(row, chunk), Map::plain(row, chunk)) + n * kStep * Map::kRow +
           k * Map::kGroup * 16;
  }
};

// Fragments of 16 x 16 elements as mma takes them. First operand: rows `first` .. + 15, columns 16 step ..
// + 15.
template <int kDim>
GPU_FN void load_left(uint32_t (&r)[4], int tile, int first, int step) {
  using Map = TileMap<kDim>;
  const int row = gpu::lane() & 15, half = gpu::lane() >> 4;
  gpu::ldmatrix_x4(r, gpu::shared<char>(GPU_SWIZZLE(Map::place(tile, first, row, step, half),
                                                    Map::plain(tile, first, row, step, half))));
}
// Second operand of a b^T: rows are the 16 columns of the product; r = {b0, b1} of the first 8, then of the
// others.
template <int kDim>
GPU_FN void load_right(uint32_t (&r)[4], int tile, int first, int step) {
  using Map = TileMap<kDim>;
  const int row = (gpu::lane() & 7) + (gpu::lane() >> 4) * 8, half = (gpu::lane() >> 3) & 1;
  gpu::ldmatrix_x4(r, gpu::shared<char>(GPU_SWIZZLE(Map::place(tile, first, row, step, half),
                                                    Map::plain(tile, first, row, step, half))));
}
// Second operand of a b: rows are summed over, columns 16 step .. + 15 are the product's.
template <int kDim>
GPU_FN void load_right_transposed(uint32_t (&r)[4], int tile, int first, int step) {
  using Map = TileMap<kDim>;
  const int row = gpu::lane() & 15, half = gpu::lane() >> 4;
  gpu::ldmatrix_x4_trans(r, gpu::shared<char>(GPU_SWIZZLE(Map::place(tile, first, row, step, half),
                                                          Map::plain(tile, first, row, step, half))));
}

template <int kTiles, int kColumns>
GPU_FN void clear(float (&x)[kTiles][kColumns][4]) {
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) x[m][n][i] = 0.0f;
    }
  }
}

// c [16, 8] += a [16, 16] b [16, 8].
template <class T, int kFamily>
GPU_FN void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (kFamily == 75) {
    const uint32_t a_low[2] = {a[0], a[1]}, a_high[2] = {a[2], a[3]}, b_low[1] = {b0}, b_high[1] = {b1};
    gpu::mma_m16n8k8(c, a_low, b_low);
    gpu::mma_m16n8k8(c, a_high, b_high);
  } else {
    const uint32_t b[2] = {b0, b1};
    gpu::mma_m16n8k16<T>(c, a, b);
  }
}

// The rows of one warp, 16 kTiles of them, as first operand: kept in registers, or read again at each use.
template <int kDim, int kTiles>
struct HeldRows {
  uint32_t r[kTiles][kDim / 16][4];
  GPU_FN void load(int tile) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int step = 0; step < kDim / 16; ++step) load_left<kDim>(r[m][step], tile, 16 * m, step);
    }
  }
  GPU_FN void get(uint32_t (&a)[kTiles][4], int step) const {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[m][i] = r[m][step][i];
    }
  }
};
template <int kDim, int kTiles>
struct SharedRows {
  int tile;
  GPU_FN void load(int from) { tile = from; }
  GPU_FN void get(uint32_t (&a)[kTiles][4], int step) const {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) load_left<kDim>(a[m], tile, 16 * m, step);
  }
};

// s [16 kTiles, kColumns] += left right^T over the head dim; `right` is a tile of kColumns rows.
template <class T, int kFamily, int kDim, int kTiles, int kColumns, class Left>
GPU_FN void product(float (&s)[kTiles][kColumns / 8][4], const Left& left, int right) {
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    uint32_t a[kTiles][4];
    left.get(a, step);
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      uint32_t b[4];
      load_right<kDim>(b, right, 16 * n, step);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        multiply_add<T, kFamily>(s[m][2 * n], a[m], b[0], b[1]);
        multiply_add<T, kFamily>(s[m][2 * n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// Columns 16 step .. + 15 of a product, rounded to T, as first operand of another: the layouts are the same.
template <class T, int kColumns>
GPU_FN void pack_left(uint32_t (&a)[4], const float (&w)[kColumns / 8][4], int step) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float(&pair)[4] = w[2 * step + i / 2];
    a[i] = gpu::pack2<T>(pair[2 * (i % 2)], pair[2 * (i % 2) + 1]);
  }
}

// o [16 kTiles, kDim] += w right, w [16 kTiles, kColumns] rounded to T, which never leaves the registers.
template <class T, int kFamily, int kDim, int kTiles, int kColumns>
GPU_FN void add_product(float (&o)[kTiles][kDim / 8][4], const float (&w)[kTiles][kColumns / 8][4],
                        int right) {
#pragma unroll
  for (int step = 0; step < kColumns / 16; ++step) {
    uint32_t a[kTiles][4];
#pragma unroll
    for (int m = 0; m < kTiles; ++m) pack_left<T, kColumns>(a[m], w[m], step);
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      uint32_t b[4];
      load_right_transposed<kDim>(b, right, 16 * step, n);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        multiply_add<T, kFamily>(o[m][2 * n], a[m], b[0], b[1]);
        multiply_add<T, kFamily>(o[m][2 * n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// Writes a warp's rows, o times `factor` of row and half (rows g and g + 8), to rows first .. of `to`, by way
// of a tile of its own that nobody reads any more.
template <class T, int kDim, int kTiles>
GPU_FN void store_rows(const Rows<T>& to, int first, const float (&o)[kTiles][kDim / 8][4],
                       const float (&factor)[kTiles][2], int tile) {
  using Map = TileMap<kDim>;
  const int g = gpu::lane() / 4, t = gpu::lane() % 4;
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * m + 8 * half + g;
#pragma unroll
      for (int n = 0; n < Map::kChunks; ++n) {
        const int at = tile + GPU_SWIZZLE(Map::place(row, n), Map::plain(row, n)) + 4 * t;
        *gpu::shared<uint32_t>(at) =
            gpu::pack2<T>(o[m][n][2 * half] * factor[m][half], o[m][n][2 * half + 1] * factor[m][half]);
      }
    }
  }
  GPU_WARP_SYNC();
#pragma unroll 4
  for (int i = gpu::lane(); i < 16 * kTiles * Map::kChunks; i += 32) {
    const int row = static_cast<unsigned>(i) / Map::kChunks, chunk = static_cast<unsigned>(i) % Map::kChunks;
    const int at = tile + GPU_SWIZZLE(Map::place(row, chunk), Map::plain(row, chunk));
    if (first + row < to.count && 8 * chunk < to.dim) {
      gpu::store16(to.at(first + row, chunk), gpu::load16(gpu::shared<T>(at)));
    }
  }
}

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
