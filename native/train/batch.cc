// Checking and packing of micro-batches.
#include "train/batch.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/model.h"

namespace fintune {

void check_micro_batch(const ModelConfig& config, const MicroBatch& b, const Objective& objective) {
  check_sequences(config, b.ids, b.cu_seqlens);
  const size_t tokens = b.ids.size(), sequences = b.cu_seqlens.size() - 1;
  require(b.mask.size() == tokens, "mask: expected ", tokens, " elements as ids, found ", b.mask.size());
  for (size_t s = 0; s < sequences; ++s) {
    if (b.cu_seqlens[s] == b.cu_seqlens[s + 1]) continue;
    require(b.mask[static_cast<size_t>(b.cu_seqlens[s])] == 0, "sequence ", s,
            ": the first token is marked as supervised, but nothing predicts it");
  }
  if (!b.weights.empty()) {
    require(objective.loss == Loss::Sft, "weights are for sft only");
    require(b.weights.size() == tokens, "weights: expected ", tokens, " elements as ids, found ",
            b.weights.size());
    for (size_t t = 0; t < tokens; ++t)
      require(std::isfinite(b.weights[t]), "weights[", t, "] is ", b.weights[t]);
  }
  if (objective.loss != Loss::Sft) {
    require(sequences % 2 == 0, "sequences come in pairs, found ", sequences);
  }
  if (objective.needs_reference()) {
    require(b.reference.size() == sequences, "referenceLogprobs: expected one for each of the ", sequences,
            " sequences, found ", b.reference.size());
    for (size_t s = 0; s < sequences; ++s) {
      require(std::isfinite(b.reference[s]), "referenceLogprobs[", s, "] is ", b.reference[s]);
    }
  }
  if (objective.loss == Loss::Kto) {
    require(b.labels.size() == sequences, "labels: expected one for each of the ", sequences,
            " sequences, found ", b.labels.size());
  }
}

int64_t Packed::longest() const {
  int64_t most = 0;
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    most = std::max<int64_t>(most, cu_seqlens[s + 1] - cu_seqlens[s]);
  }
  return most;
}

PackedBatch Packed::view() const {
  PackedBatch batch;
  batch.ids = ids.data();
  batch.positions = positions.data();
  batch.cu_seqlens = cu_seqlens.data();
  batch.tokens = tokens();
  batch.sequences = sequences();
  batch.rows = rows.data();
  batch.row_count = static_cast<int64_t>(rows.size());
  return batch;
}

PlacedBatch place(Exec& exec, const Packed& p, const float* weights) {
  static_assert(sizeof(float) == sizeof(int32_t), "all arrays lie in one of 32-bit words");
  PlacedBatch on;
  std::vector<int32_t> words;
  const bool copies = !exec.device->is_host();
  // Each array, and who is told where it lies.
  const auto each = [&](auto&& take) {
    take(p.ids.data(), p.ids.size(), &on.arrays.ids);
    take(p.positions.data(), p.positions.size(), &on.arrays.positions);
    take(p.cu_seqlens.data(), p.cu_seqlens.size(), &on.arrays.cu_seqlens);
    take(p.rows.data(), p.rows.size(), &on.arrays.rows);
    take(p.targets.data(), p.targets.size(), &on.targets);
    if (weights != nullptr) take(weights, p.rows.size(), &on.weights);
  };
  size_t total = 0;
  each([&](const auto* from, size_t n, auto* where) {
    *where = from;
    total += n;
  });
  if (!copies) return on;
  int32_t* const block =
      static_cast<int32_t*>(exec.arena->alloc(total * sizeof(int32_t), MemoryKind::Workspace));
  if (!exec.dry) words.resize(total);
  size_t at = 0;
  each([&](const auto* from, size_t n, auto* where) {
    if (!exec.dry && n > 0) std::memcpy(words.data() + at, from, n * sizeof(int32_t));
    *where = reinterpret_cast<decltype(from)>(block + at);
    at += n;
  });
  if (!exec.dry) exec.device->upload(block, words.data(), total * sizeof(int32_t));
  return on;
}

Packed pack(const MicroBatch& b, size_t first, size_t stride) {
  Packed p;
  p.cu_seqlens.push_back(0);
  p.sequence_rows.push_back(0);
  for (size_t s = first; s + 1 < b.cu_seqlens.size(); s += stride) {
    const size_t begin = static_cast<size_t>(b.cu_seqlens[s]), end = static_cast<size_t>(b.cu_seqlens[s + 1]);
    const int32_t start = p.cu_seqlens.back();
    for (size_t t = begin; t < end; ++t) {
      if (b.mask[t] != 0) {
        p.rows.push_back(start + static_cast<int32_t>(t - begin) - 1);
        p.targets.push_back(b.ids[t]);
        if (!b.weights.empty()) p.weights.push_back(b.weights[t]);
      }
      p.ids.push_back(b.ids[t]);
      p.positions.push_back(static_cast<int32_t>(t - begin));
    }
    p.cu_seqlens.push_back(start + static_cast<int32_t>(end - begin));
    SequenceScore score;
    score.tokens = static_cast<int64_t>(p.rows.size()) - p.sequence_rows.back();
    score.reference = b.reference.empty() ? 0 : b.reference[s];
    score.desirable = !b.labels.empty() && b.labels[s] != 0;
    p.scores.push_back(score);
    p.sequence_rows.push_back(static_cast<int64_t>(p.rows.size()));
  }
  return p;
}

Packed pack_shape(const std::vector<int32_t>& lengths, int64_t targets) {
  Packed p;
  p.cu_seqlens.push_back(0);
  for (int32_t n : lengths) {
    require(n >= 0, "a length of ", n);
    p.cu_seqlens.push_back(p.cu_seqlens.back() + n);
  }
  require(targets >= 0 && targets <= p.cu_seqlens.back(), "targets: expected 0 .. ", p.cu_seqlens.back(),
          ", found ", targets);
  p.ids.resize(static_cast<size_t>(p.tokens()));
  p.positions.resize(p.ids.size());
  p.rows.resize(static_cast<size_t>(std::max<int64_t>(targets, 1)));
  p.targets.resize(p.rows.size());
  return p;
}

}  // namespace fintune
