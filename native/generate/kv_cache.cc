// KvCache: the block, and page tables of batches.
#include "generate/kv_cache.h"

#include <algorithm>

namespace fintune {

size_t KvCache::bytes(const ModelConfig& config, DType type, int64_t pages) {
  return static_cast<size_t>(pages * kPageTokens * config.num_layers * 2 * config.kv_size()) *
         dtype_size(type);
}

KvCache::KvCache(const ModelConfig& config, DType type, int64_t pages, Device& device)
    : memory_(bytes(config, type, pages), device) {
  view_.tokens = pages * kPageTokens;
  view_.page_tokens = kPageTokens;
  view_.pool = View(memory_.data(), type, config.num_layers * 2 * view_.tokens, config.kv_size());
}

const KvCacheView& KvCache::view(const std::vector<const std::vector<int32_t>*>& pages) {
  size_t most = 1;
  for (const std::vector<int32_t>* p : pages) most = std::max(most, p->size());
  table_.clear();
  for (const std::vector<int32_t>* p : pages) {
    table_.insert(table_.end(), p->begin(), p->end());
    table_.resize(table_.size() + most - p->size(), 0);
  }
  view_.max_pages = static_cast<int64_t>(most);
  view_.page_table = table_.data();
  return view_;
}

}  // namespace fintune
