// The dense product's kernels for f16.
#include "cuda/gemm_tile.cuh"

namespace fintune {
namespace cuda {

TileKernel tile_kernel_f16(Layout layout, bool large) {
  return large ? tile_kernel<f16, 80, LargeTile>(layout) : tile_kernel<f16, 80, SmallTile>(layout);
}

}  // namespace cuda
}  // namespace fintune
