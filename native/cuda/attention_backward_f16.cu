// The backward pass of f16 activations.
#include "cuda/attention_dispatch.cuh"

namespace fintune {
namespace cuda {
namespace attention {

template void launch_backward<f16>(Exec& exec, const Backward& op);

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
