// The row form's kernels for f16.
#include "cuda/gemm_rows.cuh"

namespace fintune {
namespace cuda {

void gemm_rows_f16(Exec& exec, const RowGemm& g) { launch_rows<f16, 80>(exec, g); }

}  // namespace cuda
}  // namespace fintune
