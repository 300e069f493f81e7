// Matrix products of the CUDA backend, in two forms with fixed bits, as on the CPU (cpu/gemm/gemm.h):
//
//   C [M, N] = sum_i scale_i op(A_i) op(B_i)  (+ bias over N)  (+ C)
//
// Several products with one C are one longer product: a LoRA linear is y = [x | s u] [W | B]^T, whose
// accumulators never leave the registers.
//
// exec.compute F32: operands of any type, one chain of fused multiply-adds in rising k. BF16 and F16: tensor
// cores with f32 accumulators, in rising steps of k; operands are rounded to that type, in workspace where
// they do not lie in it already (gemm_stage.h).
//
// Large products in bf16 and f16 go to cuBLASLt where it is present (gemm_library.h): then C is rounded after
// the first product and again after the others, which our kernel adds in one pass with a bias that the
// library cannot take.
//
// An element of C has the same bits whatever M and the cut of C into tiles. Where A and B are both transposed
// in memory (K outermost: gradients of weights, K = T) the sum is cut into parts of a length that the shape
// alone decides, which are added in rising order.
#pragma once

#include "ops/legend.h"

namespace fintune {
namespace cuda {

// A factor as it lies in memory. transposed: the factor of the product is the view's transpose. padded: every
// row may be read up to the next multiple of 8 columns, which hold zeros.
struct Factor {
  View view;
  bool transposed = false;
  bool padded = false;
};

// scale * a * b, with a [M, K] and b [K, N] after transposition. scale goes onto a before it is rounded.
struct Product {
  Factor a;
  Factor b;
  float scale = 1;
};

constexpr int kMaxProducts = 33;

// All products of one sum lie the same way: a b, a b^T or a^T b.
struct Gemm {
  const Product* products = nullptr;
  int count = 0;
  View c;  // f32 or the compute type (F32 compute: any); aliases no factor; may be empty where `rounded` is
           // not
  bool accumulate = false;
  const float* bias = nullptr;  // [N]
  // The same numbers in C's type, 16 bits, for a library; null where it does not hold them.
  const void* exact_bias = nullptr;
  // A second result: rounded_scale times the sum (no bias, nothing accumulated), in the compute type, as a
  // later product reads it: padded, ld a multiple of 8, 16-byte aligned.
  View rounded = View();
  float rounded_scale = 1;
};

void gemm(Exec& exec, const Gemm& g);

// Row form, for few rows: a is not transposed and b is (a view [N, K]). Operands are read as they lie, b once
// for a block of rows; a row's bits depend neither on M nor on alignment. `rounded` is not written.
void gemm_rowwise(Exec& exec, const Gemm& g);

// What both forms require of their arguments, and of exec.compute on GPUs before capability 8.0.
void check_gemm(const Exec& exec, const Gemm& g);
void require_f16(const Exec& exec);

}  // namespace cuda
}  // namespace fintune
