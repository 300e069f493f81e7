// Prefixes: building the tree, and holding its pages.
#include "generate/prefixes.h"

#include <algorithm>

namespace fintune {

Prefixes::Prefixes(const std::vector<int32_t>& ids, const std::vector<int32_t>& cu_seqlens, PagePool& pool,
                   bool sharing)
    : ids_(ids), pool_(pool), paths_(cu_seqlens.size() - 1) {
  if (!sharing) return;
  for (size_t prompt = 0; prompt < paths_.size(); ++prompt) {
    int32_t node = -1;
    for (int64_t at = cu_seqlens[prompt]; at + kPageTokens < cu_seqlens[prompt + 1]; at += kPageTokens) {
      node = child(node, static_cast<int32_t>(at));
      paths_[prompt].push_back(node);
    }
  }
  by_hash_.clear();
  // What only one prompt passes is nobody else's.
  for (std::vector<int32_t>& path : paths_) {
    const auto alone = [&](int32_t node) { return nodes_[static_cast<size_t>(node)].waiting < 2; };
    path.erase(std::find_if(path.begin(), path.end(), alone), path.end());
    path.shrink_to_fit();
  }
  common_ = std::count_if(nodes_.begin(), nodes_.end(), [](const Node& node) { return node.waiting > 1; });
}

int32_t Prefixes::child(int32_t parent, int32_t first) {
  uint64_t hash = 0xCBF29CE484222325u ^ static_cast<uint32_t>(parent);
  for (int64_t i = 0; i < kPageTokens; ++i) {
    hash = (hash ^ static_cast<uint32_t>(ids_[static_cast<size_t>(first + i)])) * 0x100000001B3u;
    hash ^= hash >> 29;
  }
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    Node& node = nodes_[static_cast<size_t>(it->second)];
    const auto mine = ids_.begin() + first;
    if (node.parent == parent && std::equal(mine, mine + kPageTokens, ids_.begin() + node.first)) {
      ++node.waiting;
      return it->second;
    }
  }
  const int32_t index = static_cast<int32_t>(nodes_.size());
  nodes_.push_back(Node{parent, first, 1});
  by_hash_.emplace(hash, index);
  return index;
}

std::vector<int32_t> Prefixes::computed(int64_t prompt) const {
  std::vector<int32_t> pages;
  for (int32_t node : paths_[static_cast<size_t>(prompt)]) {
    const int32_t page = nodes_[static_cast<size_t>(node)].page;
    if (page < 0) break;
    pages.push_back(page);
  }
  return pages;
}

void Prefixes::enter(int64_t prompt, const std::vector<int32_t>& pages) {
  const std::vector<int32_t>& path = paths_[static_cast<size_t>(prompt)];
  for (size_t i = 0; i < path.size(); ++i) {
    Node& node = nodes_[static_cast<size_t>(path[i])];
    --node.waiting;
    if (node.waiting > 0 && node.page < 0) {
      node.page = pages[i];
      pool_.share(node.page);
    } else if (node.waiting == 0 && node.page >= 0) {
      pool_.drop(node.page);
      node.page = -1;
    }
  }
}

void Prefixes::evict(int64_t count) {
  // Children first: a page is of no use without those before it.
  for (size_t i = nodes_.size(); i-- > 0 && count > 0;) {
    Node& node = nodes_[i];
    if (node.page < 0 || pool_.holders(node.page) > 1) continue;
    pool_.drop(node.page);
    node.page = -1;
    --count;
  }
}

}  // namespace fintune
