// The host bodies of gpu.h: a kernel's thread is a fiber of the executor (executor.h).
#pragma once

#include <cmath>
#include <cstring>
#include <type_traits>

#include "core/dtype.h"
#include "simt/runtime.h"

#define GPU_KERNEL(max_threads, min_blocks)
#define GPU_FN inline __attribute__((always_inline))
#define GPU_WHERE , ::fintune::simt::Where where = {__builtin_FILE(), __builtin_LINE()}
#define GPU_THERE , where

#define FINTUNE_SITE(kind)                                                                           \
  ([]() -> ::fintune::simt::Site& {                                                                  \
    static ::fintune::simt::Site site{__FILE__, __LINE__, ::fintune::simt::SiteKind::kind, nullptr}; \
    return site;                                                                                     \
  }())
#define GPU_BARRIER() ::fintune::simt::barrier(FINTUNE_SITE(Barrier))
#define GPU_NAMED_BARRIER(id, n) ::fintune::simt::named_barrier(FINTUNE_SITE(NamedBarrier), id, n)
#define GPU_WARP_SYNC() ::fintune::simt::warp_sync(FINTUNE_SITE(WarpSync))
#define GPU_ASYNC_WAIT(n) ::fintune::simt::async_wait(FINTUNE_SITE(AsyncWait), n)
#define GPU_SWIZZLE(swizzled, plain) (::fintune::simt::enabled(FINTUNE_SITE(Swizzle)) ? (swizzled) : (plain))

namespace fintune {
namespace gpu {

GPU_FN int thread() { return simt::thread_index(); }
GPU_FN int threads() { return simt::thread_count(); }
GPU_FN int block_x() { return simt::block_index(0); }
GPU_FN int block_y() { return simt::block_index(1); }
GPU_FN int block_z() { return simt::block_index(2); }
GPU_FN int grid_x() { return simt::grid_size(0); }
GPU_FN int grid_y() { return simt::grid_size(1); }
GPU_FN int grid_z() { return simt::grid_size(2); }

template <class T>
GPU_FN T* shared(size_t byte_offset = 0) {
  return reinterpret_cast<T*>(simt::shared_memory() + byte_offset);
}

template <class T>
GPU_FN T exchange(simt::Exchange how, T v, int operand, simt::Where where) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof(T));
  bits = simt::exchange(how, bits, operand, where);
  std::memcpy(&v, &bits, sizeof(T));
  return v;
}
template <class T>
GPU_FN T shuffle_xor(T v, int mask GPU_WHERE) {
  return exchange(simt::Exchange::Xor, v, mask, where);
}
template <class T>
GPU_FN T shuffle(T v, int from_lane GPU_WHERE) {
  return exchange(simt::Exchange::From, v, from_lane, where);
}
template <class T>
GPU_FN T shuffle_up(T v, int d GPU_WHERE) {
  return exchange(simt::Exchange::Up, v, d, where);
}
template <class T>
GPU_FN T shuffle_down(T v, int d GPU_WHERE) {
  return exchange(simt::Exchange::Down, v, d, where);
}
GPU_FN uint32_t ballot(bool p GPU_WHERE) { return simt::vote(p, where); }

GPU_FN void trap() { __builtin_trap(); }

GPU_FN void cp_async_16(void* to_shared, const void* global, bool valid GPU_WHERE) {
  simt::copy_async(to_shared, global, valid, where);
}
GPU_FN void cp_async_commit() { simt::commit_async(); }

GPU_FN void ldmatrix_x4(uint32_t (&r)[4], const void* row GPU_WHERE) {
  simt::load_matrices(r, 4, false, row, where);
}
GPU_FN void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row GPU_WHERE) {
  simt::load_matrices(r, 4, true, row, where);
}
GPU_FN void ldmatrix_x2(uint32_t (&r)[2], const void* row GPU_WHERE) {
  simt::load_matrices(r, 2, false, row, where);
}
GPU_FN void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row GPU_WHERE) {
  simt::load_matrices(r, 2, true, row, where);
}

template <class T>
GPU_FN void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] GPU_WHERE) {
  static_assert(std::is_same_v<T, f16> || std::is_same_v<T, bf16>, "operands are bf16 or f16");
  simt::multiply_accumulate(std::is_same_v<T, f16> ? simt::Tile::F16K16 : simt::Tile::BF16K16, c, a, b,
                            where);
}
GPU_FN void mma_m16n8k8(float (&c)[4], const uint32_t (&a)[2], const uint32_t (&b)[1] GPU_WHERE) {
  simt::multiply_accumulate(simt::Tile::F16K8, c, a, b, where);
}

GPU_FN Vec16 load16(const void* p) {
  Vec16 v;
  simt::read16(&v, p);
  return v;
}
GPU_FN void store16(void* p, Vec16 v) { simt::write16(p, &v); }

// As the hardware's approximations, subnormal numbers count as 0.
inline float without_subnormals(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
GPU_FN float exp2(float x) { return without_subnormals(std::exp2(x)); }
GPU_FN float log2(float x) { return std::log2(without_subnormals(x)); }
GPU_FN float reciprocal(float x) { return without_subnormals(1.0f / without_subnormals(x)); }
GPU_FN float exp(float x) { return std::exp(x); }
GPU_FN float log(float x) { return std::log(x); }
GPU_FN float rsqrt(float x) { return 1.0f / std::sqrt(x); }
GPU_FN float sqrt(float x) { return std::sqrt(x); }
GPU_FN float min(float a, float b) { return std::fmin(a, b); }
GPU_FN float max(float a, float b) { return std::fmax(a, b); }
GPU_FN float fma(float a, float b, float c) { return std::fma(a, b, c); }
GPU_FN uint32_t umulhi(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32);
}

template <class T>
GPU_FN uint32_t pack2(float low, float high) {
  return static_cast<uint32_t>(from_float<T>(low).bits) | static_cast<uint32_t>(from_float<T>(high).bits)
                                                              << 16;
}

}  // namespace gpu
}  // namespace fintune
