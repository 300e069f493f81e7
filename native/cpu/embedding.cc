// Token embedding, see ops/embedding.h.
#include "cpu/isa.h"
#include "cpu/rows.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {
namespace {

void check_ids(const int32_t* ids, int64_t tokens, int64_t vocab) {
  for (int64_t t = 0; t < tokens; ++t) {
    require(ids[t] >= 0 && ids[t] < vocab, "embedding: token ", t, " has id ", ids[t], ", expected 0 .. ",
            vocab - 1);
  }
}

template <typename W, typename T>
void gather(Exec& exec, const EmbeddingForward& op) {
  const int64_t cols = op.y.cols;
  parallel_blocks(exec, op.y.rows, row_block(cols), [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      const W* from = row<W>(op.weight, op.ids[t]);
      T* to = row<T>(op.y, t);
      for_vectors(cols, [&](int64_t j, auto whole) {
        store_part(to + j, load_part(from + j, whole, cols - j), whole, cols - j);
      });
    }
  });
}

}  // namespace

void embedding_forward(Exec& exec, const EmbeddingForward& op) {
  check(op);
  check_activation(op.y, "embedding.y");
  if (exec.dry) return;
  check_ids(op.ids, op.y.rows, op.weight.rows);
  with_activation_type(op.y.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    with_float_type(op.weight.dtype, [&](auto* weight_tag) {
      gather<std::remove_pointer_t<decltype(weight_tag)>, T>(exec, op);
    });
  });
}

// Each task owns a range of columns and walks all tokens in order, so no two tasks meet and the order of a
// row's additions is fixed.
void embedding_backward(Exec& exec, const EmbeddingBackward& op) {
  check(op);
  check_activation(op.dy, "embedding.dy");
  if (exec.dry) return;
  check_ids(op.ids, op.dy.rows, op.dweight.rows);
  constexpr int64_t kColumns = 64;
  with_activation_type(op.dy.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    parallel_blocks(exec, op.dy.cols, kColumns, [&](int64_t first, int64_t last) {
      for (int64_t t = 0; t < op.dy.rows; ++t) {
        const T* from = row<T>(op.dy, t) + first;
        float* to = row<float>(op.dweight, op.ids[t]) + first;
        const int64_t cols = last - first;
        for_vectors(cols, [&](int64_t j, auto whole) {
          const Vec sum = load_part(to + j, whole, cols - j) + load_part(from + j, whole, cols - j);
          store_part(to + j, sum, whole, cols - j);
        });
      }
    });
  });
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
