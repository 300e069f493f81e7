// For how long a GPU has had work: spans from the first piece that is queued on an idle stream to the end of
// the last one before it is idle again, by events in the stream.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace fintune {
namespace cuda {

// Off until it is started. Callers hold the lock of whoever queues. Its own calls never throw: where one
// fails, the next call of the runtime says so.
//
// The time in which the host queues the first piece of a span counts as work: a few microseconds for each
// span, so that the sum is from above, and close where spans are few.
class BusyMeter {
 public:
  // One piece of work; made before it is queued, gone when it is. Without a meter: nothing.
  class Piece {
   public:
    Piece(BusyMeter* meter, cudaStream_t stream) : meter_(meter), stream_(stream) {
      if (meter_ != nullptr) meter_->before(stream_);
    }
    ~Piece() {
      if (meter_ != nullptr) meter_->after(stream_);
    }
    Piece(const Piece&) = delete;
    Piece& operator=(const Piece&) = delete;

   private:
    BusyMeter* const meter_;
    const cudaStream_t stream_;
  };

  void start();
  // Waits for all pieces.
  void stop();
  bool on() const { return on_; }
  // Between the last start and the last stop.
  double seconds() const { return milliseconds_ / 1e3; }
  int64_t spans() const { return spans_; }
  // The context is gone, and the events with it.
  void forget();

 private:
  void before(cudaStream_t stream);
  void after(cudaStream_t stream) { cudaEventRecord(end_, stream); }
  void close_span();

  bool on_ = false, open_ = false;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  double milliseconds_ = 0;
  int64_t spans_ = 0;
};

}  // namespace cuda
}  // namespace fintune
