// Products of warpgroups, which only sm_90a knows (wgmma); beside gpu.h for kernels in *_sm90a.cu. On the
// device the functions are wgmma_ptx.h's, in test builds the executor's.
//
// A warpgroup is four warps in a row, of which the first is a multiple of four, and has 64 rows: warp w of it
// rows 16 w .. + 15, in fragments as mma's. All its threads make the same calls. Products run in the
// background, in order:
// - GPU_WGMMA_FENCE(): after registers that a product takes were written or read, before the first product
// - wgmma_...: the products; several into one accumulator may follow each other
// - wgmma_commit(): the products since the last commit become a group
// - GPU_WGMMA_WAIT(n): until at most n groups, the newest, are still under way
//
// Until then their registers must not be touched nor their shared memory be written. They read shared memory
// by another way (the async proxy): GPU_PROXY_FENCE() comes between a thread's own writes, or copies that it
// has waited for, and the barrier that hands them over. All three are sites, one a line.
#pragma once

#include "cuda/gpu.h"

#ifdef FINTUNE_SIMT
#include "simt/wgmma.h"
#else
#include "cuda/wgmma_ptx.h"
#endif

namespace fintune {
namespace gpu {

// An operand in shared memory (PTX ISA, "Matrix Descriptor Format"): atoms of 8 lines of 128 bytes, which
// begin at multiples of 1024; chunk c, of 16 bytes, of line r lies at place c ^ (r % 8). By lines of the
// depth (wgmma_shared, wgmma_held): `stride` bytes from 8 lines to the next 8. By lines of the columns
// (wgmma_transposed): `leading` bytes from 64 columns to the next 64, `stride` from 8 lines of the depth to
// the next 8. Further 16 of the depth lie 32 bytes on, or 16 lines.
constexpr int kSwizzledLine = 128, kSwizzledAtom = 8 * kSwizzledLine;
GPU_FN uint64_t swizzled_operand(const void* start, int leading, int stride) {
  return static_cast<uint64_t>((shared_address(start) & 0x3FFFFu) >> 4) |
         static_cast<uint64_t>(leading >> 4) << 16 | static_cast<uint64_t>(stride >> 4) << 32 |
         uint64_t{1} << 62;
}

// The byte offset in shared memory of the first multiple of `alignment`.
GPU_FN int aligned_offset(uint32_t alignment) {
  return static_cast<int>(-shared_address(shared<char>()) & (alignment - 1));
}

}  // namespace gpu
}  // namespace fintune
