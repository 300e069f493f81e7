// SwiGLU, see ops/swiglu.h.
#include "cpu/isa.h"
#include "cpu/rows.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {
namespace {

FINTUNE_INLINE Vec sigmoid(Vec x) { return set1(1.0f) / (set1(1.0f) + exp(zero() - x)); }

}  // namespace

void swiglu_forward(Exec& exec, const SwigluForward& op) {
  check(op);
  check_activation(op.gate, "swiglu.gate");
  if (exec.dry) return;
  const int64_t cols = op.gate.cols;
  with_activation_type(op.gate.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    parallel_blocks(exec, op.gate.rows, row_block(cols), [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        const T* gate = row<T>(op.gate, t);
        const T* up = row<T>(op.up, t);
        T* h = row<T>(op.h, t);
        for_vectors(cols, [&](int64_t j, auto whole) {
          const int64_t n = cols - j;
          const Vec g = load_part(gate + j, whole, n);
          store_part(h + j, g * sigmoid(g) * load_part(up + j, whole, n), whole, n);
        });
      }
    });
  });
}

void swiglu_backward(Exec& exec, const SwigluBackward& op) {
  check(op);
  check_activation(op.gate, "swiglu.gate");
  if (exec.dry) return;
  const int64_t cols = op.gate.cols;
  with_activation_type(op.gate.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    parallel_blocks(exec, op.gate.rows, row_block(cols), [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        const T* gate = row<T>(op.gate, t);
        const T* up = row<T>(op.up, t);
        const T* dh = row<T>(op.dh, t);
        T* dgate = row<T>(op.dgate, t);
        T* dup = row<T>(op.dup, t);
        T* h = op.h ? row<T>(op.h, t) : nullptr;
        for_vectors(cols, [&](int64_t j, auto whole) {
          const int64_t n = cols - j;
          const Vec g = load_part(gate + j, whole, n);
          const Vec u = load_part(up + j, whole, n);
          const Vec d = load_part(dh + j, whole, n);
          const Vec s = sigmoid(g);
          // The same order of factors as in the forward: h must have the same bits.
          if (h) store_part(h + j, g * s * u, whole, n);
          store_part(dup + j, d * (g * s), whole, n);
          store_part(dgate + j, d * u * (s * (set1(1.0f) + g * (set1(1.0f) - s))), whole, n);
        });
      }
    });
  });
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
