// Staging: pieces lie one behind the other in the ring, each followed by an event on the stream.
#include "cuda/staging.h"

namespace fintune {
namespace cuda {

cudaError_t Staging::take(size_t bytes, void** piece) {
  if (ring_ == nullptr) {
    const cudaError_t status = cudaHostAlloc(reinterpret_cast<void**>(&ring_), kRing, cudaHostAllocDefault);
    if (status != cudaSuccess) {
      ring_ = nullptr;
      return status;
    }
  }
  bytes = (bytes + 255) / 256 * 256;
  begin_ = end_ + bytes <= kRing ? end_ : 0;
  end_ = begin_ + bytes;
  // Pieces retire in order, so those that overlap come off the front; what lies before them goes with them.
  const auto overlaps = [&] {
    for (const Piece& p : busy_) {
      if (p.begin < end_ && begin_ < p.end) return true;
    }
    return false;
  };
  while (overlaps()) {
    const cudaError_t status = retire();
    if (status != cudaSuccess) return status;
  }
  *piece = ring_ + begin_;
  return cudaSuccess;
}

cudaError_t Staging::give(cudaStream_t stream) {
  cudaEvent_t done;
  if (events_.empty()) {
    const cudaError_t status = cudaEventCreateWithFlags(&done, cudaEventDisableTiming);
    if (status != cudaSuccess) return status;
  } else {
    done = events_.back();
    events_.pop_back();
  }
  busy_.push_back({begin_, end_, done});
  return cudaEventRecord(done, stream);
}

cudaError_t Staging::retire() {
  const Piece piece = busy_.front();
  const cudaError_t status = cudaEventSynchronize(piece.done);
  if (status != cudaSuccess) return status;
  busy_.pop_front();
  events_.push_back(piece.done);
  return cudaSuccess;
}

}  // namespace cuda
}  // namespace fintune
