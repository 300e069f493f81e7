// AdamW (Loshchilov and Hutter 2019, algorithm 2) and the global gradient norm.
#pragma once

#include "ops/legend.h"

namespace fintune {

// One tensor of the optimiser: n elements of parameter, gradient and moments, all f32.
struct AdamWTensor {
  float* p;
  const float* g;
  float* m;
  float* v;
  int64_t n;
  float weight_decay;
  // Optional: p as a matrix, rounded to this view's type; rows * cols = n.
  View copy = View();
};
// As torch.optim.AdamW, step t >= 1:  g = grad_scale * g;  p *= 1 - lr wd;  m = b1 m + (1 - b1) g;
// v = b2 v + (1 - b2) g^2;  p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps).   All tensors in one
// call.
struct AdamW {
  const AdamWTensor* tensors;
  int64_t count;
  int64_t step;
  double lr, beta1, beta2, eps;  // double as torch's: 1 - 0.999f would be off by 1e-5
  float grad_scale;              // min(1, max_norm / (norm + 1e-6)): clipping without a pass of its own
};
// sqrt(sum of all squares), summed in double over blocks of fixed size in fixed order.
struct GlobalNorm {
  const View* gradients;  // f32
  int64_t count;
  double* norm;
};

}  // namespace fintune
