// The backward pass of bf16 activations.
#include "cuda/attention_dispatch.cuh"

namespace fintune {
namespace cuda {
namespace attention {

template void launch_backward<bf16>(Exec& exec, const Backward& op);

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
