// Where memory lies and where ops run: the CPU, a CUDA GPU, or the SIMT executor that tests run CUDA kernels
// on.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace fintune {

// Work that was queued once, to be queued again with one call.
class Recording {
 public:
  virtual ~Recording() = default;
  // The same ops on the same addresses, whose content may have changed since; uploads bring the bytes that
  // they brought the first time.
  virtual void replay() = 0;
};

// Bytes on their way from a device to the host.
class Readback {
 public:
  virtual ~Readback() = default;
  // Waits until they have come: valid for as long as this lives.
  virtual const void* wait() = 0;
};

// One device. Ops queue work on it in order; upload, download and fill take their place in that order, so a
// caller sees everything as if it had run at once.
class Device {
 public:
  virtual ~Device() = default;

  virtual const std::string& name() const = 0;  // "cpu", "cuda:0", "simt"
  // True where pointers of this device are the host's own, so that host arrays can be handed to ops as they
  // are. False for everything that upload and download must serve.
  virtual bool is_host() const = 0;
  // True where the device itself sees every access beyond an allocation, and poisons new memory (tests).
  virtual bool watches_bounds() const { return false; }

  // At least 256-byte aligned; content undefined, but for the host, where it is zero and touched lazily.
  // Throws OutOfMemory naming the bytes asked for.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* p, size_t bytes) noexcept = 0;

  // `from` may be overwritten once upload has returned.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  // Waits for all queued work.
  virtual void download(void* to, const void* from, size_t bytes) = 0;
  // Queues a copy to the host. It takes its place in the order, what comes after need not wait for it.
  // Waits at once, unless a device overrides it.
  virtual std::unique_ptr<Readback> read_back(const void* from, size_t bytes);
  virtual void copy(void* to, const void* from, size_t bytes) = 0;  // within the device; no overlap
  virtual void fill(void* to, int byte, size_t bytes) = 0;
  // Waits for all queued work; throws Device where some of it failed.
  virtual void synchronize() = 0;

  // Does the work, which may only queue (no download, no synchronize, no allocation), and returns a recording
  // of it. Null where the device has none to offer: the work is done all the same.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& work) {
    work();
    return nullptr;
  }

  // For benchmarks: stop_timer waits for all queued work and returns the seconds that passed between the two
  // calls' places in the queue. A device with a clock of its own overrides both, so that the time in which
  // the host queues the work does not count. One timer at a time.
  virtual void start_timer();
  virtual double stop_timer();
  // Bytes of the device's own memory, and what may still be allocated of them; 0 for the host, whose memory
  // the operating system shares out.
  virtual size_t memory_total() const { return 0; }
  virtual size_t memory_free() { return 0; }
  // Kernels started since the device was opened; 0 where ops are plain functions.
  virtual int64_t launches() const { return 0; }

 private:
  std::chrono::steady_clock::time_point timer_start_;
};

// The host as a device: memory is an anonymous mapping, touched lazily; copies are memcpy.
Device& host_device();

}  // namespace fintune
