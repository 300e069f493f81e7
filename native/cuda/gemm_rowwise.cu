// The row form of the product: dot products along K, straight from the weight's own rows. Decoding is bound
// by reading the weights: each is read once from memory for all rows. The kernels for bf16 and f16 are
// gemm_rows.cuh's; here is the one for f32, and the choice.
//
// A block owns four columns of C. Thread t sums k = 1024 j + 8 t + i (i = 0 .. 7) in rising j and i, product
// after product; the threads of a warp are added by an exchange tree (16, 8, 4, 2, 1), the warps in order.
#include "cuda/gemm_rows.h"
#include "cuda/values.cuh"

namespace fintune {
namespace cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kColumns = 4;

// sum[r][c] += a row r . b row c over this thread's k.
template <int kRows>
GPU_FN void add_product(const RowGemm& g, const RowProduct& p, int64_t row, int64_t column,
                        float (&sum)[kRows][kColumns]) {
  for (int k = 8 * gpu::thread(); k < p.k; k += 8 * kThreads) {
    const int left = p.k - k;
    float w[kColumns][8];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      load8(at_byte(p.b, gpu::min(column + c, g.n - 1) * p.ldb + k, p.b_type), p.b_type, left, p.b_wide,
            w[c]);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float x[8];
      load8(at_byte(p.a, gpu::min(row + r, g.m - 1) * p.lda + k, p.a_type), p.a_type, left, p.a_wide, x);
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] *= p.scale;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
#pragma unroll
        for (int i = 0; i < 8; ++i) sum[r][c] = gpu::fma(x[i], w[c][i], sum[r][c]);
      }
    }
  }
}

// kRows rows at a time; how many changes no bit.
template <int kRows>
GPU_KERNEL(kThreads, 4)
void gemm_rows_f32(RowGemm g) {
  constexpr int kValues = kRows * kColumns;
  float* const warps = gpu::shared<float>();  // [2][kWarps][kValues]
  const int64_t column = static_cast<int64_t>(gpu::block_x()) * kColumns;
  int buffer = 0;
  for (int64_t row = 0; row < g.m; row += kRows, buffer ^= 1) {
    float sum[kRows][kColumns] = {};
    for (int i = 0; i < g.count; ++i) add_product(g, g.products[i], row, column, sum);
    float* const mine = warps + buffer * kWarps * kValues;
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const float total = gpu::warp_sum(sum[i / kColumns][i % kColumns]);
      if (gpu::lane() == 0) mine[gpu::warp() * kValues + i] = total;
    }
    // The other buffer is read by no thread any more once all have met here again.
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
void launch_rows_f32(Exec& exec, const RowGemm& g) {
  launch(exec, "gemm_rows_f32", gemm_rows_f32<kRows>, Grid{static_cast<int>((g.n + kColumns - 1) / kColumns)},
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
    RowProduct& p = rows.products[i];
    p.a = a.data;
    p.b = b.data;
    p.lda = a.ld;
    p.ldb = b.ld;
    p.k = static_cast<int>(a.cols);
    p.scale = g.products[i].scale;
    p.a_type = a.dtype;
    p.b_type = b.dtype;
    p.a_wide = gpu::aligned16(a.data, a.ld, dtype_size(a.dtype));
    p.b_wide = gpu::aligned16(b.data, b.ld, dtype_size(b.dtype));
  }
  rows.count = g.count;
  rows.m = g.c.rows;
  rows.n = g.c.cols;
  rows.c = g.c.data;
  rows.ldc = g.c.ld;
  rows.c_type = g.c.dtype;
  rows.accumulate = g.accumulate;
  rows.bias = g.bias;
  if (rows.m == 0) return;
  if (exec.compute == DType::F32) {
    rows.m == 1 ? launch_rows_f32<1>(exec, rows) : launch_rows_f32<4>(exec, rows);
  } else if (capability(exec) < 80) {
    require_f16(exec);
    gemm_rows_f16_sm75(exec, rows);
  } else {
    exec.compute == DType::BF16 ? gemm_rows_bf16(exec, rows) : gemm_rows_f16(exec, rows);
  }
}

}  // namespace cuda
}  // namespace fintune
