// RMSNorm with the residual addition, see ops/rmsnorm.h.
#include <cmath>

#include "cpu/isa.h"
#include "cpu/rows.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {
namespace {

// Rows whose dweight is summed before blocks are added up: a part of the op's definition, not a tuning knob.
constexpr int64_t kWeightRows = 64;
constexpr int64_t kWeightColumns = 256;

// S: type of the residual stream, T: of the normalised rows.
template <typename S, typename T>
void forward_row(const RmsNormForward& op, int64_t t) {
  const int64_t cols = op.x.cols;
  const S* x = row<S>(op.x, t);
  Vec squares = zero();
  if (op.x_out) {
    S* out = row<S>(op.x_out, t);
    const S* delta = op.delta ? row<S>(op.delta, t) : nullptr;
    for_vectors(cols, [&](int64_t j, auto whole) {
      Vec v = load_part(x + j, whole, cols - j);
      if (delta) v = v + load_part(delta + j, whole, cols - j);
      store_part(out + j, v, whole, cols - j);
      // What was stored counts: in bf16 it has been rounded.
      if (sizeof(S) == 2) v = load_part(out + j, whole, cols - j);
      squares = fma(v, v, squares);
    });
    x = out;
  } else {
    for_vectors(cols, [&](int64_t j, auto whole) {
      const Vec v = load_part(x + j, whole, cols - j);
      squares = fma(v, v, squares);
    });
  }
  const float rstd = 1.0f / std::sqrt(reduce_add(squares) / static_cast<float>(cols) + op.eps);
  if (op.rstd) op.rstd[t] = rstd;
  T* y = row<T>(op.y, t);
  const Vec scale = set1(rstd);
  for_vectors(cols, [&](int64_t j, auto whole) {
    const Vec n = load_part(x + j, whole, cols - j) * scale;
    store_part(y + j, n * load_part(op.weight + j, whole, cols - j), whole, cols - j);
  });
}

template <typename S, typename T>
void backward_row(const RmsNormBackward& op, int64_t t, float* dweight) {
  const int64_t cols = op.x.cols;
  const S* x = row<S>(op.x, t);
  const T* dy = row<T>(op.dy, t);
  S* dx = row<S>(op.dx, t);
  const Vec rstd = set1(op.rstd[t]);
  Vec dot = zero();
  for_vectors(cols, [&](int64_t j, auto whole) {
    const int64_t n = cols - j;
    const Vec d = load_part(dy + j, whole, n);
    const Vec normed = load_part(x + j, whole, n) * rstd;
    if (dweight) store_part(dweight + j, fma(d, normed, load_part(dweight + j, whole, n)), whole, n);
    dot = fma(d * load_part(op.weight + j, whole, n), normed, dot);
  });
  const Vec mean = set1(reduce_add(dot) / static_cast<float>(cols));
  for_vectors(cols, [&](int64_t j, auto whole) {
    const int64_t n = cols - j;
    const Vec g = load_part(dy + j, whole, n) * load_part(op.weight + j, whole, n);
    const Vec normed = load_part(x + j, whole, n) * rstd;
    Vec d = rstd * (g - normed * mean);
    if (op.accumulate) d = d + load_part(dx + j, whole, n);
    store_part(dx + j, d, whole, n);
  });
}

// Calls fn with null pointers of the two types.
template <typename Fn>
void with_stream_types(const View& x, const View& normalised, Fn&& fn) {
  with_activation_type(normalised.dtype, [&](auto* normalised_tag) {
    if (x.dtype == DType::F32) {
      fn(static_cast<float*>(nullptr), normalised_tag);
    } else {
      fn(normalised_tag, normalised_tag);
    }
  });
}

}  // namespace

void rmsnorm_forward(Exec& exec, const RmsNormForward& op) {
  check(op, exec.dry);
  check_activation(op.y, "rmsnorm.y");
  if (exec.dry) return;
  with_stream_types(op.x, op.y, [&](auto* stream, auto* normalised) {
    using S = std::remove_pointer_t<decltype(stream)>;
    using T = std::remove_pointer_t<decltype(normalised)>;
    parallel_blocks(exec, op.x.rows, row_block(op.x.cols), [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) forward_row<S, T>(op, t);
    });
  });
}

void rmsnorm_backward(Exec& exec, const RmsNormBackward& op) {
  check(op);
  check_activation(op.dy, "rmsnorm.dy");
  const int64_t cols = op.x.cols;
  const int64_t blocks = (op.x.rows + kWeightRows - 1) / kWeightRows;
  ArenaScope scope(*exec.arena);
  float* partial = op.dweight ? exec.arena->floats(blocks * cols, MemoryKind::Workspace) : nullptr;
  if (exec.dry) return;
  with_stream_types(op.x, op.dy, [&](auto* stream, auto* normalised) {
    using S = std::remove_pointer_t<decltype(stream)>;
    using T = std::remove_pointer_t<decltype(normalised)>;
    parallel_blocks(exec, op.x.rows, kWeightRows, [&](int64_t first, int64_t last) {
      float* sum = partial ? partial + first / kWeightRows * cols : nullptr;
      if (sum) std::fill(sum, sum + cols, 0.0f);
      for (int64_t t = first; t < last; ++t) backward_row<S, T>(op, t, sum);
    });
  });
  if (!partial) return;
  parallel_blocks(exec, cols, kWeightColumns, [&](int64_t first, int64_t last) {
    const int64_t n = last - first;
    for (int64_t b = 0; b < blocks; ++b) {
      const float* sum = partial + b * cols + first;
      float* total = op.dweight + first;
      for_vectors(n, [&](int64_t j, auto whole) {
        store_part(total + j, load_part(total + j, whole, n - j) + load_part(sum + j, whole, n - j), whole,
                   n - j);
      });
    }
  });
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
