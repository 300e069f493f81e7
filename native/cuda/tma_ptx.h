// The device bodies of tma.h.
#pragma once

#include "cuda/ptx.h"

// Of a parameter whose address a kernel hands on: the address of the parameter itself, not of a copy.
#define GPU_GRID_CONSTANT const __grid_constant__

#define GPU_MBARRIER_ARRIVE(barrier) ::fintune::gpu::mbarrier_arrive(barrier)
#define GPU_MBARRIER_ANNOUNCE(barrier, bytes) ::fintune::gpu::mbarrier_announce(barrier, bytes)
#define GPU_MBARRIER_WAIT(barrier, parity) ::fintune::gpu::mbarrier_wait(barrier, parity)

namespace fintune {
namespace gpu {

GPU_FN void mbarrier_init(uint64_t* barrier, int warps) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(warps)
               : "memory");
}

GPU_FN void mbarrier_arrive(uint64_t* barrier) {
  __syncwarp();
  if (lane() == 0) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
  }
}

GPU_FN void mbarrier_announce(uint64_t* barrier, int bytes) {
  __syncwarp();
  if (lane() == 0) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
  }
}

// The hardware lets a thread sleep for a while at each try.
GPU_FN void mbarrier_wait(uint64_t* barrier, int parity) {
  asm volatile(
      "{\n.reg .pred ended;\ntry:\nmbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
      "@!ended bra try;\n}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

GPU_FN void fetch_map(const cuda::TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

GPU_FN void copy_box(void* to_shared, const cuda::TensorMap& map, int column, int row, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3}], [%4];" ::"r"(shared_address(to_shared)),
      "l"(&map), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
}

// A warpgroup's share of the registers from here on, of each of its threads: a multiple of 8, 24 .. 256. All
// shares of a block that are in use fit into 65536. sm_90a.
template <int kRegisters>
GPU_FN void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
GPU_FN void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace gpu
}  // namespace fintune
