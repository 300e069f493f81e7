// Pinned host memory through which uploads and downloads pass: a ring, so that copying into it and the GPU's
// reading overlap, and an upload returns before the GPU has taken it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <deque>
#include <vector>

namespace fintune {
namespace cuda {

// Not thread-safe, and not while a graph is captured on the stream. Functions return the first CUDA error.
class Staging {
 public:
  // The largest piece that take() hands out.
  static constexpr size_t kPiece = size_t{8} << 20;

  // `bytes` (at most kPiece) of pinned memory that nothing reads any more; waits for the oldest pieces where
  // the ring is full. The ring is allocated at the first call.
  cudaError_t take(size_t bytes, void** piece);
  // The piece taken last is free again when everything queued on the stream so far is done.
  cudaError_t give(cudaStream_t stream);
  // After the context is gone, and with it the ring and the events.
  void forget() { *this = Staging(); }

 private:
  struct Piece {
    size_t begin, end;
    cudaEvent_t done;
  };
  static constexpr size_t kRing = 4 * kPiece;

  cudaError_t retire();

  char* ring_ = nullptr;
  size_t begin_ = 0, end_ = 0;  // of the piece taken last
  std::deque<Piece> busy_;      // oldest first
  std::vector<cudaEvent_t> events_;
};

}  // namespace cuda
}  // namespace fintune
