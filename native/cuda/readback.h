// Copies from the GPU to the host that the host does not wait for at once: each lands in a pinned block of
// its own, which is kept for the next.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

#include "core/device.h"

namespace fintune {
namespace cuda {

class CudaDevice;

// A block, and what says that its bytes have come.
struct PinnedBlock {
  void* host = nullptr;
  size_t capacity = 0;
  cudaEvent_t landed = nullptr;
};

// Not thread-safe. Blocks that were given back may still be written to by work that is queued: whatever is
// queued later comes after it.
class PinnedBlocks {
 public:
  cudaError_t take(size_t bytes, PinnedBlock* block);
  void give(const PinnedBlock& block) { free_.push_back(block); }
  // After the context is gone, and with it all blocks.
  void forget() { free_.clear(); }

 private:
  std::vector<PinnedBlock> free_;
};

class CudaReadback : public Readback {
 public:
  CudaReadback(CudaDevice& device, const PinnedBlock& block);
  ~CudaReadback() override;
  CudaReadback(const CudaReadback&) = delete;
  CudaReadback& operator=(const CudaReadback&) = delete;
  const void* wait() override;  // throws Device

 private:
  CudaDevice& device_;
  const int generation_;  // of the device's context
  const PinnedBlock block_;
};

}  // namespace cuda
}  // namespace fintune
