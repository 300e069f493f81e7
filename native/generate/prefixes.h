// Common beginnings of the prompts of one request, in whole pages.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "generate/pages.h"

namespace fintune {

// A tree whose nodes are pages of tokens; a prompt is a path from the root. The first prompt that computes a
// node's page leaves it to those that come later (Zheng et al. 2024, SGLang's RadixAttention, for a request
// that is known from the start). The last token of a prompt is always its own: its logits are wanted.
class Prefixes {
 public:
  // cu_seqlens [N+1]. `sharing` false: nothing is ever shared.
  Prefixes(const std::vector<int32_t>& ids, const std::vector<int32_t>& cu_seqlens, PagePool& pool,
           bool sharing);

  // Pages that more than one prompt begins with.
  int64_t common() const { return common_; }
  // The pages at the start of a prompt that have been computed, or are by a sequence that entered before.
  std::vector<int32_t> computed(int64_t prompt) const;
  // The prompt enters and has, or will compute, `pages`: those that others wait for are held for them, those
  // that nobody waits for any more are dropped.
  void enter(int64_t prompt, const std::vector<int32_t>& pages);
  // Gives up held pages that no sequence uses, until `count` have fallen free or none is left. They are
  // computed again when they are wanted: that costs time, and changes no bit.
  void evict(int64_t count);

 private:
  struct Node {
    int32_t parent;
    int32_t first;      // place of its first token in ids
    int32_t waiting;    // prompts that have not entered
    int32_t page = -1;  // held for them
  };
  int32_t child(int32_t parent, int32_t first);

  const std::vector<int32_t>& ids_;
  PagePool& pool_;
  int64_t common_ = 0;
  std::vector<Node> nodes_;  // parents before children
  std::unordered_multimap<uint64_t, int32_t> by_hash_;
  std::vector<std::vector<int32_t>> paths_;  // of each prompt, nodes that other prompts pass too
};

}  // namespace fintune
