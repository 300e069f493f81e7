// Pages of the key/value cache: which are free, and who holds the others. Bookkeeping only.
#pragma once

#include <cstdint>
#include <vector>

#include "core/error.h"

namespace fintune {

// Tokens of a page. Small, so that most of a shared prefix is whole pages; a multiple of 32, where attention
// does not depend on the queries before (ops/attention.h).
constexpr int64_t kPageTokens = 32;

inline int64_t pages_for(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

// Every page has a number of holders (sequences, and the prefixes that wait for later prompts); without one
// it is free.
class PagePool {
 public:
  // Pages 0 .. pages - 1, all free. Called once.
  void open(int64_t pages) {
    holders_.assign(static_cast<size_t>(pages), 0);
    for (int64_t p = pages; p-- > 0;) free_.push_back(static_cast<int32_t>(p));
  }

  int64_t free() const { return static_cast<int64_t>(free_.size()); }
  int holders(int32_t page) const { return holders_[static_cast<size_t>(page)]; }
  // A free page, now with one holder. There must be one.
  int32_t take() {
    require(!free_.empty(), "no page of the key/value cache is free");
    const int32_t page = free_.back();
    free_.pop_back();
    holders_[static_cast<size_t>(page)] = 1;
    return page;
  }
  void share(int32_t page) { ++holders_[static_cast<size_t>(page)]; }
  void drop(int32_t page) {
    if (--holders_[static_cast<size_t>(page)] == 0) free_.push_back(page);
  }

 private:
  std::vector<int> holders_;
  std::vector<int32_t> free_;
};

}  // namespace fintune
