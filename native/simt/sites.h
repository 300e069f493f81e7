// The synchronisation sites that kernels have visited: numbered by file and line, and switched off one by one
// to see whether a test would notice.
#pragma once

#include <string>
#include <vector>

#include "simt/runtime.h"

namespace fintune {
namespace simt {

// Shared by all instantiations of a template that hold the same line.
struct SiteEntry {
  std::string file;  // without the folders
  int line;
  SiteKind kind;
  bool enabled;
  int64_t visits;  // by threads, since the process began
};

const char* site_kind_name(SiteKind kind);

// Looks the site up, or registers it, at its first visit; counts the visit.
SiteEntry& visit(Site& site);
// A copy of all that were visited so far, in order of file and line.
std::vector<SiteEntry> sites();
const char* base_name(const char* path);

}  // namespace simt
}  // namespace fintune
