// One CUDA GPU as a device: memory, one stream on which everything is queued in order, and its errors.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <mutex>
#include <string>
#include <unordered_map>

#include "core/device.h"
#include "cuda/busy.h"
#include "cuda/graph.h"
#include "cuda/launch.h"
#include "cuda/readback.h"
#include "cuda/staging.h"

namespace fintune {
namespace cuda {

// Made by backend (dispatch.h) and shared by all that use the GPU. Callable from any thread; work is
// queued on one stream, in the order of the calls.
//
// Errors: one that the context survives (no memory, a launch that the GPU refuses) is thrown once and
// forgotten. After one that it does not (an illegal address, say) the device is lost: every call throws
// Device, until all that lies in its memory has been released and the device is opened again.
class CudaDevice : public Device {
 public:
  explicit CudaDevice(int index);  // throws Device
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  const std::string& name() const override { return name_; }
  bool is_host() const override { return false; }
  void* allocate(size_t bytes) override;
  void release(void* p, size_t bytes) noexcept override;
  void upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes) override;
  std::unique_ptr<Readback> read_back(const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void fill(void* to, int byte, size_t bytes) override;
  void synchronize() override;
  // As a CUDA graph. Other threads' work waits meanwhile.
  std::unique_ptr<Recording> record(const std::function<void()>& work) override;
  size_t memory_total() const override { return memory_total_; }
  size_t memory_free() override;
  // By events in the stream.
  void start_timer() override;
  double stop_timer() override;

  // Queues a kernel; see launch_kernel in launch.h.
  void launch(const Launch& launch);
  void count_launch();                                     // of a kernel, by launch() or by a library
  int64_t launches() const override { return launches_; }  // since the process began
  void count_launches(int64_t n) { launches_ += n; }

  void give_back(const PinnedBlock& block);  // of a read-back that has ended

  // For how long the GPU has work, from the call of one to that of the other, which waits for it.
  void start_busy_meter();
  const BusyMeter& stop_busy_meter();
  // Around whatever is queued on stream(), where it is metered.
  BusyMeter* meter() { return busy_.on() && recording_ == nullptr ? &busy_ : nullptr; }

  int index() const { return index_; }
  int capability() const { return capability_; }  // 75, 80, 86, 89, 90, 100, 120, ...
  int multiprocessors() const { return multiprocessors_; }
  cudaStream_t stream() const { return stream_; }
  // Makes this the calling thread's GPU, as every use of the runtime on it needs. Throws Device where it is
  // lost.
  void use();
  // Throws what `status` stands for, unless it is success; `doing` completes "cuda:0 (name): <doing>: ...".
  void check(cudaError_t status, const char* doing);

  bool lost() const { return lost_; }
  // Of a lost device: a new context. Throws Device while memory of the old one is still held.
  void reopen();
  // How often it was reopened: what was made in an older context (a handle of a library) is gone with it.
  int generation() const { return generation_; }

 private:
  void open_stream();
  void refuse_to_wait() const;  // throws Internal within a recording
  [[noreturn]] void throw_error(cudaError_t status, const std::string& doing);

  const int index_;
  std::string name_;   // "cuda:0"
  std::string title_;  // "cuda:0 (NVIDIA H100 80GB HBM3)"
  int capability_ = 0;
  int multiprocessors_ = 0;
  size_t memory_total_ = 0;
  cudaStream_t stream_ = nullptr;
  std::atomic<bool> lost_{false};
  std::atomic<int> generation_{0};
  std::atomic<int64_t> blocks_{0};  // allocated and not released
  std::atomic<int64_t> launches_{0};
  cudaEvent_t timer_start_ = nullptr, timer_stop_ = nullptr;  // made when they are first needed
  // Held by whoever queues. Recursive: what is recorded queues as well.
  std::recursive_mutex mutex_;
  Staging staging_;
  BusyMeter busy_;
  PinnedBlocks pinned_;
  Graph* recording_ = nullptr;                             // what is queued goes into it
  std::unordered_map<const void*, size_t> shared_limits_;  // a kernel's, where it was raised
};

// The GPU that ops of this Exec run on.
inline CudaDevice& device_of(const Exec& exec) { return static_cast<CudaDevice&>(*exec.device); }

}  // namespace cuda
}  // namespace fintune
