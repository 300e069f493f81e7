// In test builds our own kernels make every product.
#include "cuda/gemm_library.h"

namespace fintune {
namespace cuda {

bool has_gemm_library(const Exec&) { return false; }

bool library_gemm(Exec&, const DenseProduct&) { return false; }

}  // namespace cuda
}  // namespace fintune
