// The row form of the product: dot products along K, straight from the weight's own rows. Decoding is bound
// by reading the weights: each is read once from memory for all rows.
//
// A block owns four columns of C. Thread t sums k = 1024 j + 8 t + i (i = 0 .. 7) in rising j and i, product
// after product; the threads of a warp are added by an exchange tree (16, 8, 4, 2, 1), the warps in order.
#include "cuda/gemm.h"
#include "cuda/launch.h"
#include "cuda/values.cuh"

namespace fintune {
namespace cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kColumns = 4;

struct RowProduct {
  const void* a;
  const void* b;
  int64_t lda, ldb;
  int k;
  float scale;
  DType a_type, b_type;
  bool a_wide, b_wide;
};

struct RowGemm {
  RowProduct products[kMaxProducts];
  int count;
  int64_t m, n;
  void* c;
  int64_t ldc;
  DType c_type;
  DType compute;
  bool accumulate;
  const float* bias;
};

// sum[r][c] += a row r . b row c over this thread's k.
template <int kRows, typename B>
GPU_FN void add_product(const RowGemm& g, const RowProduct& p, int64_t row, int64_t column,
                        float (&sum)[kRows][kColumns]) {
  const B* const b = static_cast<const B*>(p.b);
  const bool round_a = p.a_type != g.compute || p.scale != 1.0f, round_b = p.b_type != g.compute;
  for (int k = 8 * gpu::thread(); k < p.k; k += 8 * kThreads) {
    const int left = p.k - k;
    float w[kColumns][8];
    if (p.b_wide && left >= 8) {
      gpu::Vec16 raw[kColumns][Words<B>::kVectors];
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const B* const from = b + gpu::min(column + c, g.n - 1) * p.ldb + k;
#pragma unroll
        for (int i = 0; i < Words<B>::kVectors; ++i) raw[c][i] = gpu::load16(from + i * 16 / sizeof(B));
      }
#pragma unroll
      for (int c = 0; c < kColumns; ++c) Words<B>::unpack(raw[c], w[c]);
    } else {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        load8(b + gpu::min(column + c, g.n - 1) * p.ldb + k, left, false, w[c]);
      }
    }
    if (round_b) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
#pragma unroll
        for (int i = 0; i < 8; ++i) w[c][i] = rounded_to(w[c][i], g.compute);
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float x[8];
      load8(at_byte(p.a, gpu::min(row + r, g.m - 1) * p.lda + k, p.a_type), p.a_type, left, p.a_wide, x);
      if (round_a) {
#pragma unroll
        for (int i = 0; i < 8; ++i) x[i] = rounded_to(p.scale * x[i], g.compute);
      }
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
#pragma unroll
        for (int i = 0; i < 8; ++i) sum[r][c] = gpu::fma(x[i], w[c][i], sum[r][c]);
      }
    }
  }
}

// kRows rows at a time.
template <int kRows>
GPU_KERNEL(kThreads, 4)
void gemm_rows(RowGemm g) {
  constexpr int kValues = kRows * kColumns;
  float* const warps = gpu::shared<float>();  // [2][kWarps][kValues]
  const int64_t column = static_cast<int64_t>(gpu::block_x()) * kColumns;
  int buffer = 0;
  for (int64_t row = 0; row < g.m; row += kRows, buffer ^= 1) {
    float sum[kRows][kColumns] = {};
    for (int i = 0; i < g.count; ++i) {
      const RowProduct& p = g.products[i];
      if (p.b_type == DType::BF16) {
        add_product<kRows, bf16>(g, p, row, column, sum);
      } else if (p.b_type == DType::F16) {
        add_product<kRows, f16>(g, p, row, column, sum);
      } else {
        add_product<kRows, float>(g, p, row, column, sum);
      }
    }
    // Halves of the values are exchanged as long as there are several: value v ends in the lanes of its
    // number.
    float v[kValues];
#pragma unroll
    for (int i = 0; i < kValues; ++i) v[i] = sum[i / kColumns][i % kColumns];
    int values = kValues;
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
      if (values > 1) {
        values /= 2;
        const bool high = (gpu::lane() & distance) != 0;
#pragma unroll
        for (int i = 0; i < kValues / 2; ++i) {
          if (i >= values) break;
          const float got = gpu::shuffle_xor(high ? v[i] : v[i + values], distance);
          v[i] = (high ? v[i + values] : v[i]) + got;
        }
      } else {
        v[0] += gpu::shuffle_xor(v[0], distance);
      }
    }
    float* const mine = warps + buffer * kWarps * kValues;
    if (gpu::lane() % (32 / kValues) == 0) mine[gpu::warp() * kValues + gpu::lane() / (32 / kValues)] = v[0];
    // The other buffer is read by no thread any more once all have met here twice.
    GPU_BARRIER();
    const int64_t r = row + gpu::thread() / kColumns, c = column + gpu::thread() % kColumns;
    if (gpu::thread() < kValues && r < g.m && c < g.n) {
      float x = mine[gpu::thread()];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) x += mine[w * kValues + gpu::thread()];
      if (g.bias != nullptr) x += g.bias[c];
      const int64_t at = r * g.ldc + c;
      if (g.accumulate) x += load_value(g.c, at, g.c_type);
      store_value(g.c, at, g.c_type, x);
    }
  }
}

template <int kRows>
void run(Exec& exec, const RowGemm& g) {
  launch(exec, "gemm_rows", gemm_rows<kRows>, Grid{static_cast<int>((g.n + kColumns - 1) / kColumns)},
         kThreads, 2 * kWarps * kRows * kColumns * sizeof(float), g);
}

}  // namespace

void gemm_rowwise(Exec& exec, const Gemm& g) {
  check_gemm(exec, g);
  RowGemm rows{};
  for (int i = 0; i < g.count; ++i) {
    const View &a = g.products[i].a.view, &b = g.products[i].b.view;
    require(g.products[i].b.transposed && !g.products[i].a.transposed,
            "the row form multiplies rows with rows");
    rows.products[i] = RowProduct{a.data,
                                  b.data,
                                  a.ld,
                                  b.ld,
                                  static_cast<int>(a.cols),
                                  g.products[i].scale,
                                  a.dtype,
                                  b.dtype,
                                  gpu::aligned16(a.data, a.ld, dtype_size(a.dtype)),
                                  gpu::aligned16(b.data, b.ld, dtype_size(b.dtype))};
  }
  rows.count = g.count;
  rows.m = g.c.rows;
  rows.n = g.c.cols;
  rows.c = g.c.data;
  rows.ldc = g.c.ld;
  rows.c_type = g.c.dtype;
  rows.compute = exec.compute;
  rows.accumulate = g.accumulate;
  rows.bias = g.bias;
  if (rows.m == 0) return;
  if (rows.m == 1) {
    run<1>(exec, rows);
  } else if (rows.m == 2) {
    run<2>(exec, rows);
  } else if (rows.m <= 4) {
    run<4>(exec, rows);
  } else {
    run<8>(exec, rows);
  }
}

}  // namespace cuda
}  // namespace fintune
