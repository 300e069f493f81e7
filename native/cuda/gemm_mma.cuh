// The step of a product that both tensor-core kernels take: 16 x 8 of C, 16 of K.
#pragma once

#include "cuda/gpu.h"

namespace fintune {
namespace cuda {

// c += a b with the operands of gpu::mma_m16n8k16; sm_75 takes two steps of 8.
template <typename T, int kArch>
GPU_FN void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (kArch >= 80) {
    const uint32_t b[2] = {b0, b1};
    gpu::mma_m16n8k16<T>(c, a, b);
  } else {
    const uint32_t low_a[2] = {a[0], a[1]}, high_a[2] = {a[2], a[3]};
    const uint32_t low_b[1] = {b0}, high_b[1] = {b1};
    gpu::mma_m16n8k8(c, low_a, low_b);
    gpu::mma_m16n8k8(c, high_a, high_b);
  }
}

// True where this compilation makes code for a device that runs the kArch form of a kernel.
template <int kArch>
GPU_FN constexpr bool runs_here() {
#ifdef __CUDA_ARCH__
  return kArch >= 80 ? __CUDA_ARCH__ >= 800 : __CUDA_ARCH__ < 800;
#else
  return true;
#endif
}

}  // namespace cuda
}  // namespace fintune
