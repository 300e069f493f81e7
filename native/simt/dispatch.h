// The door of the SIMT executor: the device "simt", and what tests set on it. Every build has this door; in
// all but the test build (absent.cc) it says that there is no such device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ops/backend.h"
#include "simt/traffic.h"

namespace fintune {
namespace simt {

bool present();

// Everything below throws Device where it is absent.

Backend backend();

// 75, 80, 86, 89, 90, 100 or 120: what kernels are told, and which instructions and how much shared memory
// they have. 80 unless set.
void set_capability(int capability);
int capability();
// Bytes that the device has; 0 (at first): as many as the host gives.
void set_memory(uint64_t bytes);
// Of the schedule. Setting it starts the same sequence of schedules again.
void set_seed(uint64_t seed);
// "early", "late" or "random" (the default): when copies in the background arrive, between issue and wait.
void set_async_mode(const std::string& mode);

// A place in a kernel that is there for synchronisation or layout only.
struct SiteInfo {
  std::string file;
  int line;
  // "barrier", "named barrier", "warp sync", "async wait", "swizzle", "warpgroup fence", "warpgroup wait",
  // "proxy fence", "mbarrier arrive", "mbarrier announce" or "mbarrier wait"
  std::string kind;
  bool enabled;
  int64_t visits;  // by threads, since the process began
};
// All that kernels have come to so far, in order of file and line.
std::vector<SiteInfo> site_infos();
void set_site(const std::string& file, int line, bool enabled);
void enable_all_sites();

// A library that makes large products, as cuBLASLt would; off at first.
void set_gemm_library(bool on);
// What it has made since it was last switched on or off.
struct LibraryProduct {
  int64_t m, n, k;
  bool accumulate, bias;
};
std::vector<LibraryProduct> library_products();

// Counts what kernels move from now on, afresh, or no longer.
void count_traffic(bool on);
// What was counted so far; nothing where counting is off. `lines`: by line of the source too.
std::vector<KernelTraffic> traffic(bool lines);

// Since the process began: kernels started; memory accesses and meetings of threads.
int64_t launches();
int64_t work();

}  // namespace simt
}  // namespace fintune
