// Linear with LoRA: the adapters are further products of the same sum, y = [x | s u] [W | B]^T and dx = [dy |
// s du] [W; A], so that y and dx are written once. u and du leave their own products already scaled and
// rounded, as the next ones read them. Where copies of the adapters lie beside the weight, and u or du find
// room behind x or dy, the sum is one product of two matrices, which a library can make; else our own kernel
// goes on from one product to the next.
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

// How an op reads the adapters: from copies that lie beside the weight, or staged.
struct Low {
  const LoraPair* pairs;
  int count;
  const View& weight;
  bool copied;
  int64_t room;  // columns of all copies

  Low(const Exec& exec, const LoraPair* adapters, int n, const View& w)
      : pairs(adapters),
        count(n),
        weight(w),
        copied(has_copies(adapters, n) && exec.compute != DType::F32 && w.dtype == exec.compute &&
               w.rows % 8 == 0 && w.cols % 8 == 0 && gpu::aligned16(w.data, w.ld, 2)),
        room(copied ? copies_room(adapters, n) : 0) {}

  // [R, IN] and [OUT, R], in the width that later products read.
  Factor a(Exec& exec, Stage& stage, int i) const {
    return copied ? Factor{pairs[i].a_beside(weight)} : stage.add(exec, Factor{pairs[i].a});
  }
  Factor b(Exec& exec, Stage& stage, int i) const {
    return copied ? Factor{pairs[i].b_beside(weight)} : stage.add(exec, Factor{pairs[i].b});
  }
  // Whether [v | further columns] is one matrix: v lies in rows with that room, or `staged` is a copy that
  // does.
  bool widens(const View& v, int64_t v_room, const Factor& staged) const {
    return copied && (v_room >= room || staged.view.data != v.data);
  }
  // The place of adapter i's columns behind those of v; else of their own.
  View place(Exec& exec, const Factor& v, bool widened, int i) const {
    const LoraPair& pair = pairs[i];
    if (!widened) return staged_matrix(exec, exec.compute, v.view.rows, width(i));
    View to = v.view;
    to.data = to.as<char>() + static_cast<size_t>(to.cols + pair.beside) * dtype_size(to.dtype);
    to.cols = width(i);
    return to;
  }
  int64_t width(int i) const { return copied ? rank_room(pairs[i].a.rows) : pairs[i].a.rows; }
};

Factor widened(Factor v, int64_t cols) {
  v.view.cols += cols;
  return v;
}

// Columns of the rank alone, without what fills them up.
Factor narrowed(Factor v, int64_t cols) {
  v.view.cols = cols;
  v.padded = true;
  return v;
}

// Few rows: operands are read as they lie.
void forward_rowwise(Exec& exec, const LinearForward& in, const Low& low, const Factor& masked_x) {
  require(!in.u || in.u.dtype == DType::F32, "u of few rows is f32, found ", dtype_name(in.u.dtype));
  Product products[kMaxAdapters + 1];
  products[0] = Product{Factor{in.x}, Factor{in.weight, true}};
  for (int i = 0; i < in.adapter_count; ++i) {
    const LoraPair& pair = in.adapters[i];
    const bool last = i == in.adapter_count - 1;
    const View u =
        last && in.u ? in.u : exec.arena->matrix(DType::F32, in.x.rows, pair.a.rows, MemoryKind::Workspace);
    View a = low.copied ? pair.a_beside(in.weight) : pair.a,
         b = low.copied ? pair.b_beside(in.weight) : pair.b;
    a.rows = b.cols = pair.a.rows;
    const Product down{last ? masked_x : Factor{in.x}, Factor{a, true}};
    gemm_rowwise(exec, Gemm{&down, 1, u});
    products[i + 1] = Product{Factor{u}, Factor{b, true}, pair.scale};
  }
  gemm_rowwise(exec, Gemm{products, in.adapter_count + 1, in.y, false, in.bias});
}

// s u of adapter i in `to`; that of the last one is kept where the caller wants it.
Factor project(Exec& exec, const LinearForward& in, const Low& low, const Factor& x, Factor a, int i,
               const View& to) {
  const LoraPair& pair = in.adapters[i];
  const bool kept = i == in.adapter_count - 1 && in.u;
  if (kept && in.u.dtype == DType::F32) {
    a.view.rows = pair.a.rows;
    View exact = to;
    exact.cols = pair.a.rows;
    Factor u = rounded_product(exec, x, transposed(a), pair.scale, exact, in.u);
    u.view.cols = low.width(i);
    return u;
  }
  const Factor u = rounded_product(exec, x, transposed(a), pair.scale, to);
  if (kept) convert(exec, Convert{to, widened(Factor{in.u}, low.width(i) - in.u.cols).view});
  return u;
}

}  // namespace

void linear_forward(Exec& exec, const LinearForward& in) {
  check(in);
  const bool masked = has_dropout(in.dropout, in.adapter_count, in.x.rows);
  const Low low(exec, in.adapters, in.adapter_count, in.weight);
  ArenaScope scope(*exec.arena);
  Stage stage;
  if (exec.rowwise) {
    const Factor masked_x = masked ? stage.add(exec, Factor{in.x}, 1, &in.dropout) : Factor{in.x};
    stage.run(exec);
    return forward_rowwise(exec, in, low, masked_x);
  }
  require(!in.u || in.u.dtype == DType::F32 || low.copied,
          "u is rounded only where copies of the adapters lie beside ",
          "the weight in the type of the products");
  const Factor x = stage.add(exec, Factor{in.x}, 1, nullptr, low.room);
  const Factor masked_x = masked ? stage.add(exec, Factor{in.x}, 1, &in.dropout) : x;
  Product products[kMaxAdapters + 1];
  products[0] = Product{x, stage.add(exec, Factor{in.weight, true})};
  Factor a[kMaxAdapters];
  for (int i = 0; i < in.adapter_count; ++i) {
    a[i] = low.a(exec, stage, i);
    products[i + 1].b = transposed(low.b(exec, stage, i));
  }
  stage.run(exec);
  const bool one = low.widens(in.x, in.x_room, x);
  for (int i = 0; i < in.adapter_count; ++i) {
    const bool last = i == in.adapter_count - 1;
    products[i + 1].a = project(exec, in, low, last ? masked_x : x, a[i], i, low.place(exec, x, one, i));
  }
  if (one) {
    products[0].a = widened(x, low.room);
    products[0].b.view.cols += low.room;
  }
  Gemm sum{products, one ? 1 : in.adapter_count + 1, in.y, false, in.bias};
  if (in.weight.dtype == in.y.dtype) sum.exact_bias = in.exact_bias;
  gemm(exec, sum);
}

void linear_backward(Exec& exec, const LinearBackward& in) {
  check(in);
  const int last = in.adapter_count - 1;
  const bool trains = static_cast<bool>(in.da);
  const bool masked = has_dropout(in.dropout, in.adapter_count, in.dy.rows);
  const Low low(exec, in.adapters, in.adapter_count, in.weight);
  ArenaScope scope(*exec.arena);
  Stage stage;
  const bool products_wanted = in.dx || trains || in.dweight;
  const Factor dy = products_wanted ? stage.add(exec, Factor{in.dy}, 1, nullptr, low.room) : Factor{in.dy};
  Factor x, masked_x, u, weight, a[kMaxAdapters], b[kMaxAdapters];
  if (in.dweight || (trains && !masked)) x = stage.add(exec, Factor{in.x});
  if (trains) {
    masked_x = masked ? stage.add(exec, Factor{in.x}, 1, &in.dropout) : x;
    if (in.u && in.u.dtype == DType::F32) u = stage.add(exec, Factor{in.u}, in.adapters[last].scale);
    if (in.u && in.u.dtype != DType::F32) u = Factor{in.u, false, true};
  }
  if (in.dx) weight = stage.add(exec, Factor{in.weight});
  for (int i = 0; i < in.adapter_count; ++i) {
    const bool trained = trains && i == last;
    if (in.dx || trained) b[i] = low.b(exec, stage, i);
    if (in.dx || (trained && !in.u)) a[i] = low.a(exec, stage, i);
  }
  stage.run(exec);

  const bool one = in.dx && low.widens(in.dy, in.dy_room, dy);
  Product products[kMaxAdapters + 1];
  products[0] = Product{dy, weight};
  for (int i = 0; i < in.adapter_count; ++i) {
    if (!in.dx && !(trains && i == last)) continue;
    const Factor du = rounded_product(exec, dy, b[i], in.adapters[i].scale, low.place(exec, dy, one, i));
    products[i + 1] = Product{du, a[i]};
  }
  if (trains) {
    const int64_t rank = in.da.rows;
    if (!in.u) {
      u = rounded_product(exec, masked_x, transposed(a[last]), in.adapters[last].scale,
                          staged_matrix(exec, exec.compute, in.dy.rows, low.width(last)));
    }
    add_product(exec, transposed(narrowed(products[last + 1].a, rank)), masked_x, in.da);
    add_product(exec, transposed(dy), narrowed(u, rank), in.db);
  }
  if (in.dweight) add_product(exec, transposed(dy), x, in.dweight);
  if (in.dbias != nullptr) add_column_sums(exec, in.dy, in.dbias);
  if (in.dx) {
    const int direct = masked ? last : in.adapter_count;
    const int64_t room = direct == in.adapter_count ? low.room : in.adapters[direct].beside;
    if (one) {
      products[0].a = widened(dy, room);
      products[0].b.view.rows += room;
    }
    gemm(exec, Gemm{products, one ? 1 : direct + 1, in.dx, in.accumulate_dx});
    if (masked) add_dropped_gradient(exec, in.dropout, products[last + 1].a, a[last], in.dx);
  }
}

}  // namespace cuda
}  // namespace fintune
