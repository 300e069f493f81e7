// The mask of LoraDropout (ops/linear.h), four columns at a time.
#pragma once

#include "core/philox.h"
#include "cuda/gpu.h"
#include "ops/linear.h"

namespace fintune {
namespace cuda {

struct DropoutMask {
  float p, keep;  // keep = 1 / (1 - p); p = 0: nothing is masked
  uint32_t seed_low, seed_high, step, site;
  int64_t first_row;
};

inline DropoutMask dropout_mask(const LoraDropout& d) {
  return DropoutMask{
      d.p,    1.0f / (1.0f - d.p), static_cast<uint32_t>(d.seed), static_cast<uint32_t>(d.seed >> 32), d.step,
      d.site, d.first_row};
}

// out[i] = 0 or keep, for columns column .. column + 3 (column a multiple of 4).
GPU_FN void mask4(const DropoutMask& d, int64_t row, int64_t column, float* out) {
  const PhiloxWords<4> words = philox4x32(
      {{static_cast<uint32_t>(column / 4), static_cast<uint32_t>(d.first_row + row), d.site, d.step}},
      {{d.seed_low, d.seed_high}});
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = philox_uniform(words[i]) >= d.p ? d.keep : 0.0f;
}

}  // namespace cuda
}  // namespace fintune
