// Sentences for CUDA's errors, and what this build was compiled for.
#include "cuda/errors.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "cuda/attention.cuh"
#include "cuda/dispatch.h"

#if CUDART_VERSION < 12000
#error "CUDA 12.0 or newer is needed"
#endif

namespace fintune {
namespace cuda {
namespace {

std::string cuda_version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

std::string explain_driver() {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  if (driver == 0) return "no NVIDIA driver was found (its library libcuda.so.1 is missing or does not load)";
  return "the NVIDIA driver knows CUDA " + cuda_version(driver) + ", and this build needs CUDA " +
         build().toolkit + ": install driver " + build().driver_floor +
         " or newer, or build fintune with an older toolkit (12.8 is the oldest that knows all GPUs)";
}

// The driver can run it: on every GPU of the same major version and no lower minor one; with the suffix a
// only on that very one.
bool code_runs(const std::string& architecture, int capability) {
  const int number = std::atoi(architecture.c_str());
  if (architecture.back() == 'a') return number == capability;
  return number / 10 == capability / 10 && number <= capability;
}

}  // namespace

const Build& build() {
  static const Build here = [] {
    Build b;
    b.present = true;
    b.toolkit = cuda_version(CUDART_VERSION);
    std::istringstream list(FINTUNE_CUDA_ARCHITECTURES);
    for (std::string a; list >> a;) b.architectures.push_back(a);
    b.ptx = FINTUNE_CUDA_PTX;
    b.driver_floor = CUDART_VERSION >= 13000 ? "580" : "525";
    b.driver_floor_blackwell = CUDART_VERSION >= 13000 ? "580" : "570";
    return b;
  }();
  return here;
}

bool build_serves(int capability) {
  int taken = 0;
  for (const std::string& a : build().architectures) {
    if (code_runs(a, capability)) taken = std::max(taken, std::atoi(a.c_str()));
  }
  const int ptx = std::atoi(build().ptx.c_str());
  if (taken == 0 && ptx <= capability) taken = ptx;
  return taken != 0 && attention::tile_family(taken) == attention::tile_family(capability);
}

std::string why_not_served(int capability) {
  std::ostringstream text;
  text << "compute capability " << capability / 10 << "." << capability % 10
       << ", and this build has code for sm_";
  for (const std::string& a : build().architectures)
    text << (&a == &build().architectures[0] ? "" : ", ") << a;
  if (capability < 75) {
    text << ": 7.5 is the oldest that fintune supports";
  } else {
    text << ": build it with FINTUNE_CUDA_ARCHITECTURES=" << capability;
  }
  return text.str();
}

std::string explain(cudaError_t status) {
  switch (status) {
    case cudaErrorInsufficientDriver:
      return explain_driver();
    case cudaErrorNoDevice: {
      const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
      if (visible == nullptr) return "the NVIDIA driver finds no GPU";
      return std::string("the NVIDIA driver offers no GPU: CUDA_VISIBLE_DEVICES is \"") + visible + "\"";
    }
    case cudaErrorStubLibrary:
      return "libcuda.so.1 is the stub of a toolkit, not the driver's: take its folder out of "
             "LD_LIBRARY_PATH";
    case cudaErrorSystemDriverMismatch:
      return "the NVIDIA driver's library and its kernel module differ in version: reboot after the driver's "
             "update";
    case cudaErrorCompatNotSupportedOnDevice:
      return "CUDA's compatibility library does not serve this GPU: take its folder out of LD_LIBRARY_PATH";
    case cudaErrorSystemNotReady:
      return "the GPU system is not ready (on machines with NVSwitch the service nvidia-fabricmanager must "
             "run)";
    case cudaErrorDevicesUnavailable:
      return "the GPU is busy: another process has it for itself (exclusive mode)";
    case cudaErrorMpsConnectionFailed:
    case cudaErrorMpsServerNotReady:
      return "the MPS server of this machine does not answer";
    case cudaErrorInitializationError:
    case cudaErrorOperatingSystem:
      return "the NVIDIA driver cannot be initialised (in a container: was it started with access to the "
             "GPU?)";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorJitCompilerNotFound:
      return std::string("this build has no code for the GPU (") + cudaGetErrorName(status) +
             "): build it with FINTUNE_CUDA_ARCHITECTURES naming the GPU's compute capability";
    case cudaErrorECCUncorrectable:
      return "the GPU found an uncorrectable memory error: it may need a reset or a repair";
    default:
      return std::string(cudaGetErrorString(status)) + " (" + cudaGetErrorName(status) + ")";
  }
}

}  // namespace cuda
}  // namespace fintune
