// The device bodies of wgmma.h: the inline assembly that only sm_90a knows.
#pragma once

#include <type_traits>

#include "cuda/ptx.h"

#define GPU_WGMMA_FENCE() ::fintune::gpu::wgmma_fence()
#define GPU_WGMMA_WAIT(n) ::fintune::gpu::wgmma_wait<n>()
#define GPU_PROXY_FENCE() ::fintune::gpu::proxy_fence()

namespace fintune {
namespace gpu {

GPU_FN void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
GPU_FN void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int n>
GPU_FN void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory");
}
GPU_FN void proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// The compiler moves no access of these registers past here: it does not know that products run on.
template <int kBlocks>
GPU_FN void pin(float (&x)[kBlocks][4]) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(x[n][i])::"memory");
  }
}
template <int kBlocks>
GPU_FN void pin(uint32_t (&x)[kBlocks][4]) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(x[n][i])::"memory");
  }
}

// What x, which is not negative, comes from is computed before the next wait: the compiler would move all
// that no result of it needs behind it, where no product is under way any more. The instruction is never
// executed.
GPU_FN void settle(float x) {
  asm volatile("{\n.reg .pred p;\nsetp.lt.f32 p, %0, 0f00000000;\n@p nanosleep.u32 0;\n}" ::"f"(x)
               : "memory");
}

#define FINTUNE_REGISTERS_64                                                \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
#define FINTUNE_REGISTERS_128                                                        \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "          \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}"
#define FINTUNE_BLOCK(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define FINTUNE_BLOCKS(n) FINTUNE_BLOCK(n), FINTUNE_BLOCK(n + 1), FINTUNE_BLOCK(n + 2), FINTUNE_BLOCK(n + 3)
#define FINTUNE_OUTPUTS_64 FINTUNE_BLOCKS(0), FINTUNE_BLOCKS(4)
#define FINTUNE_OUTPUTS_128 FINTUNE_BLOCKS(0), FINTUNE_BLOCKS(4), FINTUNE_BLOCKS(8), FINTUNE_BLOCKS(12)
// `predicate`, `operands`: numbers of the operands behind the accumulator's; `flags`: the operands' signs,
// and which lie by lines of the columns.
#define FINTUNE_WGMMA(type, columns, predicate, operands, flags, ...)                      \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " predicate                               \
               ", 0;\nwgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type \
               " " FINTUNE_REGISTERS_##columns ", " operands ", p, " flags ";\n}"          \
               : FINTUNE_OUTPUTS_##columns                                                 \
               : __VA_ARGS__)

// c [64, kColumns] = a b^T, + c where `add`; a [64, 16] and b [kColumns, 16] in shared memory.
template <class T, int kColumns>
GPU_FN void wgmma_shared(float (&c)[kColumns / 8][4], uint64_t a, uint64_t b, bool add) {
#define FINTUNE_SHARED_64(type) \
  FINTUNE_WGMMA(type, 64, "%34", "%32, %33", "1, 1, 0, 0", "l"(a), "l"(b), "r"(add ? 1 : 0))
#define FINTUNE_SHARED_128(type) \
  FINTUNE_WGMMA(type, 128, "%66", "%64, %65", "1, 1, 0, 0", "l"(a), "l"(b), "r"(add ? 1 : 0))
  static_assert(kColumns == 64 || kColumns == 128, "products have 64 or 128 columns");
  if constexpr (kColumns == 64) {
    if constexpr (std::is_same_v<T, bf16>) {
      FINTUNE_SHARED_64("bf16");
    } else {
      FINTUNE_SHARED_64("f16");
    }
  } else if constexpr (std::is_same_v<T, bf16>) {
    FINTUNE_SHARED_128("bf16");
  } else {
    FINTUNE_SHARED_128("f16");
  }
#undef FINTUNE_SHARED_64
#undef FINTUNE_SHARED_128
}

#define FINTUNE_LEFT "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])

// c [64, 64] = a b^T, + c where `add`; a [64, 16] in registers, as mma_m16n8k16 takes it, b [64, 16] in
// shared memory.
template <class T>
GPU_FN void wgmma_held(float (&c)[8][4], const uint32_t (&a)[4], uint64_t b, bool add) {
#define FINTUNE_HELD_64(type)                                                                  \
  FINTUNE_WGMMA(type, 64, "%37", "{%32, %33, %34, %35}, %36", "1, 1, 0", FINTUNE_LEFT, "l"(b), \
                "r"(add ? 1 : 0))
  if constexpr (std::is_same_v<T, bf16>) {
    FINTUNE_HELD_64("bf16");
  } else {
    FINTUNE_HELD_64("f16");
  }
#undef FINTUNE_HELD_64
}

// c [64, kColumns] += a b; a [64, 16] in registers, b [16, kColumns] in shared memory.
template <class T, int kColumns>
GPU_FN void wgmma_transposed(float (&c)[kColumns / 8][4], const uint32_t (&a)[4], uint64_t b) {
#define FINTUNE_TRANSPOSED_64(type) \
  FINTUNE_WGMMA(type, 64, "%37", "{%32, %33, %34, %35}, %36", "1, 1, 1", FINTUNE_LEFT, "l"(b), "r"(1))
#define FINTUNE_TRANSPOSED_128(type) \
  FINTUNE_WGMMA(type, 128, "%69", "{%64, %65, %66, %67}, %68", "1, 1, 1", FINTUNE_LEFT, "l"(b), "r"(1))
  static_assert(kColumns == 64 || kColumns == 128, "products have 64 or 128 columns");
  if constexpr (kColumns == 64) {
    if constexpr (std::is_same_v<T, bf16>) {
      FINTUNE_TRANSPOSED_64("bf16");
    } else {
      FINTUNE_TRANSPOSED_64("f16");
    }
  } else if constexpr (std::is_same_v<T, bf16>) {
    FINTUNE_TRANSPOSED_128("bf16");
  } else {
    FINTUNE_TRANSPOSED_128("f16");
  }
#undef FINTUNE_TRANSPOSED_64
#undef FINTUNE_TRANSPOSED_128
}

#undef FINTUNE_LEFT
#undef FINTUNE_WGMMA
#undef FINTUNE_OUTPUTS_64
#undef FINTUNE_OUTPUTS_128
#undef FINTUNE_BLOCKS
#undef FINTUNE_BLOCK
#undef FINTUNE_REGISTERS_64
#undef FINTUNE_REGISTERS_128

}  // namespace gpu
}  // namespace fintune
