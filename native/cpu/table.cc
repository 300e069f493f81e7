// The table of the CPU backend for one instruction set.
#include "cpu/isa.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {

const OpTable& table() {
  static const OpTable ops = {
      "cpu",
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

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
