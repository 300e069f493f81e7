// Memory of the SIMT device and its launches.
#include "simt/device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "core/error.h"
#include "simt/detector.h"

namespace fintune {
namespace simt {
namespace {

constexpr size_t kAlignment = 256;
// As f32, bf16 and f16 a NaN, as i32 -1.
constexpr int kPoison = 0xFF;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
size_t page_size() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

// Bytes of shared memory that a block may have, by compute capability (CUDA C++ Programming Guide, "Technical
// Specifications per Compute Capability").
size_t shared_limit(int capability) {
  switch (capability) {
    case 75:
      return 64 * 1024;
    case 80:
      return 163 * 1024;
    case 86:
    case 89:
    case 120:
      return 99 * 1024;
    default:
      return 227 * 1024;
  }
}

}  // namespace

size_t SimtDevice::memory_free() {
  const std::lock_guard<std::mutex> lock(mutex_);
  size_t held = 0;
  for (const auto& [p, block] : blocks_) held += block.bytes;
  return limit_ > held ? limit_ - held : 0;
}

void* SimtDevice::allocate(size_t bytes) {
  if (limit_ != 0 && bytes > memory_free()) {
    fail(ErrorCode::OutOfMemory, "simt: no block of ", bytes, " bytes is free: ", memory_free(),
         " bytes are, of ", limit_);
  }
  const size_t page = page_size();
  const size_t inner = round_up(bytes == 0 ? 1 : bytes, page);
  const size_t mapped = inner + 2 * page;
  void* m = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (m == MAP_FAILED) fail(ErrorCode::OutOfMemory, "the system refused a block of ", bytes, " bytes");
  char* mapping = static_cast<char*>(m);
  mprotect(mapping, page, PROT_NONE);
  mprotect(mapping + page + inner, page, PROT_NONE);
  std::memset(mapping + page, kPoison, inner);
  char* p = mapping + page + inner - round_up(bytes, kAlignment);
  const std::lock_guard<std::mutex> lock(mutex_);
  blocks_[p] = Block{mapping, mapped, bytes};
  executor_.detector().add_buffer(p, bytes);
  return p;
}

void SimtDevice::release(void* p, size_t) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = blocks_.find(static_cast<char*>(p));
  if (found == blocks_.end()) return;
  executor_.detector().remove_buffer(p);
  munmap(found->second.mapping, found->second.mapped);
  blocks_.erase(found);
}

void SimtDevice::check(const void* p, size_t bytes, const char* what) {
  if (bytes == 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  char* at = const_cast<char*>(static_cast<const char*>(p));
  auto found = blocks_.upper_bound(at);
  if (found == blocks_.begin() || at + bytes > (--found)->first + found->second.bytes) {
    fail(ErrorCode::Internal, what, " of ", bytes, " bytes beyond the memory of the device");
  }
}

void SimtDevice::upload(void* to, const void* from, size_t bytes) {
  check(to, bytes, "upload");
  std::memcpy(to, from, bytes);
  if (!recording()) return;
  const char* const first = static_cast<const char*>(from);
  keep([this, to, kept = std::vector<char>(first, first + bytes)] { upload(to, kept.data(), kept.size()); });
}

void SimtDevice::download(void* to, const void* from, size_t bytes) {
  refuse_to_wait();
  check(from, bytes, "download");
  std::memcpy(to, from, bytes);
}

void SimtDevice::copy(void* to, const void* from, size_t bytes) {
  check(to, bytes, "copy to a block");
  check(from, bytes, "copy from a block");
  std::memcpy(to, from, bytes);
  if (recording()) keep([this, to, from, bytes] { copy(to, from, bytes); });
}

void SimtDevice::fill(void* to, int byte, size_t bytes) {
  check(to, bytes, "fill");
  std::memset(to, byte, bytes);
  if (recording()) keep([this, to, byte, bytes] { fill(to, byte, bytes); });
}

void SimtDevice::refuse_to_wait() const {
  if (recording_ != nullptr) fail(ErrorCode::Internal, "simt: what is recorded waits for the device");
}

std::unique_ptr<Recording> SimtDevice::record(const std::function<void()>& work) {
  if (recording_ != nullptr) fail(ErrorCode::Internal, "simt: a recording within a recording");
  class Pieces : public Recording {
   public:
    void replay() override {
      for (const std::function<void()>& piece : pieces) piece();
    }
    std::vector<std::function<void()>> pieces;
  };
  auto made = std::make_unique<Pieces>();
  recording_ = &made->pieces;
  try {
    work();
  } catch (...) {
    recording_ = nullptr;
    throw;
  }
  recording_ = nullptr;
  return made;
}

void SimtDevice::launch(const KernelRun& run) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int capability = executor_.capability;
  const auto refuse = [&](auto&&... parts) {
    fail(ErrorCode::Device, "kernel ", run.name, " cannot be launched: ", parts...);
  };
  if (run.threads <= 0 || run.threads > kLanes * kMaxWarps || run.threads % kLanes != 0) {
    refuse("expected 32 .. 1024 threads in whole warps, found ", run.threads);
  }
  if (run.grid.x < 0 || run.grid.y < 0 || run.grid.z < 0 || run.grid.y > 65535 || run.grid.z > 65535) {
    refuse("a grid of ", run.grid.x, " x ", run.grid.y, " x ", run.grid.z,
           ", of which y and z are at most 65535");
  }
  if (run.shared_bytes > shared_limit(capability)) {
    refuse(run.shared_bytes, " bytes of shared memory, sm_", capability, " has ", shared_limit(capability));
  }
  ++launches_;
  executor_.run(run);
}

SimtDevice& simt_device() {
  static SimtDevice& device = *new SimtDevice;  // for good: tensors may outlive static objects
  return device;
}

}  // namespace simt
}  // namespace fintune
