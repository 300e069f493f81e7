// The host bodies of cuda/wgmma_operands.h.
#pragma once

#include <type_traits>

#include "simt/simt.h"
#include "simt/wgmma_runtime.h"

namespace fintune {
namespace gpu {

template <class T, int kColumns, bool a_across, bool b_across>
GPU_FN void wgmma_operands(float (&c)[kColumns / 8][4], uint64_t a, uint64_t b GPU_WHERE) {
  static_assert(kColumns == 64 || kColumns == 128 || kColumns == 256, "64, 128 or 256 columns");
  constexpr auto kTile = std::is_same_v<T, f16> ? simt::Tile::F16K16 : simt::Tile::BF16K16;
  simt::warpgroup_operands({kTile, kColumns, true, false, b_across}, a_across, c[0], a, b, where);
}

}  // namespace gpu
}  // namespace fintune
