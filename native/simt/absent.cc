// The door of the SIMT executor in a build without it.
#include "core/error.h"
#include "simt/dispatch.h"

namespace fintune {
namespace simt {
namespace {

[[noreturn]] void refuse() { fail(ErrorCode::Device, "this build has no device simt: it is for tests"); }

}  // namespace

bool present() { return false; }
Backend backend() { refuse(); }
void set_capability(int) { refuse(); }
int capability() { refuse(); }
void set_memory(uint64_t) { refuse(); }
void set_seed(uint64_t) { refuse(); }
void set_async_mode(const std::string&) { refuse(); }
std::vector<SiteInfo> site_infos() { refuse(); }
void set_site(const std::string&, int, bool) { refuse(); }
void enable_all_sites() { refuse(); }
void set_gemm_library(bool) { refuse(); }
std::vector<LibraryProduct> library_products() { refuse(); }
void count_traffic(bool) { refuse(); }
std::vector<KernelTraffic> traffic(bool) { refuse(); }
int64_t launches() { refuse(); }
int64_t work() { refuse(); }

}  // namespace simt
}  // namespace fintune
