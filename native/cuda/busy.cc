// A span is open from its first piece on; it is closed when a piece finds the stream idle, or at the end.
#include "cuda/busy.h"

namespace fintune {
namespace cuda {

void BusyMeter::start() {
  if (begin_ == nullptr &&
      (cudaEventCreate(&begin_) != cudaSuccess || cudaEventCreate(&end_) != cudaSuccess)) {
    forget();
    return;
  }
  on_ = true;
  open_ = false;
  milliseconds_ = 0;
  spans_ = 0;
}

void BusyMeter::stop() {
  if (open_ && cudaEventSynchronize(end_) == cudaSuccess) close_span();
  on_ = open_ = false;
}

void BusyMeter::forget() {
  on_ = open_ = false;
  begin_ = end_ = nullptr;
}

void BusyMeter::before(cudaStream_t stream) {
  if (open_) {
    if (cudaStreamQuery(stream) != cudaSuccess) return;
    close_span();
  }
  open_ = true;
  cudaEventRecord(begin_, stream);
}

void BusyMeter::close_span() {
  float milliseconds = 0;
  if (cudaEventElapsedTime(&milliseconds, begin_, end_) != cudaSuccess) return;
  milliseconds_ += static_cast<double>(milliseconds);
  ++spans_;
}

}  // namespace cuda
}  // namespace fintune
