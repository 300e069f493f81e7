// Devices by name.
#include "addon/devices.h"

#include "cpu/dispatch.h"

namespace fintune {
namespace addon {

std::vector<DeviceInfo> device_infos() { return {{"cpu", "cpu", cpu_has_bf16()}}; }

Backend backend_named(const std::string& name) {
  if (name == "cpu") {
    return Backend{std::shared_ptr<Device>(&host_device(), [](Device*) {}), &cpu_table()};
  }
  std::string offered;
  for (const DeviceInfo& d : device_infos()) offered += (offered.empty() ? "" : ", ") + d.name;
  fail(ErrorCode::Device, "device ", name, " is not available here, expected one of: ", offered);
}

}  // namespace addon
}  // namespace fintune
