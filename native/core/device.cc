// The host as a device.
#include "core/device.h"

#include <sys/mman.h>

#include <cstring>
#include <vector>

#include "core/error.h"

namespace fintune {
namespace {

class HostDevice : public Device {
 public:
  const std::string& name() const override {
    static const std::string name = "cpu";
    return name;
  }
  bool is_host() const override { return true; }
  void* allocate(size_t bytes) override {
    void* p = mmap(nullptr, bytes == 0 ? 1 : bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) fail(ErrorCode::OutOfMemory, "the system refused a block of ", bytes, " bytes");
    return p;
  }
  void release(void* p, size_t bytes) noexcept override { munmap(p, bytes == 0 ? 1 : bytes); }
  void upload(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void fill(void* to, int byte, size_t bytes) override { std::memset(to, byte, bytes); }
  void synchronize() override {}
};

}  // namespace

void Device::start_timer() {
  synchronize();
  timer_start_ = std::chrono::steady_clock::now();
}

double Device::stop_timer() {
  synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - timer_start_).count();
}

std::unique_ptr<Readback> Device::read_back(const void* from, size_t bytes) {
  class Bytes : public Readback {
   public:
    explicit Bytes(size_t n) : bytes(n) {}
    const void* wait() override { return bytes.data(); }
    std::vector<char> bytes;
  };
  auto read = std::make_unique<Bytes>(bytes);
  download(read->bytes.data(), from, bytes);
  return read;
}

Device& host_device() {
  static HostDevice device;
  return device;
}

}  // namespace fintune
