// Batcher: a queue, the pages that are free, and the sequences that run.
#include "generate/batcher.h"

namespace fintune {

Batcher::Batcher(const std::vector<int32_t>& ids, const std::vector<int32_t>& cu_seqlens,
                 const Limits& limits, PagePool& pool, bool prefix_sharing)
    : ids_(ids),
      cu_seqlens_(cu_seqlens),
      limits_(limits),
      pool_(pool),
      prefixes_(ids, cu_seqlens, pool, prefix_sharing) {}

std::vector<Batcher::Sequence> Batcher::admit() {
  std::vector<Sequence> admitted;
  int64_t tokens = 0;
  while (next_ + 1 < cu_seqlens_.size() && at_work_ < limits_.sequences) {
    const int32_t begin = cu_seqlens_[next_], end = cu_seqlens_[next_ + 1];
    const int64_t prompt = static_cast<int64_t>(next_), length = end - begin;
    std::vector<int32_t> pages = prefixes_.computed(prompt);
    const int64_t shared = static_cast<int64_t>(pages.size()) * kPageTokens;
    if (!admitted.empty() && tokens + length - shared > limits_.prefill_tokens) break;
    for (int32_t page : pages) pool_.share(page);
    const int64_t wanted =
        pages_for(stored_tokens(length, limits_.max_new_tokens)) - static_cast<int64_t>(pages.size());
    if (pool_.free() < wanted) prefixes_.evict(wanted - pool_.free());
    if (pool_.free() < wanted) {
      for (int32_t page : pages) pool_.drop(page);
      break;
    }
    for (int64_t i = 0; i < wanted; ++i) pages.push_back(pool_.take());
    prefixes_.enter(prompt, pages);
    tokens += length - shared;
    admitted.push_back(Sequence{prompt, std::vector<int32_t>(ids_.begin() + begin, ids_.begin() + end),
                                length, shared, std::move(pages)});
    ++at_work_;
    ++next_;
  }
  return admitted;
}

void Batcher::release(const Sequence& sequence) {
  for (int32_t page : sequence.pages) pool_.drop(page);
  --at_work_;
}

}  // namespace fintune
