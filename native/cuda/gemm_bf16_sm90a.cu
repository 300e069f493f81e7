// The dense product's kernels on warpgroups for bf16.
#include "cuda/gemm_hopper.cuh"

namespace fintune {
namespace cuda {

WarpgroupKernel warpgroup_kernel_bf16(Layout layout, int tile_n) {
  return warpgroup_kernel<bf16>(layout, tile_n);
}

}  // namespace cuda
}  // namespace fintune
