// The forward pass of bf16 activations.
#include "cuda/attention_dispatch.cuh"

namespace fintune {
namespace cuda {
namespace attention {

template void launch_forward<bf16>(Exec& exec, const Forward& op);

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
