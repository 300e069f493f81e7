// The head of every objective: log-probabilities of target tokens without a [T, V] array.
#pragma once

#include "ops/legend.h"

namespace fintune {

// With logits z_t = h_t W^T (chunks of rows in workspace), y_t = targets[t]:
//   logprob[t] = z_t[y_t] - logsumexp(z_t)
//   entropy[t] = logsumexp(z_t) - sum_v softmax(z_t)_v z_t[v]                       (nats; optional)
// Given dL/dlogprob = weights[t] (so that SFT has weight -1/n, and DPO, KTO, ... only compute other weights):
//   dz_t = weights[t] (onehot(y_t) - softmax(z_t)),   dh_t = dz_t W,   dW += sum_t dz_t^T h_t
// h [T, D] activation (already compacted to the rows that count), W [V, D] f32/bf16/f16, targets [T] i32 in
// 0..V-1 (others: Argument on the host; elsewhere, where to look would be to wait for the device, their
// logprob is NaN), logprob [T] f32 optional, weights [T] f32 optional (null: no gradient), dh [T, D]
// activation, overwritten; dW [V, D] f32 optional, accumulated. logits optional [T, V] f32: stored on request
// (scoring with logits), else never whole. dh may alias h. Logits and softmax are f32 also in bf16 mode; dz
// is rounded to the compute type before its products. logprob's bits do not depend on the chunk size.
struct LinearLogprob {
  View hidden;
  View weight;
  const int32_t* targets;
  float* logprob;
  float* entropy;
  const float* weights;
  View dhidden;
  View dweight;
  View logits;
};

}  // namespace fintune
