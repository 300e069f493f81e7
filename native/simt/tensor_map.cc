// The host side of cuda/tensor_map.h in test builds, with what a driver refuses.
#include "cuda/tensor_map.h"

#include <cstring>

#include "core/error.h"
#include "simt/tma_runtime.h"

namespace fintune {
namespace cuda {

bool has_tensor_maps() { return true; }

TensorMap tensor_map(const Exec& exec, const Matrix16& matrix, int box_rows) {
  TensorMap map{};
  if (exec.dry) return map;
  const int64_t stride = matrix.ld * 2;
  const bool accepted = reinterpret_cast<uintptr_t>(matrix.data) % 16 == 0 && stride % 16 == 0 &&
                        stride >= 0 && stride < int64_t{1} << 40 && matrix.rows > 0 && matrix.columns > 0 &&
                        matrix.rows <= int64_t{1} << 32 && matrix.columns <= int64_t{1} << 32 &&
                        box_rows > 0 && box_rows <= 256;
  if (!accepted) {
    fail(ErrorCode::Device, exec.device->name(), ": no driver makes a tensor map of [", matrix.rows, ", ",
         matrix.columns, "] with a leading dimension of ", matrix.ld, " and boxes of ", box_rows, " rows");
  }
  const simt::BoxMap box{
      static_cast<const char*>(matrix.data), matrix.rows, matrix.columns, matrix.ld, box_rows, kBoxColumns};
  static_assert(sizeof box <= sizeof map, "it fits");
  std::memcpy(&map, &box, sizeof box);
  return map;
}

}  // namespace cuda
}  // namespace fintune
