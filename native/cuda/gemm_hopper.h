// The dense product on warpgroups of sm_90a, in builds that have it (FINTUNE_SM90A): what its host side and
// its kernels share. Bits of a result depend on shapes as those of gemm.h do, and not on how wide tiles are.
#pragma once

#include "cuda/gemm_tile.h"
#include "cuda/tensor_map.h"

namespace fintune {
namespace cuda {

// Products of one sum: each needs two maps, and parameters of a kernel are short.
constexpr int kMaxMapped = 4;

struct WarpgroupGemm : TileWork {
  int k[kMaxMapped];  // of each product
};

struct WarpgroupMaps {
  TensorMap a[kMaxMapped], b[kMaxMapped];
};

// Rows of a tile of C, 64 for each of two warpgroups, and step of K.
struct WarpgroupSteps {
  static constexpr int kRows = 128, kStep = 64;
};

struct WarpgroupKernel {
  void (*run)(WarpgroupGemm, WarpgroupMaps);
  int threads;
  size_t shared_bytes;
};

// tile_n: 64, 128 or 256. One file each, so that they compile side by side.
WarpgroupKernel warpgroup_kernel_bf16(Layout layout, int tile_n);
WarpgroupKernel warpgroup_kernel_f16(Layout layout, int tile_n);

// Whether this product goes to them: by the device, the process's choice (core/hopper.h), and by what does
// not depend on M. The factors are staged.
bool for_warpgroups(const Exec& exec, const Gemm& g);
void warpgroup_gemm(Exec& exec, const Gemm& g);

}  // namespace cuda
}  // namespace fintune
