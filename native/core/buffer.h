// Memory of a device that lives as long as its owner: zero-filled, 64-byte aligned.
#pragma once

#include <cstddef>
#include <utility>

#include "core/device.h"

namespace fintune {

class Buffer {
 public:
  Buffer() = default;
  // Throws OutOfMemory naming the bytes asked for. The device must outlive the buffer.
  explicit Buffer(size_t bytes, Device& device = host_device());
  ~Buffer();
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  char* data() const { return static_cast<char*>(data_); }
  float* floats() const { return static_cast<float*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void swap(Buffer& other) {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  Device* device_ = nullptr;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace fintune
