// Drawing the next token.
#pragma once

#include <cmath>

#include "ops/legend.h"

namespace fintune {

struct SamplingOptions {
  float temperature = 0;  // 0: greedy (the smallest id among equals)
  int32_t top_k = 0;      // 0: all
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty =
      1;  // Keskar et al. 2019: score / p if positive, else score * p, for every token seen
  uint64_t seed = 0;
  uint64_t stream = 0;  // the request's own number: its draws depend on (seed, stream, position) only
};
// One row's draw. All that it points to is the host's.
struct SampleRow {
  const int32_t* seen = nullptr;  // [seen_count], ids of prompt and output
  int64_t seen_count = 0;
  SamplingOptions options;
  int64_t position = 0;  // index of the token to draw, 0 for the first
  int64_t prompt = 0;    // the caller's number of the row, for errors
};
// For each row on its own, in this order, as transformers has it: penalty, logits / temperature, keep the
// top_k best (all that tie with the k-th), softmax, top_p (keep a token if the probability before it, in
// falling order, is below top_p), min_p (drop those below min_p * max), renormalise, draw with philox(seed,
// stream, position). The tokens that are kept are walked in the order of their ids, or where top_p < 1 in
// falling order (equals by id); sums are double or finer. Numeric where a row's logits hold NaN or +inf, or
// nothing but -inf. logits [n, V] f32 are modified.
struct Sample {
  View logits;
  const SampleRow* rows;  // [n], the host's
  int32_t* tokens;        // out [n], the host's
  float* logprobs;        // out, optional [n], the host's: log-probability under the final distribution
  View distributions;     // out, optional [n, V] f32: the final distribution (0 for tokens not kept)
};

// What became of a row.
enum class SampleStatus : int32_t { Drawn, NoBest, TooCold };

// The arguments, before any row is touched; `seen` only where data may be (not in a dry run).
inline void check_sample(const Sample& op, bool dry) {
  require(op.logits.dtype == DType::F32 && op.logits.cols > 0,
          "sample: expected logits of f32 and at least one column, found ", op.logits.cols, " of ",
          dtype_name(op.logits.dtype));
  const View& d = op.distributions;
  require(!d || (d.dtype == DType::F32 && d.rows == op.logits.rows && d.cols == op.logits.cols),
          "sample: expected distributions of f32 [", op.logits.rows, ", ", op.logits.cols, "], found ",
          dtype_name(d.dtype), " [", d.rows, ", ", d.cols, "]");
  for (int64_t r = 0; r < op.logits.rows; ++r) {
    const SamplingOptions& o = op.rows[r].options;
    require(o.temperature >= 0 && std::isfinite(o.temperature), "sample: temperature is 0 or more, found ",
            o.temperature);
    require(o.top_k >= 0, "sample: top_k is 0 (all) or more, found ", o.top_k);
    require(o.top_p > 0 && o.top_p <= 1, "sample: top_p is above 0 and at most 1, found ", o.top_p);
    require(o.min_p >= 0 && o.min_p <= 1, "sample: min_p is 0 .. 1, found ", o.min_p);
    require(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty),
            "sample: repetition_penalty is above 0, found ", o.repetition_penalty);
    for (int64_t i = 0; !dry && i < op.rows[r].seen_count; ++i) {
      const int32_t id = op.rows[r].seen[i];
      require(id >= 0 && id < op.logits.cols, "prompt ", op.rows[r].prompt, ": sample: seen token ", i,
              " has id ", id, ", expected 0 .. ", op.logits.cols - 1);
    }
  }
}

// Throws for the first row that could not be drawn. status(row): what became of it.
template <typename Status>
void check_drawn(const Sample& op, Status&& status) {
  for (int64_t r = 0; r < op.logits.rows; ++r) {
    const SampleRow& row = op.rows[r];
    if (status(r) == SampleStatus::NoBest) {
      fail(ErrorCode::Numeric, "prompt ", row.prompt,
           ": sample: the logits hold NaN or +inf, or nothing but -inf");
    }
    require(status(r) == SampleStatus::Drawn, "prompt ", row.prompt, ": sample: temperature ",
            row.options.temperature, " is too small for these logits, 0 is greedy");
  }
}

}  // namespace fintune
