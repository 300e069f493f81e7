// The head: logits of some rows at a time, their statistics, and from them the gradient in place.
#include <cmath>

#include "cpu/gemm/gemm.h"
#include "cpu/isa.h"
#include "cpu/simd.h"
#include "ops/linear_checks.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {

namespace {

// Rows whose logits are held at a time: enough to pay for packing the weight, bounded in memory.
constexpr int64_t kLogitBytes = int64_t{96} << 20;
constexpr int64_t kMinRows = 128, kMaxRows = 1024;

int64_t chunk_rows(int64_t rows, int64_t vocab) {
  int64_t n = kLogitBytes / (4 * (vocab < 1 ? 1 : vocab));
  n = n < kMinRows ? kMinRows : n > kMaxRows ? kMaxRows : n;
  return rows < n ? rows : n;
}

struct RowStatistics {
  float max;
  double sum;       // of e_v = exp(z_v - max)
  double weighted;  // of e_v (z_v - max)
};

float row_max(const float* z, int64_t n) {
  Vec a = set1(-INFINITY), b = a;
  int64_t i = 0;
  for (; i + 2 * kWidth <= n; i += 2 * kWidth) {
    a = max(load(z + i), a);
    b = max(load(z + i + kWidth), b);
  }
  for (; i < n; i += kWidth) {
    const int w = static_cast<int>(n - i < kWidth ? n - i : kWidth);
    a = max(first_n(load_n(z + i, w), w, set1(-INFINITY)), a);
  }
  return reduce_max(max(a, b));
}

// e = exp(z - max) is left in z where kKeep. Blocks of fixed size are summed in float lanes, the blocks in
// double.
template <bool kKeep, bool kEntropy>
RowStatistics row_sums(float* z, int64_t n, float top) {
  constexpr int64_t kBlock = 2048;
  RowStatistics s{top, 0, 0};
  const Vec shift = set1(top);
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t last = n - first < kBlock ? n : first + kBlock;
    Vec sum = zero(), weighted = zero();
    for (int64_t i = first; i < last; i += kWidth) {
      const int w = static_cast<int>(last - i < kWidth ? last - i : kWidth);
      const Vec d = sub(w == kWidth ? load(z + i) : load_n(z + i, w), shift);
      Vec e = exp(d);
      if (w < kWidth) e = first_n(e, w, zero());
      sum = add(sum, e);
      if (kEntropy) weighted = fma(e, w == kWidth ? d : first_n(d, w, zero()), weighted);
      if (kKeep) {
        if (w == kWidth) {
          store(z + i, e);
        } else {
          store_n(z + i, e, w);
        }
      }
    }
    s.sum += reduce_add(sum);
    if (kEntropy) s.weighted += reduce_add(weighted);
  }
  return s;
}

RowStatistics row_statistics(float* z, int64_t n, bool keep, bool entropy) {
  const float top = row_max(z, n);
  if (keep) return entropy ? row_sums<true, true>(z, n, top) : row_sums<true, false>(z, n, top);
  return entropy ? row_sums<false, true>(z, n, top) : row_sums<false, false>(z, n, top);
}

void scale_row(float* z, int64_t n, float factor) {
  const Vec f = set1(factor);
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(z + i, mul(load(z + i), f));
  if (i < n) store_n(z + i, mul(load_n(z + i, static_cast<int>(n - i)), f), static_cast<int>(n - i));
}

}  // namespace

void linear_logprob(Exec& exec, const LinearLogprob& in) {
  const int64_t rows = in.hidden.rows, vocab = in.weight.rows;
  check(in);
  if (!exec.dry) check_targets(in.targets, rows, vocab);

  const bool gradient = in.dhidden || in.dweight;
  const bool in_place = in.logits && !gradient;  // no workspace: the logits are wanted as they are
  const int64_t chunk = chunk_rows(rows, vocab);
  ArenaScope scope(*exec.arena);
  View space;
  if (!in_place) space = exec.arena->matrix(DType::F32, chunk, vocab, MemoryKind::Logits);

  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t n = rows - first < chunk ? rows - first : chunk;
    const View hidden = in.hidden.slice(first, n);
    const View z = in_place ? in.logits.slice(first, n) : space.slice(0, n);
    const Product forward{Factor{hidden}, Factor{in.weight, true}, 1.0f};
    (exec.rowwise ? gemm_rowwise : gemm)(exec, Gemm{&forward, 1, z, false, nullptr});

    if (!exec.dry) {
      exec.threads->parallel_for(n, [&](int64_t i, int) {
        const int64_t t = first + i;
        float* row = z.f32() + i * z.ld;
        if (in.logits && !in_place)
          std::memcpy(in.logits.f32() + t * in.logits.ld, row, static_cast<size_t>(vocab) * 4);
        const float score = row[in.targets[t]];
        const RowStatistics s = row_statistics(row, vocab, gradient, in.entropy != nullptr);
        const double log_sum = std::log(s.sum);
        if (in.logprob != nullptr) {
          in.logprob[t] =
              static_cast<float>((static_cast<double>(score) - static_cast<double>(s.max)) - log_sum);
        }
        if (in.entropy != nullptr) in.entropy[t] = static_cast<float>(log_sum - s.weighted / s.sum);
        if (gradient) {
          scale_row(row, vocab, static_cast<float>(-static_cast<double>(in.weights[t]) / s.sum));
          row[in.targets[t]] += in.weights[t];
        }
      });
    }
    if (in.dweight) {  // before dhidden, which may lie where hidden does
      const Product p{Factor{z, true}, Factor{hidden}, 1.0f};
      gemm(exec, Gemm{&p, 1, in.dweight, true, nullptr});
    }
    if (in.dhidden) {
      const Product p{Factor{z}, Factor{in.weight}, 1.0f};
      gemm(exec, Gemm{&p, 1, in.dhidden.slice(first, n), false, nullptr});
    }
  }
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
