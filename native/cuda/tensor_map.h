// Descriptions of matrices for TMA (tma.h): made on the host, passed to kernels by value. The host side is
// the driver's, or in test builds the executor's.
#pragma once

#include "ops/legend.h"

namespace fintune {
namespace cuda {

// What the driver makes of it; kernels hand its address on.
struct alignas(64) TensorMap {
  uint64_t words[16];
};

// Elements of 16 bits; data and ld * 2 are multiples of 16.
struct Matrix16 {
  const void* data;
  int64_t rows, columns, ld;
};

// Columns of a box: its lines are as long as those of gpu::swizzled_operand, whose atoms they make up.
constexpr int kBoxColumns = 64;

// Whether the driver of this machine makes maps.
bool has_tensor_maps();

// A map of boxes of `box_rows` rows, at most 256; what lies beyond the matrix reads as zero. Nothing is made
// in dry runs. Throws Device where the driver refuses.
TensorMap tensor_map(const Exec& exec, const Matrix16& matrix, int box_rows);

}  // namespace cuda
}  // namespace fintune
