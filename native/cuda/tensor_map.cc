// Tensor maps by the driver, whose library is not linked: the runtime finds the function.
#include "cuda/tensor_map.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "core/error.h"

namespace fintune {
namespace cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const char* const name = "cuTensorMapEncodeTiled";
#if CUDART_VERSION >= 12050
  const cudaError_t status =
      cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &found);
#else
  const cudaError_t status = cudaGetDriverEntryPoint(name, &function, cudaEnableDefault, &found);
#endif
  if (status != cudaSuccess) cudaGetLastError();
  const bool there = status == cudaSuccess && found == cudaDriverEntryPointSuccess;
  return there ? reinterpret_cast<Encode>(function) : nullptr;
}

Encode encode() {
  static const Encode function = find_encode();
  return function;
}

}  // namespace

bool has_tensor_maps() { return encode() != nullptr; }

TensorMap tensor_map(const Exec& exec, const Matrix16& matrix, int box_rows) {
  static_assert(sizeof(TensorMap) == sizeof(CUtensorMap), "a tensor map is 128 bytes");
  CUtensorMap map{};
  if (!exec.dry) {
    const cuuint64_t size[] = {static_cast<cuuint64_t>(matrix.columns), static_cast<cuuint64_t>(matrix.rows)};
    const cuuint64_t stride[] = {static_cast<cuuint64_t>(matrix.ld) * 2};
    const cuuint32_t box[] = {kBoxColumns, static_cast<cuuint32_t>(box_rows)}, step[] = {1, 1};
    const CUresult status =
        encode()(&map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 2, const_cast<void*>(matrix.data), size, stride, box,
                 step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (status != CUDA_SUCCESS) {
      fail(ErrorCode::Device, exec.device->name(), ": the driver makes no tensor map of [", matrix.rows, ", ",
           matrix.columns, "] with a leading dimension of ", matrix.ld, ": error ", static_cast<int>(status));
    }
  }
  TensorMap copy;
  __builtin_memcpy(&copy, &map, sizeof copy);
  return copy;
}

}  // namespace cuda
}  // namespace fintune
