// What the host side of gemm_rowwise() and its kernels share.
#pragma once

#include "cuda/gemm.h"
#include "cuda/launch.h"

namespace fintune {
namespace cuda {

struct RowProduct {
  const void* a;
  const void* b;
  int64_t lda, ldb;
  int k;
  float scale;
  DType a_type, b_type;
  bool a_wide, b_wide;  // 16-byte loads are allowed
};

struct RowGemm {
  RowProduct products[kMaxProducts];
  int count;
  int64_t m, n;
  void* c;
  int64_t ldc;
  DType c_type;
  bool accumulate;
  const float* bias;
};

// On tensor cores.
void gemm_rows_bf16(Exec& exec, const RowGemm& g);
void gemm_rows_f16(Exec& exec, const RowGemm& g);
void gemm_rows_f16_sm75(Exec& exec, const RowGemm& g);

}  // namespace cuda
}  // namespace fintune
