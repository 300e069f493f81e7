// Which sequences are computed together: bookkeeping only, no arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "generate/prefixes.h"

namespace fintune {

// Continuous batching (Yu et al. 2022, Orca): prompts queue in order and enter as soon as there is room; a
// sequence leaves the moment it ends. Room is pages: a sequence enters with all the pages that it can come to
// need, so that none ever has to wait, or be computed again, for another one's pages. What is reserved and
// not used is at most max_new_tokens a sequence.
class Batcher {
 public:
  struct Sequence {
    int64_t prompt;               // index in the request
    std::vector<int32_t> tokens;  // prompt and output
    int64_t prompt_length;
    int64_t shared;  // tokens at the start that it did not compute
    std::vector<int32_t> pages;

    int64_t generated() const { return static_cast<int64_t>(tokens.size()) - prompt_length; }
  };

  struct Limits {
    int64_t sequences;       // at work at once
    int64_t prefill_tokens;  // of one pass
    int64_t max_new_tokens;
  };

  // cu_seqlens [N+1] must outlive the batcher, as ids and the pool must. By the
  // first admit() the pool must be open, and hold any one sequence.
  Batcher(const std::vector<int32_t>& ids, const std::vector<int32_t>& cu_seqlens, const Limits& limits,
          PagePool& pool, bool prefix_sharing);

  int64_t common_pages() const { return prefixes_.common(); }
  // Takes prompts off the queue, as many as have room and as have no more to compute than prefill_tokens
  // (one that has goes alone). Empty: nothing can enter now.
  std::vector<Sequence> admit();
  // The prefilled sequence goes on to be decoded.
  void run(Sequence sequence) { running_.push_back(std::move(sequence)); }
  // Its pages and its place are free again.
  void release(const Sequence& sequence);
  // Being decoded, in order of entry. Sequences that end are moved out, and then released, by the caller.
  std::vector<Sequence>& running() { return running_; }
  bool done() const { return next_ + 1 >= cu_seqlens_.size() && running_.empty(); }

  // Tokens that a sequence stores at most: the last one is never fed back.
  static int64_t stored_tokens(int64_t prompt_length, int64_t max_new_tokens) {
    return prompt_length + (max_new_tokens > 1 ? max_new_tokens - 1 : 0);
  }

 private:
  const std::vector<int32_t>& ids_;
  const std::vector<int32_t>& cu_seqlens_;
  Limits limits_;
  PagePool& pool_;
  Prefixes prefixes_;
  size_t next_ = 0;
  int64_t at_work_ = 0;
  std::vector<Sequence> running_;
};

}  // namespace fintune
