// What kernels are written with, and the only header that they include for it. On the device the functions
// are ptx.h's; in test builds (FINTUNE_SIMT) the same names are the executor's, which runs a kernel on the
// host.
//
// Kernels:   GPU_KERNEL(max_threads, min_blocks) void name(Params p) { ... }   parameters are PODs by value.
// Helpers:   GPU_FN T name(...)                                               inlined; arrays by reference.
// Blocks have one dimension and whole warps. Every collective (shuffles, ballot, matrix operations, syncs,
// barriers) is for all 32 lanes of a warp, each barrier for all threads of its block or of the warps that it
// names. No thread leaves a kernel while others still meet. There are no atomics and no shared memory but
// shared<T>().
//
// Sites: GPU_BARRIER, GPU_NAMED_BARRIER, GPU_WARP_SYNC, GPU_ASYNC_WAIT and GPU_SWIZZLE are places that tests
// switch off one by one, known by file and line, so write one a line; each must be needed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace fintune {
namespace gpu {

struct alignas(16) Vec16 {
  uint32_t w[4];
};

constexpr uint32_t kAllLanes = 0xFFFFFFFFu;

}  // namespace gpu
}  // namespace fintune

#ifdef FINTUNE_SIMT
#include "simt/simt.h"
#else
#include "cuda/ptx.h"
#endif

namespace fintune {
namespace gpu {

using fintune::from_float;
using fintune::to_float;

GPU_FN int lane() { return thread() & 31; }
GPU_FN int warp() { return thread() >> 5; }

template <class T>
GPU_FN T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
GPU_FN T max(T a, T b) {
  return a < b ? b : a;
}

// Over the 32 lanes, as a tree of exchanges (16, 8, 4, 2, 1): every lane gets the same bits.
template <class T>
GPU_FN T warp_sum(T v GPU_WHERE) {
  for (int distance = 16; distance > 0; distance /= 2) v += shuffle_xor(v, distance GPU_THERE);
  return v;
}
template <class T>
GPU_FN T warp_max(T v GPU_WHERE) {
  for (int distance = 16; distance > 0; distance /= 2) v = max(v, shuffle_xor(v, distance GPU_THERE));
  return v;
}

// True where 16-byte accesses may be used on rows that start at `p`, `ld` elements of `size` bytes apart.
FINTUNE_HD inline bool aligned16(const void* p, int64_t ld, size_t size) {
  return (reinterpret_cast<uintptr_t>(p) | (static_cast<size_t>(ld) * size)) % 16 == 0;
}

}  // namespace gpu
}  // namespace fintune
