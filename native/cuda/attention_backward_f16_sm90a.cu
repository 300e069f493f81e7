// The backward pass of f16 activations on warpgroups.
#include "cuda/attention_backward_hopper.cuh"

namespace fintune {
namespace cuda {
namespace attention {

template void launch_warpgroup_backward<f16>(Exec& exec, const Backward& op);

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
