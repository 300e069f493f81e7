// Linear with LoRA: the adapters are further products of the same sum, y = [x | s u] [W | B]^T and dx = [dy |
// s du] [W; A], so that y and dx are written once.
#include "core/philox.h"
#include "cpu/gemm/gemm.h"
#include "cpu/isa.h"
#include "cpu/simd.h"
#include "ops/linear_checks.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {

namespace {

constexpr int64_t kDropoutRows = 256;  // rows of dx that pass through the dropout's own workspace at a time

// keep[c] = 0 or 1 / (1 - p) for the columns of one row: column c takes word c % 4 of philox({c / 4, row,
// site, step}, seed). Sixteen counters side by side, so that compilers turn the loops into vector code.
void dropout_row(const LoraDropout& d, int64_t row, int64_t columns, float* keep) {
  constexpr int kLanes = 16;
  const float value = 1.0f / (1.0f - d.p);
  for (int64_t first = 0; first < columns; first += 4 * kLanes) {
    uint32_t c0[kLanes], c1[kLanes], c2[kLanes], c3[kLanes];
    for (int l = 0; l < kLanes; ++l) {
      c0[l] = static_cast<uint32_t>(first / 4) + static_cast<uint32_t>(l);
      c1[l] = static_cast<uint32_t>(d.first_row + row);
      c2[l] = d.site;
      c3[l] = d.step;
    }
    uint32_t k0 = static_cast<uint32_t>(d.seed), k1 = static_cast<uint32_t>(d.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      for (int l = 0; l < kLanes; ++l) {
        const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0[l];
        const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2[l];
        c0[l] = static_cast<uint32_t>(p1 >> 32) ^ c1[l] ^ k0;
        c1[l] = static_cast<uint32_t>(p1);
        c2[l] = static_cast<uint32_t>(p0 >> 32) ^ c3[l] ^ k1;
        c3[l] = static_cast<uint32_t>(p0);
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    float block[4 * kLanes];
    for (int l = 0; l < kLanes; ++l) {
      block[4 * l] = philox_uniform(c0[l]) >= d.p ? value : 0.0f;
      block[4 * l + 1] = philox_uniform(c1[l]) >= d.p ? value : 0.0f;
      block[4 * l + 2] = philox_uniform(c2[l]) >= d.p ? value : 0.0f;
      block[4 * l + 3] = philox_uniform(c3[l]) >= d.p ? value : 0.0f;
    }
    const int64_t n = columns - first < 4 * kLanes ? columns - first : 4 * kLanes;
    for (int64_t i = 0; i < n; ++i) keep[first + i] = block[i];
  }
}

template <typename T>
void mask_row(const T* x, const float* keep, int64_t n, T* out) {
  for (int64_t i = 0; i < n; i += kWidth) {
    const int w = static_cast<int>(n - i < kWidth ? n - i : kWidth);
    store_n(out + i, mul(load_n(x + i, w), load_n(keep + i, w)), w);
  }
}

template <typename T>
void add_masked_row(const float* x, const float* keep, int64_t n, T* out) {
  for (int64_t i = 0; i < n; i += kWidth) {
    const int w = static_cast<int>(n - i < kWidth ? n - i : kWidth);
    store_n(out + i, fma(load_n(x + i, w), load_n(keep + i, w), load_n(out + i, w)), w);
  }
}

// out = mask * x, of x's type.
void apply_dropout(Exec& exec, const LoraDropout& d, const View& x, const View& out) {
  if (exec.dry) return;
  exec.threads->parallel_for(x.rows, [&](int64_t row, int worker) {
    float* keep =
        static_cast<float*>(exec.threads->scratch(worker, static_cast<size_t>(x.cols) * sizeof(float)));
    dropout_row(d, row, x.cols, keep);
    if (x.dtype == DType::F32) {
      mask_row(x.f32() + row * x.ld, keep, x.cols, out.f32() + row * out.ld);
    } else {
      mask_row(x.as<bf16>() + row * x.ld, keep, x.cols, out.as<bf16>() + row * out.ld);
    }
  });
}

void product(Exec& exec, const Factor& a, const Factor& b, float scale, const View& c, bool accumulate) {
  const Product p{a, b, scale};
  gemm(exec, Gemm{&p, 1, c, accumulate, nullptr});
}

// dx += mask * (s du A), some rows at a time.
void add_dropped_gradient(Exec& exec, const LoraDropout& d, const LoraPair& pair, const View& du,
                          const View& dx) {
  ArenaScope scope(*exec.arena);
  const int64_t rows = dx.rows < kDropoutRows ? dx.rows : kDropoutRows;
  const View part = exec.arena->matrix(DType::F32, rows, dx.cols, MemoryKind::Workspace);
  for (int64_t first = 0; first < dx.rows; first += rows) {
    const int64_t n = dx.rows - first < rows ? dx.rows - first : rows;
    const View some = part.slice(0, n);
    product(exec, Factor{du.slice(first, n)}, Factor{pair.a}, pair.scale, some, false);
    if (exec.dry) continue;
    exec.threads->parallel_for(n, [&](int64_t i, int worker) {
      float* keep =
          static_cast<float*>(exec.threads->scratch(worker, static_cast<size_t>(dx.cols) * sizeof(float)));
      dropout_row(d, first + i, dx.cols, keep);
      if (dx.dtype == DType::F32) {
        add_masked_row(some.f32() + i * some.ld, keep, dx.cols, dx.f32() + (first + i) * dx.ld);
      } else {
        add_masked_row(some.f32() + i * some.ld, keep, dx.cols, dx.as<bf16>() + (first + i) * dx.ld);
      }
    });
  }
}

template <typename T>
void add_columns(const View& dy, int64_t first, int64_t n, float* out) {
  Vec sum = zero();
  const int w = static_cast<int>(n);
  for (int64_t t = 0; t < dy.rows; ++t) sum = add(sum, load_n(dy.as<T>() + t * dy.ld + first, w));
  store_n(out + first, add(load_n(out + first, w), sum), w);
}

// out[j] += sum over the rows of dy.
void add_column_sums(Exec& exec, const View& dy, float* out) {
  if (exec.dry) return;
  exec.threads->parallel_for((dy.cols + kWidth - 1) / kWidth, [&](int64_t task, int) {
    const int64_t first = task * kWidth;
    const int64_t n = dy.cols - first < kWidth ? dy.cols - first : kWidth;
    if (dy.dtype == DType::F32) {
      add_columns<float>(dy, first, n, out);
    } else {
      add_columns<bf16>(dy, first, n, out);
    }
  });
}

}  // namespace

void linear_forward(Exec& exec, const LinearForward& in) {
  check(in);
  require(!in.u || in.u.dtype == DType::F32, "u is f32 on the CPU, found ", dtype_name(in.u.dtype));
  const int64_t rows = in.x.rows;
  const bool masked = has_dropout(in.dropout, in.adapter_count, rows);

  ArenaScope scope(*exec.arena);
  const auto multiply = exec.rowwise ? gemm_rowwise : gemm;
  Product products[kMaxAdapters + 1];
  products[0] = Product{Factor{in.x}, Factor{in.weight, true}, 1.0f};
  for (int i = 0; i < in.adapter_count; ++i) {
    const LoraPair& pair = in.adapters[i];
    const bool last = i == in.adapter_count - 1;
    const View u =
        last && in.u ? in.u : exec.arena->matrix(DType::F32, rows, pair.a.rows, MemoryKind::Workspace);
    {
      ArenaScope inner(*exec.arena);
      View x = in.x;
      if (last && masked) {
        x = exec.arena->matrix(in.x.dtype, rows, in.x.cols, MemoryKind::Workspace);
        apply_dropout(exec, in.dropout, in.x, x);
      }
      const Product down{Factor{x}, Factor{pair.a, true}, 1.0f};
      multiply(exec, Gemm{&down, 1, u, false, nullptr});
    }
    products[i + 1] = Product{Factor{u}, Factor{pair.b, true}, pair.scale};
  }
  multiply(exec, Gemm{products, in.adapter_count + 1, in.y, false, in.bias});
}

void linear_backward(Exec& exec, const LinearBackward& in) {
  check(in);
  require(!in.u || in.u.dtype == DType::F32, "u is f32 on the CPU, found ", dtype_name(in.u.dtype));
  const int64_t rows = in.dy.rows;
  const bool trains = static_cast<bool>(in.da);
  const bool masked = has_dropout(in.dropout, in.adapter_count, rows);

  ArenaScope scope(*exec.arena);
  View du[kMaxAdapters];
  for (int i = 0; i < in.adapter_count; ++i) {
    if (!in.dx && !(trains && i == in.adapter_count - 1)) continue;
    du[i] = exec.arena->matrix(DType::F32, rows, in.adapters[i].a.rows, MemoryKind::Workspace);
    product(exec, Factor{in.dy}, Factor{in.adapters[i].b}, 1.0f, du[i], false);
  }

  if (trains) {
    const LoraPair& pair = in.adapters[in.adapter_count - 1];
    ArenaScope inner(*exec.arena);
    View x = in.x;
    if (masked) {
      x = exec.arena->matrix(in.x.dtype, rows, in.x.cols, MemoryKind::Workspace);
      apply_dropout(exec, in.dropout, in.x, x);
    }
    View u = in.u;
    if (!u) {
      u = exec.arena->matrix(DType::F32, rows, pair.a.rows, MemoryKind::Workspace);
      product(exec, Factor{x}, Factor{pair.a, true}, 1.0f, u, false);
    }
    product(exec, Factor{du[in.adapter_count - 1], true}, Factor{x}, pair.scale, in.da, true);
    product(exec, Factor{in.dy, true}, Factor{u}, pair.scale, in.db, true);
  }
  if (in.dweight) {
    product(exec, Factor{in.dy, true}, Factor{in.x}, 1.0f, in.dweight, true);
  }
  if (in.dbias != nullptr) add_column_sums(exec, in.dy, in.dbias);

  if (in.dx) {
    Product products[kMaxAdapters + 1];
    products[0] = Product{Factor{in.dy}, Factor{in.weight}, 1.0f};
    const int direct = masked ? in.adapter_count - 1 : in.adapter_count;
    for (int i = 0; i < direct; ++i) {
      products[i + 1] = Product{Factor{du[i]}, Factor{in.adapters[i].a}, in.adapters[i].scale};
    }
    gemm(exec, Gemm{products, direct + 1, in.dx, in.accumulate_dx, nullptr});
    if (masked) add_dropped_gradient(exec, in.dropout, in.adapters[direct], du[direct], in.dx);
  }
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
