// The dense product's kernels on warpgroups for f16.
#include "cuda/gemm_hopper.cuh"

namespace fintune {
namespace cuda {

WarpgroupKernel warpgroup_kernel_f16(Layout layout, int tile_n) {
  return warpgroup_kernel<f16>(layout, tile_n);
}

}  // namespace cuda
}  // namespace fintune
