// Keys and values of the sequences that are being decoded.
#pragma once

#include <vector>

#include "core/buffer.h"
#include "model/decoder.h"

namespace fintune {

// A fixed number of slots, each with room for the same number of tokens of one sequence. On the host, pages
// of a slot are touched only as far as its sequences reach.
class KvCache {
 public:
  // `type`: the activation type. Throws OutOfMemory.
  KvCache(const ModelConfig& config, DType type, int64_t slots, int64_t capacity, Device& device);

  static size_t bytes(const ModelConfig& config, DType type, int64_t slots, int64_t capacity);

  // For a batch whose sequence s lies in slots[s]. Valid until the next call.
  const KvCacheView& view(const std::vector<int>& slots);

 private:
  size_t row_bytes_;
  int64_t layers_;
  int64_t capacity_;
  std::vector<Buffer> slots_;  // each [layers][keys, values][capacity, G*K]
  std::vector<void*> keys_, values_;
  std::vector<int32_t> capacities_;
  KvCacheView view_;
};

}  // namespace fintune
