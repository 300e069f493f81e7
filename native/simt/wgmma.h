// The host bodies of cuda/wgmma.h.
#pragma once

#include <type_traits>

#include "simt/simt.h"

#define GPU_WGMMA_FENCE() ::fintune::simt::warpgroup_fence(FINTUNE_SITE(WarpgroupFence))
#define GPU_WGMMA_WAIT(n) ::fintune::simt::warpgroup_wait(FINTUNE_SITE(WarpgroupWait), n)
#define GPU_PROXY_FENCE() ::fintune::simt::proxy_fence(FINTUNE_SITE(ProxyFence))

namespace fintune {
namespace gpu {

GPU_FN uint32_t shared_address(const void* p) { return simt::shared_address(p); }

GPU_FN void wgmma_commit(simt::Where where = {__builtin_FILE(), __builtin_LINE()}) {
  simt::warpgroup_commit(where);
}

// The executor sees registers as they are whenever it is called.
template <class T, int kBlocks>
GPU_FN void pin(T (&)[kBlocks][4]) {}
GPU_FN void settle(float) {}

template <class T, int kColumns>
GPU_FN void wgmma_shared(float (&c)[kColumns / 8][4], uint64_t a, uint64_t b, bool add GPU_WHERE) {
  static_assert(kColumns == 64 || kColumns == 128, "products have 64 or 128 columns");
  constexpr auto kTile = std::is_same_v<T, f16> ? simt::Tile::F16K16 : simt::Tile::BF16K16;
  simt::warpgroup_product({kTile, kColumns, add, false, false}, c[0], nullptr, a, b, where);
}
template <class T>
GPU_FN void wgmma_held(float (&c)[8][4], const uint32_t (&a)[4], uint64_t b, bool add GPU_WHERE) {
  constexpr auto kTile = std::is_same_v<T, f16> ? simt::Tile::F16K16 : simt::Tile::BF16K16;
  simt::warpgroup_product({kTile, 64, add, true, false}, c[0], a, 0, b, where);
}
template <class T, int kColumns>
GPU_FN void wgmma_transposed(float (&c)[kColumns / 8][4], const uint32_t (&a)[4], uint64_t b GPU_WHERE) {
  static_assert(kColumns == 64 || kColumns == 128, "products have 64 or 128 columns");
  constexpr auto kTile = std::is_same_v<T, f16> ? simt::Tile::F16K16 : simt::Tile::BF16K16;
  simt::warpgroup_product({kTile, kColumns, true, true, true}, c[0], a, 0, b, where);
}

}  // namespace gpu
}  // namespace fintune
