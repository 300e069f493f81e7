// Keys and values of the sequences that are being decoded.
#pragma once

#include <vector>

#include "core/buffer.h"
#include "generate/pages.h"
#include "model/decoder.h"

namespace fintune {

// One block of pages of kPageTokens tokens, taken before the first token is computed. On the host, memory is
// touched only as far as pages are used.
class KvCache {
 public:
  // `type`: the activation type. Throws OutOfMemory.
  KvCache(const ModelConfig& config, DType type, int64_t pages, Device& device);

  static size_t bytes(const ModelConfig& config, DType type, int64_t pages);

  // For a batch whose sequence s has pages[s], which may be of different numbers. Valid until the next call.
  const KvCacheView& view(const std::vector<const std::vector<int32_t>*>& pages);
  // Without a page table, for those who lay their own with max_pages a sequence.
  KvCacheView whole(int64_t max_pages) const {
    KvCacheView view = view_;
    view.max_pages = max_pages;
    return view;
  }

 private:
  Buffer memory_;
  std::vector<int32_t> table_;
  KvCacheView view_;
};

}  // namespace fintune
