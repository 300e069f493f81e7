// The CUDA backend's door: the GPUs that the driver shows, and one CudaDevice for each that is open.
#include "cuda/dispatch.h"

#include <map>
#include <memory>
#include <mutex>

#include "core/error.h"
#include "cuda/device.h"
#include "cuda/errors.h"
#include "cuda/gemm_library.h"
#include "cuda/ops.h"

namespace fintune {
namespace cuda {
namespace {

// Number of GPUs; where it is 0, `reason` says why.
int count_gpus(std::string* reason) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  cudaGetLastError();
  *reason = explain(status == cudaSuccess ? cudaErrorNoDevice : status);
  return 0;
}

Gpu describe(int index) {
  Gpu gpu;
  gpu.index = index;
  cudaDeviceProp properties;
  const cudaError_t status = cudaGetDeviceProperties(&properties, index);
  if (status != cudaSuccess) {
    cudaGetLastError();
    gpu.refused = explain(status);
    return gpu;
  }
  gpu.name = properties.name;
  gpu.capability = properties.major * 10 + properties.minor;
  gpu.multiprocessors = properties.multiProcessorCount;
  gpu.memory_total = properties.totalGlobalMem;
  if (!build_serves(gpu.capability)) gpu.refused = why_not_served(gpu.capability);
  return gpu;
}

void measure_memory(Gpu* gpu) {
  cudaError_t status = cudaSetDevice(gpu->index);
  if (status == cudaSuccess) status = cudaMemGetInfo(&gpu->memory_free, &gpu->memory_total);
  if (status == cudaSuccess) return;
  cudaGetLastError();
  gpu->refused =
      status == cudaErrorMemoryAllocation ? "its memory is full: not even a context fits" : explain(status);
}

}  // namespace

Survey survey(bool measure) {
  Survey s;
  if (cudaDriverGetVersion(&s.driver) != cudaSuccess) s.driver = 0;
  const int count = count_gpus(&s.reason);
  bool usable = false;
  for (int i = 0; i < count; ++i) {
    s.gpus.push_back(describe(i));
    Gpu& gpu = s.gpus.back();
    if (measure && gpu.refused.empty()) measure_memory(&gpu);
    usable = usable || gpu.refused.empty();
  }
  if (count > 0 && !usable) s.reason = "no GPU can be used: " + s.gpus[0].refused;
  return s;
}

Products products() {
  try {
    const GemmLibrary used = gemm_library();
    const GemmCounts counts = gemm_counts();
    return {used.name, used.reason, used.passed_over, counts.library, counts.own, counts.first};
  } catch (const Error& e) {
    return {"", e.what(), "", 0, 0, ""};
  }
}

void set_product_libraries(const std::vector<std::string>& files) { set_gemm_library_files(files); }

void start_busy_meter(int index) { static_cast<CudaDevice&>(*backend(index).device).start_busy_meter(); }

Busy stop_busy_meter(int index) {
  const BusyMeter& meter = static_cast<CudaDevice&>(*backend(index).device).stop_busy_meter();
  return {meter.seconds(), meter.spans()};
}

Backend backend(int index) {
  // Never destroyed: when a process ends, the driver may be gone before static objects are.
  static std::mutex& mutex = *new std::mutex;
  static std::map<int, std::unique_ptr<CudaDevice>>& open = *new std::map<int, std::unique_ptr<CudaDevice>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::string reason;
  const int count = count_gpus(&reason);
  if (count == 0) fail(ErrorCode::Device, "cuda:", index, ": ", reason);
  if (index < 0 || index >= count) {
    std::string there;
    for (int i = 0; i < count; ++i) {
      there += (i == 0 ? "cuda:" : ", cuda:") + std::to_string(i) + " (" + describe(i).name + ")";
    }
    fail(ErrorCode::Device, "cuda:", index, ": there is no such GPU; there is ", there);
  }
  std::unique_ptr<CudaDevice>& device = open[index];
  if (!device) {
    device = std::make_unique<CudaDevice>(index);
  } else if (device->lost()) {
    device->reopen();
  }
  return Backend{std::shared_ptr<Device>(device.get(), [](Device*) {}), &table()};
}

}  // namespace cuda
}  // namespace fintune
