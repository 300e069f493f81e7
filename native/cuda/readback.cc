// Read-backs and their blocks.
#include "cuda/readback.h"

#include <algorithm>

#include "core/error.h"
#include "cuda/device.h"

namespace fintune {
namespace cuda {

cudaError_t PinnedBlocks::take(size_t bytes, PinnedBlock* block) {
  const auto found = std::find_if(free_.begin(), free_.end(),
                                  [&](const PinnedBlock& free) { return free.capacity >= bytes; });
  if (found != free_.end()) {
    *block = *found;
    free_.erase(found);
    return cudaSuccess;
  }
  PinnedBlock made;
  made.capacity = std::max<size_t>(bytes, 1);
  cudaError_t status = cudaHostAlloc(&made.host, made.capacity, cudaHostAllocDefault);
  if (status != cudaSuccess) return status;
  status = cudaEventCreateWithFlags(&made.landed, cudaEventDisableTiming);
  if (status != cudaSuccess) {
    cudaFreeHost(made.host);
    return status;
  }
  *block = made;
  return cudaSuccess;
}

CudaReadback::CudaReadback(CudaDevice& device, const PinnedBlock& block)
    : device_(device), generation_(device.generation()), block_(block) {}

CudaReadback::~CudaReadback() {
  if (!device_.lost() && device_.generation() == generation_) device_.give_back(block_);
}

const void* CudaReadback::wait() {
  device_.use();
  require(device_.generation() == generation_, "bytes of a device that was lost since never come");
  device_.check(cudaEventSynchronize(block_.landed), "waiting for it");
  return block_.host;
}

}  // namespace cuda
}  // namespace fintune
