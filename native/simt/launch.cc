// The host side of cuda/launch.h in test builds.
#include "cuda/launch.h"

#include <cstring>
#include <memory>
#include <vector>

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

// As aligned as any kernel's parameters are.
struct alignas(64) Piece {
  char bytes[64];
};

// The arguments, for kernels that are run again when the launch is gone.
std::shared_ptr<std::vector<std::vector<Piece>>> copies_of(const Launch& launch) {
  auto copies = std::make_shared<std::vector<std::vector<Piece>>>();
  for (int i = 0; launch.sizes[i] != 0; ++i) {
    copies->emplace_back(launch.sizes[i] / sizeof(Piece) + 1);
    std::memcpy(copies->back().data(), launch.arguments[i], launch.sizes[i]);
  }
  return copies;
}

}  // namespace

void launch_kernel(Exec& exec, const Launch& launch) {
  simt::KernelRun run;
  run.name = launch.name;
  run.grid = {launch.grid.x, launch.grid.y, launch.grid.z};
  run.threads = launch.threads;
  run.shared_bytes = launch.shared_bytes;
  run.body = [&] { launch.call(launch.kernel, launch.arguments); };
  simt::SimtDevice& device = device_of(exec);
  device.launch(run);
  if (!device.recording()) return;
  run.body = [kept = copies_of(launch), call = launch.call, kernel = launch.kernel]() mutable {
    std::vector<void*> arguments;
    for (std::vector<Piece>& argument : *kept) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    call(kernel, arguments.data());
  };
  device.keep([&device, run] { device.launch(run); });
}

int capability(const Exec& exec) { return device_of(exec).executor().capability; }

// Few, so that kernels which size their grid by it have several blocks' work in one.
int multiprocessors(const Exec&) { return 4; }

}  // namespace cuda
}  // namespace fintune
