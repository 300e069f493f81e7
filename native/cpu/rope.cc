// Rotary position embedding, see ops/rope.h.
#include "cpu/isa.h"
#include "cpu/rows.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {

void rope(Exec& exec, const Rope& op) {
  check(op);
  check_activation(op.x, "rope.x");
  if (exec.dry) return;
  const int64_t half = op.x.cols / op.heads / 2;
  for (int64_t t = 0; t < op.x.rows; ++t) {
    require(op.positions[t] >= 0 && op.positions[t] < op.max_position, "rope: token ", t, " has position ",
            op.positions[t], ", expected 0 .. ", op.max_position - 1);
  }
  const Vec sign = set1(op.inverse ? -1.0f : 1.0f);
  with_activation_type(op.x.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    parallel_blocks(exec, op.x.rows, row_block(op.x.cols), [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        const float* cos = op.cos + op.positions[t] * half;
        const float* sin = op.sin + op.positions[t] * half;
        for (int64_t h = 0; h < op.heads; ++h) {
          T* low = row<T>(op.x, t) + h * 2 * half;
          T* high = low + half;
          for_vectors(half, [&](int64_t j, auto whole) {
            const int64_t n = half - j;
            const Vec c = load_part(cos + j, whole, n);
            const Vec s = load_part(sin + j, whole, n) * sign;
            const Vec a = load_part(low + j, whole, n);
            const Vec b = load_part(high + j, whole, n);
            store_part(low + j, a * c - b * s, whole, n);
            store_part(high + j, b * c + a * s, whole, n);
          });
        }
      }
    });
  });
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
