// Copies of boxes of a matrix by the tensor memory accelerator (TMA), and the barriers in shared memory that
// tell of their end (mbarriers): sm_90 and later; beside gpu.h. On the device the functions are tma_ptx.h's,
// in test builds the executor's.
//
// An mbarrier is 8 bytes of shared memory at a multiple of 8, and goes from phase to phase: one ends, and the
// next begins, when as many warps as it counts have arrived and all bytes that they announced have been
// copied. What a warp did before it arrived and what the copies wrote lies before what follows a wait for the
// phase.
// - mbarrier_init(barrier, warps): by one thread; then GPU_PROXY_FENCE() and a barrier of the block
// - GPU_MBARRIER_ARRIVE(barrier): all lanes of a warp, which are in order behind it
// - GPU_MBARRIER_ANNOUNCE(barrier, bytes): the same, and announces copies of that many bytes, which follow
// - GPU_MBARRIER_WAIT(barrier, parity): all lanes of a warp; until the phase of that parity (of its number,
// from
//   0) has ended. The phase before the first counts as ended.
// - fetch_map(map): so that the first copy by it finds it at hand
// - copy_box(to, map, column, row, barrier): by one thread, in the background. The box of `map` whose first
//   element is (row, column), beyond the matrix zeros, to shared memory, swizzled: `to` is a multiple of 1024
//   where it begins an atom.
//
// Copies write by way of the async proxy, as wgmma.h says of products: GPU_PROXY_FENCE() comes between writes
// of threads and a copy to the same place. The three macros are sites, one a line.
#pragma once

#include "cuda/gpu.h"
#include "cuda/tensor_map.h"

#ifdef FINTUNE_SIMT
#include "simt/tma.h"
#else
#include "cuda/tma_ptx.h"
#endif
