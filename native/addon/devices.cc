// Devices by name.
#include "addon/devices.h"

#include <algorithm>

#include "cpu/dispatch.h"
#include "cuda/dispatch.h"
#include "simt/dispatch.h"

namespace fintune {
namespace addon {

std::vector<DeviceInfo> device_infos() {
  std::vector<DeviceInfo> infos = {{"cpu", "cpu", cpu_has_bf16(), ""}};
  for (const cuda::Gpu& gpu : cuda::survey(false).gpus) {
    if (!gpu.refused.empty()) continue;
    const std::string library = cuda::products().library;
    const std::vector<std::string>& built = cuda::build().architectures;
    const bool hopper = gpu.capability == 90 && std::find(built.begin(), built.end(), "90a") != built.end();
    infos.push_back({"cuda:" + std::to_string(gpu.index), "cuda", gpu.capability >= 80,
                     library.empty() ? "own" : library, hopper});
  }
  if (simt::present())
    infos.push_back({"simt", "simt", simt::capability() >= 80, "", simt::capability() == 90});
  return infos;
}

Backend backend_named(const std::string& name) {
  if (name == "cpu") {
    return Backend{std::shared_ptr<Device>(&host_device(), [](Device*) {}), &cpu_table()};
  }
  if (name == "simt" && simt::present()) return simt::backend();
  for (const DeviceInfo& device : device_infos()) {
    if (device.kind == "cuda" && (device.name == name || name == "cuda")) {
      return cuda::backend(std::stoi(device.name.substr(device.name.find(':') + 1)));
    }
  }
  std::string offered;
  for (const DeviceInfo& d : device_infos()) offered += (offered.empty() ? "" : ", ") + d.name;
  fail(ErrorCode::Device, "device ", name, " is not available here, expected one of: ", offered);
}

}  // namespace addon
}  // namespace fintune
