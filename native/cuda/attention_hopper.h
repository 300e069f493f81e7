// The launchers of attention on warpgroups of sm_90a, in builds that have it (FINTUNE_SM90A). Kept from
// attention.cuh, so that only what uses them is compiled anew when they change.
#pragma once

#include "cuda/attention.cuh"

namespace fintune {
namespace cuda {
namespace attention {

// T = bf16 or f16, head_dim of 64 or 128, scale > 0 in the forward pass, rows as launch_forward's.
template <class T>
void launch_warpgroup_forward(Exec& exec, const Forward& op);
template <class T>
void launch_warpgroup_backward(Exec& exec, const Backward& op);

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
