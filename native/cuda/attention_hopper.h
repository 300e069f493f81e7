// The launchers of the forward pass on warpgroups of sm_90a, in builds that have it (FINTUNE_SM90A). Kept
// from attention.cuh, so that only what uses it is compiled anew when it changes.
#pragma once

#include "cuda/attention.cuh"

namespace fintune {
namespace cuda {
namespace attention {

// T = bf16 or f16, head_dim of 64 or 128, scale > 0, rows as launch_forward's.
template <class T>
void launch_warpgroup_forward(Exec& exec, const Forward& op);

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
