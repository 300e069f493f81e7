// Native tensors of the public kernels: memory that JavaScript holds by handle and copies in and out of.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "addon/napi_util.h"
#include "core/device.h"
#include "core/tensor.h"

namespace fintune {
namespace addon {

// Memory of a device, 64-byte aligned and zero, with `margin` poisoned bytes on each side, so that a test can
// see a write beyond a tensor and a read beyond it turns into NaN. A device that watches its own bounds gets
// no margins.
class GuardedMemory {
 public:
  GuardedMemory(std::shared_ptr<Device> device, size_t bytes, size_t margin);
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  void* data() const { return base_ + margin_; }
  Device& device() const { return *device_; }
  bool intact() const;

 private:
  std::shared_ptr<Device> device_;
  char* base_;
  size_t bytes_, margin_, total_;
};

// Up to four dimensions, row-major; rows of the last dimension may be ld elements apart (a view of columns).
class Tensor : public Napi::ObjectWrap<Tensor> {
 public:
  static void Init(Napi::Env env, Napi::Object exports);
  // Throws Argument unless `v` is a live Tensor.
  static Tensor& from(const Napi::Value& v, const std::string& name);

  explicit Tensor(const Napi::CallbackInfo& info);

  DType dtype() const { return dtype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t count() const;
  bool contiguous() const { return shape_.empty() || ld_ == shape_.back(); }
  void* data() const { return data_; }
  Device& device() const { return memory_->device(); }
  // [all dimensions but the last, last].
  View rows() const;
  // [first dimension, all others]; needs contiguous rows unless there are two dimensions.
  View matrix() const;

 private:
  Napi::Value Shape(const Napi::CallbackInfo& info);
  Napi::Value Dtype(const Napi::CallbackInfo& info);
  Napi::Value Columns(const Napi::CallbackInfo& info);
  Napi::Value Slice(const Napi::CallbackInfo& info);
  // Indices [first, first + count) of one dimension, in the same memory.
  Napi::Value part(const Napi::CallbackInfo& info, const char* what, size_t dimension);
  Napi::Value Set(const Napi::CallbackInfo& info);
  Napi::Value ToFloat32Array(const Napi::CallbackInfo& info);
  Napi::Value ToInt32Array(const Napi::CallbackInfo& info);
  Napi::Value ToUint16Array(const Napi::CallbackInfo& info);
  Napi::Value CheckGuards(const Napi::CallbackInfo& info);
  Napi::Value Dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<GuardedMemory> memory_;
  void* data_ = nullptr;
  DType dtype_ = DType::F32;
  std::vector<int64_t> shape_;
  int64_t ld_ = 0;
};

DType parse_dtype(const std::string& name, const std::string& where);

}  // namespace addon
}  // namespace fintune
