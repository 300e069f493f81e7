// A part of the queue that can be queued again with one call: a CUDA graph, captured from the stream.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <vector>

#include "core/device.h"

namespace fintune {
namespace cuda {

class CudaDevice;

class Graph : public Recording {
 public:
  explicit Graph(CudaDevice& device);
  ~Graph() override;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Captures what `work` queues, without doing it. False, with nothing captured, where CUDA refuses to; what
  // work throws is passed on.
  bool capture(const std::function<void()>& work);
  void replay() override;

  // While work runs: pinned memory that keeps the bytes of an upload for every replay.
  cudaError_t keep(const void* from, size_t bytes, void** kept);
  void count_launch() { ++launches_; }

 private:
  CudaDevice& device_;
  const int generation_;  // of the device's context
  cudaGraphExec_t executable_ = nullptr;
  std::vector<void*> kept_;
  int64_t launches_ = 0;
};

}  // namespace cuda
}  // namespace fintune
