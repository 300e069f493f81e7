// KvCache: one block a slot.
#include "generate/kv_cache.h"

namespace fintune {

size_t KvCache::bytes(const ModelConfig& config, DType type, int64_t slots, int64_t capacity) {
  return static_cast<size_t>(slots * config.num_layers * 2 * capacity * config.kv_size()) * dtype_size(type);
}

KvCache::KvCache(const ModelConfig& config, DType type, int64_t slots, int64_t capacity, Device& device)
    : row_bytes_(static_cast<size_t>(config.kv_size()) * dtype_size(type)),
      layers_(config.num_layers),
      capacity_(capacity) {
  for (int64_t s = 0; s < slots; ++s) slots_.emplace_back(bytes(config, type, 1, capacity), device);
}

const KvCacheView& KvCache::view(const std::vector<int>& slots) {
  const size_t half = static_cast<size_t>(capacity_) * row_bytes_;
  keys_.clear();
  values_.clear();
  for (int64_t layer = 0; layer < layers_; ++layer) {
    for (int slot : slots) {
      char* layer_begin = slots_.at(static_cast<size_t>(slot)).data() + static_cast<size_t>(layer) * 2 * half;
      keys_.push_back(layer_begin);
      values_.push_back(layer_begin + half);
    }
  }
  capacities_.assign(slots.size(), static_cast<int32_t>(capacity_));
  view_.k = keys_.data();
  view_.v = values_.data();
  view_.capacity = capacities_.data();
  return view_;
}

}  // namespace fintune
