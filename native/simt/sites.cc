// The register of sites: numbered as they are first met, found again by file and line.
#include "simt/sites.h"

#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "simt/dispatch.h"

namespace fintune {
namespace simt {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::pair<std::string, int>, SiteEntry> entries;  // its nodes never move
};

Registry& registry() {
  static Registry r;
  return r;
}

}  // namespace

const char* site_kind_name(SiteKind kind) {
  static const char* const names[] = {"barrier",         "named barrier",     "warp sync",      "async wait",
                                      "swizzle",         "warpgroup fence",   "warpgroup wait", "proxy fence",
                                      "mbarrier arrive", "mbarrier announce", "mbarrier wait"};
  return names[static_cast<int>(kind)];
}

const char* base_name(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

SiteEntry& visit(Site& site) {
  if (site.entry == nullptr) {
    const std::string file = base_name(site.file);
    Registry& r = registry();
    const std::lock_guard<std::mutex> lock(r.mutex);
    site.entry = &r.entries.try_emplace({file, site.line}, SiteEntry{file, site.line, site.kind, true, 0})
                      .first->second;
  }
  ++site.entry->visits;
  return *site.entry;
}

std::vector<SiteEntry> sites() {
  Registry& r = registry();
  const std::lock_guard<std::mutex> lock(r.mutex);
  std::vector<SiteEntry> list;
  for (const auto& [key, entry] : r.entries) list.push_back(entry);
  return list;
}

void set_site(const std::string& file, int line, bool enabled) {
  Registry& r = registry();
  const std::lock_guard<std::mutex> lock(r.mutex);
  const auto found = r.entries.find({file, line});
  require(found != r.entries.end(), "no kernel has visited a site ", file, ":", line);
  found->second.enabled = enabled;
}

void enable_all_sites() {
  Registry& r = registry();
  const std::lock_guard<std::mutex> lock(r.mutex);
  for (auto& [key, entry] : r.entries) entry.enabled = true;
}

}  // namespace simt
}  // namespace fintune
