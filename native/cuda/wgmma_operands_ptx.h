// The device bodies of wgmma_operands.h.
#pragma once

#include <type_traits>

#include "cuda/ptx.h"

namespace fintune {
namespace gpu {

#define FINTUNE_SUMS_64                                                    \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define FINTUNE_SUMS_128                                                          \
  FINTUNE_SUMS_64                                                                 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, " \
  "%47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define FINTUNE_SUMS_256                                                             \
  FINTUNE_SUMS_128                                                                   \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, "    \
  "%79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, " \
  "%95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, "  \
  "%109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, "   \
  "%122, %123, %124, %125, %126, %127"
#define FINTUNE_SUM(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define FINTUNE_FOUR(n) FINTUNE_SUM(n), FINTUNE_SUM(n + 1), FINTUNE_SUM(n + 2), FINTUNE_SUM(n + 3)
#define FINTUNE_OUT_64 FINTUNE_FOUR(0), FINTUNE_FOUR(4)
#define FINTUNE_OUT_128 FINTUNE_OUT_64, FINTUNE_FOUR(8), FINTUNE_FOUR(12)
#define FINTUNE_OUT_256 \
  FINTUNE_OUT_128, FINTUNE_FOUR(16), FINTUNE_FOUR(20), FINTUNE_FOUR(24), FINTUNE_FOUR(28)
// a, b, across_a, across_b: numbers of these operands.
#define FINTUNE_ADD(type, columns, a_, b_, across_a, across_b)                                              \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\nwgmma.mma_async.sync.aligned.m64n" #columns         \
               "k16.f32." type "." type " {" FINTUNE_SUMS_##columns "}, " a_ ", " b_ ", p, 1, 1, " across_a \
                                                                    ", " across_b ";\n}"                    \
               : FINTUNE_OUT_##columns                                                                      \
               : "l"(a), "l"(b), "n"(a_across ? 1 : 0), "n"(b_across ? 1 : 0))
#define FINTUNE_ADD_64(type) FINTUNE_ADD(type, 64, "%32", "%33", "%34", "%35")
#define FINTUNE_ADD_128(type) FINTUNE_ADD(type, 128, "%64", "%65", "%66", "%67")
#define FINTUNE_ADD_256(type) FINTUNE_ADD(type, 256, "%128", "%129", "%130", "%131")

template <class T, int kColumns, bool a_across, bool b_across>
GPU_FN void wgmma_operands(float (&c)[kColumns / 8][4], uint64_t a, uint64_t b) {
  static_assert(kColumns == 64 || kColumns == 128 || kColumns == 256, "64, 128 or 256 columns");
  if constexpr (kColumns == 64) {
    if constexpr (std::is_same_v<T, bf16>) {
      FINTUNE_ADD_64("bf16");
    } else {
      FINTUNE_ADD_64("f16");
    }
  } else if constexpr (kColumns == 128) {
    if constexpr (std::is_same_v<T, bf16>) {
      FINTUNE_ADD_128("bf16");
    } else {
      FINTUNE_ADD_128("f16");
    }
  } else if constexpr (std::is_same_v<T, bf16>) {
    FINTUNE_ADD_256("bf16");
  } else {
    FINTUNE_ADD_256("f16");
  }
}

#undef FINTUNE_ADD_64
#undef FINTUNE_ADD_128
#undef FINTUNE_ADD_256
#undef FINTUNE_ADD
#undef FINTUNE_OUT_64
#undef FINTUNE_OUT_128
#undef FINTUNE_OUT_256
#undef FINTUNE_FOUR
#undef FINTUNE_SUM
#undef FINTUNE_SUMS_64
#undef FINTUNE_SUMS_128
#undef FINTUNE_SUMS_256

}  // namespace gpu
}  // namespace fintune
