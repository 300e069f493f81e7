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
  std::string name;         // "cuBLASLt 13.1.0 (libcublasLt.so.13)", or "" where our own kernels multiply
  std::string reason;       // why they do
  std::string passed_over;  // beside a library: files that were there or named, and why they are not used
};
// Opens the library if that was not tried yet. $FINTUNE_GEMM: "own" forbids it, "cublaslt" demands it (throws
// Device where it does not open); Argument for anything else.
GemmLibrary gemm_library();

// Products of the process that were meant for the library, on all devices.
struct GemmCounts {
  int64_t library = 0;  // it made them
  int64_t own = 0;      // it was there and did not offer them, so our own kernels did
  std::string first;    // the first of those: "NT bf16 to f32, 4096 x 1536 x 8960"
};
GemmCounts gemm_counts();

// Whether products on this Exec's device go to the library.
bool has_gemm_library(const Exec& exec);

// What a product that the library does not offer means: there is another way to ask for it, or it is ours.
enum class Refusal { Tolerated, Counted };

// Queues the product, workspace from the arena. False: it must be made otherwise. In dry runs only the
// workspace is taken.
bool library_gemm(Exec& exec, const DenseProduct& p, Refusal refusal);

}  // namespace cuda
}  // namespace fintune
