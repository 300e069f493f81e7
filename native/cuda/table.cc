// The table of the CUDA backend.
#include "cuda/ops.h"

namespace fintune {
namespace cuda {

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
      convert,
  };
  return ops;
}

}  // namespace cuda
}  // namespace fintune
