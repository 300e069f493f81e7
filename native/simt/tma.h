// The host bodies of cuda/tma.h.
#pragma once

#include <cstring>

#include "cuda/tensor_map.h"
#include "simt/simt.h"
#include "simt/tma_runtime.h"

#define GPU_GRID_CONSTANT const

#define FINTUNE_TMA_SITE(kind)                                                                       \
  ([]() -> ::fintune::simt::Site& {                                                                  \
    static ::fintune::simt::Site site{__FILE__, __LINE__, ::fintune::simt::tma_site::kind, nullptr}; \
    return site;                                                                                     \
  }())
#define GPU_MBARRIER_ARRIVE(barrier) \
  ::fintune::simt::mbarrier_arrive(FINTUNE_TMA_SITE(MbarrierArrive), barrier)
#define GPU_MBARRIER_ANNOUNCE(barrier, bytes) \
  ::fintune::simt::mbarrier_announce(FINTUNE_TMA_SITE(MbarrierAnnounce), barrier, bytes)
#define GPU_MBARRIER_WAIT(barrier, parity) \
  ::fintune::simt::mbarrier_wait(FINTUNE_TMA_SITE(MbarrierWait), barrier, parity)

namespace fintune {
namespace gpu {

GPU_FN void mbarrier_init(uint64_t* barrier, int warps GPU_WHERE) {
  simt::mbarrier_init(barrier, warps, where);
}

GPU_FN void fetch_map(const cuda::TensorMap&) {}

GPU_FN void copy_box(void* to_shared, const cuda::TensorMap& map, int column, int row,
                     uint64_t* barrier GPU_WHERE) {
  simt::BoxMap box;
  std::memcpy(&box, &map, sizeof box);
  simt::copy_box(to_shared, box, column, row, barrier, where);
}

template <int kRegisters>
GPU_FN void give_registers(simt::Where where = {__builtin_FILE(), __builtin_LINE()}) {
  simt::set_registers(false, kRegisters, where);
}
template <int kRegisters>
GPU_FN void take_registers(simt::Where where = {__builtin_FILE(), __builtin_LINE()}) {
  simt::set_registers(true, kRegisters, where);
}

}  // namespace gpu
}  // namespace fintune
