// Which code multiplies large dense matrices in bf16 and f16 on a GPU: our own kernels, or cuBLASLt where it
// is present.
#pragma once

#include <string>
#include <vector>

#include "cuda/cublaslt.h"

namespace fintune {
namespace cuda {

// Files that may be cuBLASLt, tried before the system's (libcublasLt.so.13, .12, .11) but after
// $FINTUNE_CUBLASLT. Heeded until the first product.
void set_gemm_library_files(std::vector<std::string> files);

struct GemmLibrary {
  std::string name;    // "cuBLASLt 13.1.0 (libcublasLt.so.13)", or "" where our own kernels multiply
  std::string reason;  // why they do
};
// Opens the library if that was not tried yet. $FINTUNE_GEMM: "own" forbids it, "cublaslt" demands it (throws
// Device where it does not open).
GemmLibrary gemm_library();

// Whether products on this Exec's device go to the library.
bool has_gemm_library(const Exec& exec);

// Queues the product, workspace from the arena. False: it must be made otherwise. In dry runs only the
// workspace is taken.
bool library_gemm(Exec& exec, const DenseProduct& p);

}  // namespace cuda
}  // namespace fintune
