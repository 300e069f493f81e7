// Operands as the tensor-core kernels read them: in the compute type, rows at multiples of 16 bytes, readable
// and zero up to the next multiple of 8 columns. What does not lie so is copied into workspace: rounded,
// scaled and masked in one pass, all operands of an op in one launch.
#pragma once

#include <vector>

#include "cuda/gemm.h"
#include "ops/linear.h"

namespace fintune {
namespace cuda {

FINTUNE_HD constexpr int64_t round_up_8(int64_t n) { return (n + 7) / 8 * 8; }

// [rows, cols] in workspace with rows as above; the columns between cols and ld are not written yet.
View staged_matrix(Exec& exec, DType type, int64_t rows, int64_t cols);

// Collects operands, then copies those that need it.
class Stage {
 public:
  // The factor, or the copy that run() will make of it (type exec.compute): round(scale * mask * view). The
  // mask is that of LoraDropout on [rows, cols]; masked values are rounded to the view's own type first. With
  // F32 compute only a mask or a scale make a copy: the f32 kernel reads all types. A copy has `room` further
  // columns in each row, a multiple of 8, for the caller.
  Factor add(Exec& exec, const Factor& from, float scale = 1, const LoraDropout* mask = nullptr,
             int64_t room = 0);
  void run(Exec& exec);

 private:
  struct Item {
    Factor from;
    View to;
    float scale;
    const LoraDropout* mask;
  };
  std::vector<Item> items_;
};

// c (+)= sum over parts of partial [parts][rows][cols], in rising order.
void add_parts(Exec& exec, const float* partial, int parts, const View& c, bool accumulate);

}  // namespace cuda
}  // namespace fintune
