// The forward pass of bf16 activations on warpgroups.
#include "cuda/attention_hopper.cuh"

namespace fintune {
namespace cuda {
namespace attention {

template void launch_warpgroup_forward<bf16>(Exec& exec, const Forward& op);

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
