// A micro-batch as it comes from the caller, and as the model takes it: packed, with the rows that count.
#pragma once

#include <cstdint>
#include <vector>

#include "model/decoder.h"
#include "train/objective.h"

namespace fintune {

// All arrays are over tokens [T] or sequences [N]; the optional ones are empty.
struct MicroBatch {
  std::vector<int32_t> ids;         // [T]
  std::vector<int32_t> cu_seqlens;  // [N+1]
  std::vector<uint8_t> mask;        // [T] 1: predicting this token counts; never the first of a sequence
  std::vector<float> weights;       // [T] sft, optional: instead of 1/n
  std::vector<double> reference;    // [N] summed log-probabilities of the counted tokens under the reference
  std::vector<uint8_t> labels;      // [N] kto: 1 desirable
};

// Throws Argument, naming the place, for lengths that do not fit, ids out of range, an objective's missing
// arrays, a mask on a first token, and pairs that are not whole.
void check_micro_batch(const ModelConfig& config, const MicroBatch& batch, const Objective& objective);

// Position t predicts token t + 1, so the supervised token at t + 1 makes row t count.
struct Packed {
  std::vector<int32_t> ids, cu_seqlens, positions;
  std::vector<int32_t> rows;           // rising
  std::vector<int32_t> targets;        // of each row
  std::vector<float> weights;          // of each row, where the caller gave some
  std::vector<int64_t> sequence_rows;  // [N+1] where each sequence's rows begin
  std::vector<SequenceScore> scores;   // [N], log-probabilities not yet filled

  int64_t tokens() const { return cu_seqlens.back(); }
  // Positions of the longest sequence.
  int64_t longest() const;
  int64_t sequences() const { return static_cast<int64_t>(cu_seqlens.size()) - 1; }
  PackedBatch view() const;
};

// A packed batch where ops read it. weights: null where none were given.
struct PlacedBatch {
  StagedBatch arrays;
  const int32_t* targets = nullptr;
  const float* weights = nullptr;
};

// In place where the device is the host; else copied to the arena, all at once. weights [rows]: may be null.
PlacedBatch place(Exec& exec, const Packed& packed, const float* weights);

// The sequences first, first + stride, first + 2 stride, ...
Packed pack(const MicroBatch& batch, size_t first = 0, size_t stride = 1);

// A batch of these lengths with about `targets` rows, of which only the sizes mean anything (plans).
Packed pack_shape(const std::vector<int32_t>& lengths, int64_t targets);

}  // namespace fintune
