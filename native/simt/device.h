// The device that tests run CUDA kernels on: memory of the host that only kernels, uploads and downloads may
// touch, and the executor.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/device.h"
#include "simt/executor.h"

namespace fintune {
namespace simt {

class SimtDevice : public Device {
 public:
  const std::string& name() const override { return name_; }
  bool is_host() const override { return false; }
  bool watches_bounds() const override { return true; }
  // Ends at most 255 bytes before a page that faults, begins behind another; filled with NaN.
  void* allocate(size_t bytes) override;
  void release(void* p, size_t bytes) noexcept override;
  void upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void fill(void* to, int byte, size_t bytes) override;
  void synchronize() override { refuse_to_wait(); }
  // The work is done at once; a replay does it again piece by piece.
  std::unique_ptr<Recording> record(const std::function<void()>& work) override;
  bool recording() const { return recording_ != nullptr; }
  void keep(std::function<void()> piece) { recording_->push_back(std::move(piece)); }
  size_t memory_total() const override { return limit_; }
  size_t memory_free() override;
  // Allocations beyond `bytes` in all are refused; 0: none are.
  void set_memory(size_t bytes) { limit_ = bytes; }

  // What a launch checks, then Executor::run. One at a time.
  void launch(const KernelRun& run);

  // Kernels started since the process began.
  int64_t launches() const override { return launches_; }
  Executor& executor() { return executor_; }

 private:
  struct Block {
    char* mapping;
    size_t mapped;
    size_t bytes;
  };
  // The block that holds [p, p + bytes) whole; throws Internal where there is none.
  void check(const void* p, size_t bytes, const char* what);

  void refuse_to_wait() const;  // throws Internal within a recording

  std::string name_ = "simt";
  std::vector<std::function<void()>>* recording_ = nullptr;
  std::mutex mutex_;
  std::map<char*, Block> blocks_;
  size_t limit_ = 0;
  Executor executor_;
  int64_t launches_ = 0;
};

SimtDevice& simt_device();

}  // namespace simt
}  // namespace fintune
