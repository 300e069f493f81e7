// The host side of cuda/launch.h in test builds.
#include "cuda/launch.h"

#include "core/error.h"
#include "simt/device.h"

namespace fintune {
namespace cuda {
namespace {

simt::SimtDevice& device_of(const Exec& exec) {
  auto* device = dynamic_cast<simt::SimtDevice*>(exec.device);
  if (device == nullptr) fail(ErrorCode::Device, "kernels cannot run on ", exec.device->name());
  return *device;
}

}  // namespace

void launch_kernel(Exec& exec, const Launch& launch) {
  simt::KernelRun run;
  run.name = launch.name;
  run.grid = {launch.grid.x, launch.grid.y, launch.grid.z};
  run.threads = launch.threads;
  run.shared_bytes = launch.shared_bytes;
  run.body = [&] { launch.call(launch.kernel, launch.arguments); };
  device_of(exec).launch(run);
}

int capability(const Exec& exec) { return device_of(exec).executor().capability; }

// Few, so that kernels which size their grid by it have several blocks' work in one.
int multiprocessors(const Exec&) { return 4; }

}  // namespace cuda
}  // namespace fintune
