// The row form's kernels for f16 on sm_75.
#include "cuda/gemm_rows.cuh"

namespace fintune {
namespace cuda {

void gemm_rows_f16_sm75(Exec& exec, const RowGemm& g) { launch_rows<f16, 75>(exec, g); }

}  // namespace cuda
}  // namespace fintune
