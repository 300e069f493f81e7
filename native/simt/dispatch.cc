// The door of the SIMT executor in the test build.
#include "simt/dispatch.h"

#include "core/error.h"
#include "cuda/ops.h"
#include "simt/device.h"
#include "simt/sites.h"

namespace fintune {
namespace simt {

bool present() { return true; }

Backend backend() {
  return Backend{std::shared_ptr<Device>(&simt_device(), [](Device*) {}), &cuda::table()};
}

void set_capability(int capability) {
  for (int known : {75, 80, 86, 89, 90, 100, 120}) {
    if (capability == known) {
      simt_device().executor().capability = capability;
      return;
    }
  }
  fail(ErrorCode::Argument, "capability: expected 75, 80, 86, 89, 90, 100 or 120, found ", capability);
}

int capability() { return simt_device().executor().capability; }

void set_memory(uint64_t bytes) { simt_device().set_memory(bytes); }

void set_seed(uint64_t seed) { simt_device().executor().set_seed(seed); }

void set_async_mode(const std::string& mode) {
  require(mode == "early" || mode == "late" || mode == "random",
          "asyncMode: expected early, late or random, found ", mode);
  simt_device().executor().async_mode = mode == "early"  ? AsyncMode::Early
                                        : mode == "late" ? AsyncMode::Late
                                                         : AsyncMode::Random;
}

std::vector<SiteInfo> site_infos() {
  std::vector<SiteInfo> infos;
  for (const SiteEntry& s : sites()) {
    infos.push_back(SiteInfo{s.file, s.line, site_kind_name(s.kind), s.enabled, s.visits});
  }
  return infos;
}

void count_traffic(bool on) { simt_device().executor().count_traffic(on); }

std::vector<KernelTraffic> traffic(bool lines) {
  const Traffic* const counted = simt_device().executor().traffic();
  return counted == nullptr ? std::vector<KernelTraffic>() : counted->report(lines);
}

int64_t launches() { return simt_device().launches(); }

int64_t work() { return simt_device().executor().work(); }

}  // namespace simt
}  // namespace fintune
