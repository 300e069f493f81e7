// The dense product's kernels for bf16.
#include "cuda/gemm_tile.cuh"

namespace fintune {
namespace cuda {

TileKernel tile_kernel_bf16(Layout layout, bool large) {
  return large ? tile_kernel<bf16, 80, LargeTile>(layout) : tile_kernel<bf16, 80, SmallTile>(layout);
}

}  // namespace cuda
}  // namespace fintune
