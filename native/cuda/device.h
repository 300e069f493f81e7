// One CUDA GPU as a device: memory, one stream on which everything is queued in order, and its errors.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "core/device.h"
#include "cuda/staging.h"

namespace fintune {
namespace cuda {

// Opened by open_device (dispatch.h) and shared by all that use the GPU. Callable from any thread; work is
// queued on one stream, in the order of the calls.
//
// Errors: one that the context survives (no memory, a launch that the GPU refuses) is thrown once and
// forgotten. After one that it does not (an illegal address, say) every call throws Device, until all owners
// have let go and the device is opened again; what lay in its memory is lost.
class CudaDevice : public Device {
 public:
  explicit CudaDevice(int index);  // throws Device
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  const std::string& name() const override { return name_; }
  bool is_host() const override { return false; }
  void* allocate(size_t bytes) override;
  void release(void* p, size_t bytes) noexcept override;
  void upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void fill(void* to, int byte, size_t bytes) override;
  void synchronize() override;

  int index() const { return index_; }
  int capability() const { return capability_; }  // 75, 80, 86, 89, 90, 100, 120, ...
  int multiprocessors() const { return multiprocessors_; }
  // What one block may have at most, in bytes, once a kernel has been allowed to.
  size_t shared_memory() const { return shared_memory_; }
  cudaStream_t stream() const { return stream_; }
  // True once the context is destroyed; stays valid after the device is gone.
  std::shared_ptr<const std::atomic<bool>> lost() const { return lost_; }

  // Makes this the calling thread's GPU; launches need it. Throws Device where it is lost.
  void use();
  // Throws what `status` stands for, unless it is success; `doing` completes "cuda:0 (name): <doing>: ...".
  void check(cudaError_t status, const char* doing);

 private:
  [[noreturn]] void throw_error(cudaError_t status, const char* doing);

  const int index_;
  std::string name_ = "cuda";   // "cuda:0"
  std::string title_ = "cuda";  // "cuda:0 (NVIDIA H100 80GB HBM3)"
  int capability_ = 0;
  int multiprocessors_ = 0;
  size_t shared_memory_ = 0;
  cudaStream_t stream_ = nullptr;
  const std::shared_ptr<std::atomic<bool>> lost_ = std::make_shared<std::atomic<bool>>(false);
  std::mutex staging_mutex_;
  Staging staging_;
};

}  // namespace cuda
}  // namespace fintune
