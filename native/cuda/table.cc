// The table of the CUDA backend. An op that no file of this build defines is null.
#include "cuda/ops.h"

namespace fintune {
namespace cuda {

#define FINTUNE_OPTIONAL(op) extern decltype(op) op __attribute__((weak))
FINTUNE_OPTIONAL(embedding_forward);
FINTUNE_OPTIONAL(embedding_backward);
FINTUNE_OPTIONAL(rmsnorm_forward);
FINTUNE_OPTIONAL(rmsnorm_backward);
FINTUNE_OPTIONAL(rope);
FINTUNE_OPTIONAL(attention_forward);
FINTUNE_OPTIONAL(attention_backward);
FINTUNE_OPTIONAL(attention_decode);
FINTUNE_OPTIONAL(swiglu_forward);
FINTUNE_OPTIONAL(swiglu_backward);
FINTUNE_OPTIONAL(linear_forward);
FINTUNE_OPTIONAL(linear_backward);
FINTUNE_OPTIONAL(linear_logprob);
FINTUNE_OPTIONAL(adamw);
FINTUNE_OPTIONAL(global_norm);
FINTUNE_OPTIONAL(sample);
FINTUNE_OPTIONAL(gather_rows);
FINTUNE_OPTIONAL(scatter_rows);
FINTUNE_OPTIONAL(store_rows);

const OpTable& table() {
  static const OpTable ops = {
      "cuda",
      embedding_forward,
      embedding_backward,
      rmsnorm_forward,
      rmsnorm_backward,
      rope,
      attention_forward,
      attention_backward,
      attention_decode,
      swiglu_forward,
      swiglu_backward,
      linear_forward,
      linear_backward,
      linear_logprob,
      adamw,
      global_norm,
      sample,
      gather_rows,
      scatter_rows,
      store_rows,
  };
  return ops;
}

}  // namespace cuda
}  // namespace fintune
