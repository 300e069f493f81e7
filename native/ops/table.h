// What a backend offers: one function per op. native/model and everything above call ops through this table
// only.
#pragma once

#include "ops/attention.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/linear_logprob.h"
#include "ops/optimizer.h"
#include "ops/rmsnorm.h"
#include "ops/rope.h"
#include "ops/rows.h"
#include "ops/sample.h"
#include "ops/swiglu.h"

namespace fintune {

struct OpTable {
  const char* backend;  // "cpu"
  void (*embedding_forward)(Exec&, const EmbeddingForward&);
  void (*embedding_backward)(Exec&, const EmbeddingBackward&);
  void (*rmsnorm_forward)(Exec&, const RmsNormForward&);
  void (*rmsnorm_backward)(Exec&, const RmsNormBackward&);
  void (*rope)(Exec&, const Rope&);
  void (*attention_forward)(Exec&, const AttentionForward&);
  void (*attention_backward)(Exec&, const AttentionBackward&);
  void (*attention_decode)(Exec&, const AttentionDecode&);
  void (*swiglu_forward)(Exec&, const SwigluForward&);
  void (*swiglu_backward)(Exec&, const SwigluBackward&);
  void (*linear_forward)(Exec&, const LinearForward&);
  void (*linear_backward)(Exec&, const LinearBackward&);
  void (*linear_logprob)(Exec&, const LinearLogprob&);
  void (*adamw)(Exec&, const AdamW&);
  void (*global_norm)(Exec&, const GlobalNorm&);
  void (*sample)(Exec&, const Sample&);
  void (*gather_rows)(Exec&, const GatherRows&);
  void (*scatter_rows)(Exec&, const ScatterRows&);
  void (*store_rows)(Exec&, const StoreRows&);
  void (*convert)(Exec&, const Convert&);
};

}  // namespace fintune
