// The dense product's kernels for f16 on sm_75, which has smaller matrix operations and no background copies.
#include "cuda/gemm_tile.cuh"

namespace fintune {
namespace cuda {

TileKernel tile_kernel_f16_sm75(Layout layout, bool large) {
  return large ? tile_kernel<f16, 75, LargeTile75>(layout) : tile_kernel<f16, 75, SmallTile75>(layout);
}

}  // namespace cuda
}  // namespace fintune
