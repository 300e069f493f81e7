// The host side of launch.h on a GPU.
#include "cuda/launch.h"

#include <cuda_runtime_api.h>

#include <string>

#include "core/error.h"
#include "cuda/device.h"

namespace fintune {
namespace cuda {
namespace {

// What a kernel may have without asking.
constexpr size_t kSharedDefault = 48 * 1024;

CudaDevice& device_of(const Exec& exec) {
  auto* device = dynamic_cast<CudaDevice*>(exec.device);
  if (device == nullptr) fail(ErrorCode::Device, "kernels cannot run on ", exec.device->name());
  return *device;
}

}  // namespace

void launch_kernel(Exec& exec, const Launch& launch) {
  CudaDevice& device = device_of(exec);
  device.use();
  const std::string doing = std::string("launching ") + launch.name;
  if (launch.shared_bytes > kSharedDefault) {
    device.check(cudaFuncSetAttribute(launch.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(launch.shared_bytes)),
                 doing.c_str());
  }
  const dim3 grid(static_cast<unsigned>(launch.grid.x), static_cast<unsigned>(launch.grid.y),
                  static_cast<unsigned>(launch.grid.z));
  device.check(cudaLaunchKernel(launch.kernel, grid, dim3(static_cast<unsigned>(launch.threads)),
                                launch.arguments, launch.shared_bytes, device.stream()),
               doing.c_str());
}

int capability(const Exec& exec) { return device_of(exec).capability(); }

int multiprocessors(const Exec& exec) { return device_of(exec).multiprocessors(); }

}  // namespace cuda
}  // namespace fintune
