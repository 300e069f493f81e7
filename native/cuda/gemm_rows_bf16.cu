// The row form's kernels for bf16.
#include "cuda/gemm_rows.cuh"

namespace fintune {
namespace cuda {

void gemm_rows_bf16(Exec& exec, const RowGemm& g) { launch_rows<bf16, 80>(exec, g); }

}  // namespace cuda
}  // namespace fintune
