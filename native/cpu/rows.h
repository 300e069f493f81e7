// Argument checks and row-parallel loops that the CPU ops share.
#pragma once

#include <algorithm>

#include "cpu/simd.h"
#include "ops/row_checks.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {

inline void check_activation(const View& v, const char* name) {
  require(v.dtype == DType::F32 || v.dtype == DType::BF16, name, ": activations are f32 or bf16, found ",
          dtype_name(v.dtype));
}

template <typename T>
FINTUNE_INLINE T* row(const View& v, int64_t r) {
  return static_cast<T*>(v.data) + r * v.ld;
}

// fn(first, last) over blocks of `block` items; the blocks do not depend on the number of threads.
template <typename Fn>
void parallel_blocks(Exec& exec, int64_t count, int64_t block, Fn&& fn) {
  exec.threads->parallel_for((count + block - 1) / block, [&](int64_t task, int) {
    fn(task * block, std::min(count, (task + 1) * block));
  });
}

// Rows that make a task of about 16K elements: enough to pay for handing it out, few enough to share evenly.
inline int64_t row_block(int64_t cols) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, cols)); }

// body(column, whole) for whole vectors (whole = true_type), then once for the rest (false_type), so that
// only the rest pays for masks.
template <typename Body>
FINTUNE_INLINE void for_vectors(int64_t cols, Body&& body) {
  int64_t j = 0;
  for (; j + kWidth <= cols; j += kWidth) body(j, std::true_type());
  if (j < cols) body(j, std::false_type());
}

// Loads and stores of for_vectors: `whole` as it was passed to the body, n the columns that are left.
template <typename T>
FINTUNE_INLINE Vec load_part(const T* p, std::true_type, int64_t) {
  return load(p);
}
template <typename T>
FINTUNE_INLINE Vec load_part(const T* p, std::false_type, int64_t n) {
  return load_n(p, static_cast<int>(n));
}
template <typename T>
FINTUNE_INLINE void store_part(T* p, Vec x, std::true_type, int64_t) {
  store(p, x);
}
template <typename T>
FINTUNE_INLINE void store_part(T* p, Vec x, std::false_type, int64_t n) {
  store_n(p, x, static_cast<int>(n));
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
