// Linear with LoRA: the adapters are further products of the same sum, y = [x | s u] [W | B]^T and dx = [dy |
// s du] [W; A], so that y and dx are written once. u and du leave their own products already scaled and
// rounded, as the next ones read them.
#include <algorithm>

#include "cuda/dropout.cuh"
#include "cuda/gemm.h"
#include "cuda/gemm_stage.h"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/values.cuh"
#include "ops/linear_checks.h"

namespace fintune {
namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kDropoutRows = 4096;  // rows of dx that pass through the dropout's own workspace at a time

struct MaskedSum {
  const float* from;
  void* to;
  int64_t rows, cols, ld;
  DropoutMask mask;
  int64_t first;  // row number of `to` within the op
  DType type;
};

// to += mask * from; a thread makes four columns of a row.
GPU_KERNEL(kThreads, 4) void add_masked(MaskedSum s) {
  const int64_t per_row = (s.cols + 3) / 4, count = s.rows * per_row;
  const int64_t stride = static_cast<int64_t>(gpu::grid_x()) * kThreads;
  for (int64_t i = static_cast<int64_t>(gpu::block_x()) * kThreads + gpu::thread(); i < count; i += stride) {
    const int64_t row = i / per_row, column = i % per_row * 4;
    float keep[4];
    mask4(s.mask, s.first + row, column, keep);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (column + e >= s.cols) continue;
      const int64_t at = row * s.ld + column + e;
      const float sum = gpu::fma(s.from[row * s.cols + column + e], keep[e], load_value(s.to, at, s.type));
      store_value(s.to, at, s.type, sum);
    }
  }
}

// dx += mask * (s du A), some rows at a time. du is scaled already.
void add_dropped_gradient(Exec& exec, const LoraDropout& d, const Factor& du, const Factor& a,
                          const View& dx) {
  ArenaScope scope(*exec.arena);
  const int64_t rows = std::min(dx.rows, kDropoutRows);
  const View part = exec.arena->matrix(DType::F32, rows, dx.cols, MemoryKind::Workspace);
  for (int64_t first = 0; first < dx.rows; first += rows) {
    const int64_t n = std::min(dx.rows - first, rows);
    const View some = part.slice(0, n), to = dx.slice(first, n);
    Factor du_rows = du;
    du_rows.view = du.view.slice(first, n);
    const Product p{du_rows, a};
    gemm(exec, Gemm{&p, 1, some});
    const int64_t threads = n * ((dx.cols + 3) / 4);
    launch(exec, "add_masked", add_masked,
           Grid{static_cast<int>(std::min<int64_t>((threads + kThreads - 1) / kThreads, 4096))}, kThreads, 0,
           MaskedSum{some.f32(), to.data, n, dx.cols, to.ld, dropout_mask(d), first, to.dtype});
  }
}

constexpr int kSumRows = 512;  // of a part

struct ColumnSums {
  const void* from;
  int64_t rows, cols, ld;
  DType type;
  float* partial;  // [parts][cols]
};

// A block sums 32 columns over kSumRows rows: warp w takes rows w, w + 8, ..., then the warps are added in
// order.
GPU_KERNEL(kThreads, 4) void column_sums(ColumnSums s) {
  float* const sums = gpu::shared<float>();
  const int64_t column = static_cast<int64_t>(gpu::block_x()) * 32 + gpu::lane();
  const int64_t first = static_cast<int64_t>(gpu::block_y()) * kSumRows;
  const int64_t last = gpu::min<int64_t>(first + kSumRows, s.rows);
  float sum = 0;
  if (column < s.cols) {
    for (int64_t row = first + gpu::warp(); row < last; row += kThreads / 32) {
      sum += load_value(s.from, row * s.ld + column, s.type);
    }
  }
  sums[gpu::thread()] = sum;
  GPU_BARRIER();
  if (gpu::thread() < 32 && column < s.cols) {
    for (int w = 1; w < kThreads / 32; ++w) sum += sums[32 * w + gpu::lane()];
    s.partial[gpu::block_y() * s.cols + column] = sum;
  }
}

// out[j] += sum over the rows of dy.
void add_column_sums(Exec& exec, const View& dy, float* out) {
  if (dy.rows == 0) return;
  ArenaScope scope(*exec.arena);
  const int parts = static_cast<int>((dy.rows + kSumRows - 1) / kSumRows);
  float* const partial = exec.arena->floats(parts * dy.cols, MemoryKind::Workspace);
  launch(exec, "column_sums", column_sums, Grid{static_cast<int>((dy.cols + 31) / 32), parts}, kThreads,
         kThreads * sizeof(float), ColumnSums{dy.data, dy.rows, dy.cols, dy.ld, dy.dtype, partial});
  add_parts(exec, partial, parts, View(out, DType::F32, 1, dy.cols), true);
}

// The transpose of a factor as it lies.
Factor transposed(Factor f) {
  f.transposed = !f.transposed;
  return f;
}

// round(scale * a b) in workspace, as the next product reads it; the sum itself goes to `sum` where it is
// asked for.
Factor rounded_product(Exec& exec, const Factor& a, const Factor& b, float scale, const View& to,
                       const View& sum = View()) {
  const Product p{a, b};
  Gemm g{&p, 1, sum};
  g.rounded = to;
  g.rounded_scale = scale;
  gemm(exec, g);
  return Factor{to, false, true};
}

void add_product(Exec& exec, const Factor& a, const Factor& b, const View& c) {
  const Product p{a, b};
  gemm(exec, Gemm{&p, 1, c, true});
}

// Few rows: operands are read as they lie.
void forward_rowwise(Exec& exec, const LinearForward& in, const Factor& masked_x) {
  Product products[kMaxAdapters + 1];
  products[0] = Product{Factor{in.x}, Factor{in.weight, true}};
  for (int i = 0; i < in.adapter_count; ++i) {
    const LoraPair& pair = in.adapters[i];
    const bool last = i == in.adapter_count - 1;
    const View u =
        last && in.u ? in.u : exec.arena->matrix(DType::F32, in.x.rows, pair.a.rows, MemoryKind::Workspace);
    const Product down{last ? masked_x : Factor{in.x}, Factor{pair.a, true}};
    gemm_rowwise(exec, Gemm{&down, 1, u});
    products[i + 1] = Product{Factor{u}, Factor{pair.b, true}, pair.scale};
  }
  gemm_rowwise(exec, Gemm{products, in.adapter_count + 1, in.y, false, in.bias});
}

}  // namespace

void linear_forward(Exec& exec, const LinearForward& in) {
  check(in);
  const int64_t rows = in.x.rows;
  const bool masked = has_dropout(in.dropout, in.adapter_count, rows);
  ArenaScope scope(*exec.arena);
  Stage stage;
  if (exec.rowwise) {
    const Factor masked_x = masked ? stage.add(exec, Factor{in.x}, 1, &in.dropout) : Factor{in.x};
    stage.run(exec);
    return forward_rowwise(exec, in, masked_x);
  }
  const Factor x = stage.add(exec, Factor{in.x});
  const Factor masked_x = masked ? stage.add(exec, Factor{in.x}, 1, &in.dropout) : x;
  Product products[kMaxAdapters + 1];
  products[0] = Product{x, stage.add(exec, Factor{in.weight, true})};
  Factor a[kMaxAdapters];
  for (int i = 0; i < in.adapter_count; ++i) {
    a[i] = stage.add(exec, Factor{in.adapters[i].a, true});
    products[i + 1].b = stage.add(exec, Factor{in.adapters[i].b, true});
  }
  stage.run(exec);
  for (int i = 0; i < in.adapter_count; ++i) {
    const bool last = i == in.adapter_count - 1;
    products[i + 1].a =
        rounded_product(exec, last ? masked_x : x, a[i], in.adapters[i].scale,
                        staged_matrix(exec, exec.compute, rows, in.adapters[i].a.rows), last ? in.u : View());
  }
  gemm(exec, Gemm{products, in.adapter_count + 1, in.y, false, in.bias});
}

void linear_backward(Exec& exec, const LinearBackward& in) {
  check(in);
  const int64_t rows = in.dy.rows;
  const int last = in.adapter_count - 1;
  const bool trains = static_cast<bool>(in.da);
  const bool masked = has_dropout(in.dropout, in.adapter_count, rows);
  ArenaScope scope(*exec.arena);
  Stage stage;
  const bool products_wanted = in.dx || trains || in.dweight;
  const Factor dy = products_wanted ? stage.add(exec, Factor{in.dy}) : Factor{in.dy};
  Factor x, masked_x, u, weight, a[kMaxAdapters], b[kMaxAdapters];
  if (in.dweight || (trains && !masked)) x = stage.add(exec, Factor{in.x});
  if (trains) {
    masked_x = masked ? stage.add(exec, Factor{in.x}, 1, &in.dropout) : x;
    if (in.u) u = stage.add(exec, Factor{in.u}, in.adapters[last].scale);
  }
  if (in.dx) weight = stage.add(exec, Factor{in.weight});
  for (int i = 0; i < in.adapter_count; ++i) {
    const bool trained = trains && i == last;
    if (in.dx || trained) b[i] = stage.add(exec, Factor{in.adapters[i].b});
    if (in.dx || (trained && !in.u)) a[i] = stage.add(exec, Factor{in.adapters[i].a});
  }
  stage.run(exec);

  Product products[kMaxAdapters + 1];
  products[0] = Product{dy, weight};
  for (int i = 0; i < in.adapter_count; ++i) {
    if (!in.dx && !(trains && i == last)) continue;
    const LoraPair& pair = in.adapters[i];
    const Factor du =
        rounded_product(exec, dy, b[i], pair.scale, staged_matrix(exec, exec.compute, rows, pair.a.rows));
    products[i + 1] = Product{du, a[i]};
  }
  if (trains) {
    const LoraPair& pair = in.adapters[last];
    if (!in.u) {
      u = rounded_product(exec, masked_x, transposed(a[last]), pair.scale,
                          staged_matrix(exec, exec.compute, rows, pair.a.rows));
    }
    add_product(exec, transposed(products[last + 1].a), masked_x, in.da);
    add_product(exec, transposed(dy), u, in.db);
  }
  if (in.dweight) add_product(exec, transposed(dy), x, in.dweight);
  if (in.dbias != nullptr) add_column_sums(exec, in.dy, in.dbias);
  if (in.dx) {
    const int direct = masked ? last : in.adapter_count;
    gemm(exec, Gemm{products, direct + 1, in.dx, in.accumulate_dx});
    if (masked) add_dropped_gradient(exec, in.dropout, products[last + 1].a, a[last], in.dx);
  }
}

}  // namespace cuda
}  // namespace fintune
