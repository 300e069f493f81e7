// Buffer: a device's block, cleared.
#include "core/buffer.h"

namespace fintune {

Buffer::Buffer(size_t bytes, Device& device) : device_(&device), bytes_(bytes) {
  if (bytes == 0) return;
  data_ = device.allocate(bytes);
  // A fresh mapping of the host is zero already, and stays untouched until it is used.
  if (!device.is_host()) device.fill(data_, 0, bytes);
}

Buffer::~Buffer() {
  if (data_ != nullptr) device_->release(data_, bytes_);
}

}  // namespace fintune
