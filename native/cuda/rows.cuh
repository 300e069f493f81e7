// Rows of one element type as kernels see a view, and what their launches share.
#pragma once

#include "cuda/gpu.h"
#include "cuda/launch.h"

namespace fintune {
namespace cuda {

template <typename T>
struct Rows {
  T* data;
  int64_t ld;
  bool wide;  // every row starts at a multiple of 16 bytes
  GPU_FN T* row(int64_t t) const { return data + t * ld; }
  FINTUNE_HD explicit operator bool() const { return data != nullptr; }
};

template <typename T>
Rows<T> rows_of(const View& v) {
  return Rows<T>{v.as<T>(), v.ld, gpu::aligned16(v.data, v.ld, sizeof(T))};
}

inline int64_t blocks_of(int64_t count, int64_t per_block) { return (count + per_block - 1) / per_block; }

// A grid of one dimension.
inline Grid grid_of(int64_t blocks) {
  require(blocks <= 0x7FFFFFFF, "an op on CUDA takes at most 2^31 - 1 blocks, found ", blocks);
  return Grid{static_cast<int>(blocks), 1, 1};
}

}  // namespace cuda
}  // namespace fintune
