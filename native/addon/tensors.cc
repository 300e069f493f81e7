// class Tensor, see tensors.h.
#include "addon/tensors.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "addon/register.h"
#include "addon/state.h"

namespace fintune {
namespace addon {
namespace {

constexpr napi_type_tag kTensorTag = {0x66696e74756e6531ULL, 0x54656e736f723031ULL};
constexpr size_t kAlignment = 64;
constexpr size_t kGuardBytes = 4096;
// As f32, bf16 and f16 a NaN, as i32 -1 (an id that every op refuses).
constexpr int kPoison = 0xFF;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

std::vector<int64_t> to_shape(const Napi::Value& v, const std::string& name) {
  require(v.IsArray(), name, ": expected an array of 1 to 4 sizes, found ", js_type(v));
  Napi::Array array = v.As<Napi::Array>();
  require(array.Length() >= 1 && array.Length() <= 4, name, ": expected 1 to 4 sizes, found ",
          array.Length());
  std::vector<int64_t> shape;
  int64_t count = 1;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const int64_t size = to_integer(array.Get(i), name + "[" + std::to_string(i) + "]");
    require(size >= 0 && size <= (int64_t{1} << 40), name, ": sizes are 0 .. 2^40, found ", size);
    count *= size > 0 ? size : 1;
    require(count <= (int64_t{1} << 40), name, ": too many elements");
    shape.push_back(size);
  }
  return shape;
}

// A view's elements on the host: the memory itself, or a copy of it, which `give_back` returns to the device.
class HostView {
 public:
  HostView(Device& device, const View& v) : device_(device), view_(v) {
    if (device.is_host() || v.count() == 0) return;
    copy_.resize(static_cast<size_t>((v.rows - 1) * v.ld + v.cols) * dtype_size(v.dtype));
    device.download(copy_.data(), v.data, copy_.size());
    view_.data = copy_.data();
    at_ = v.data;
  }
  const View& view() const { return view_; }
  void give_back() const {
    if (at_ != nullptr) device_.upload(at_, copy_.data(), copy_.size());
  }

 private:
  Device& device_;
  View view_;
  std::vector<char> copy_;
  void* at_ = nullptr;
};

// Copies element by element with conversion: dst(i) = convert(src(i)) over rows of the last dimension.
template <typename Fn>
void for_rows(const View& v, Fn&& fn) {
  for (int64_t r = 0; r < v.rows; ++r) fn(r * v.cols, r * v.ld, v.cols);
}

}  // namespace

DType parse_dtype(const std::string& name, const std::string& where) {
  for (DType t : {DType::F32, DType::BF16, DType::F16, DType::I32}) {
    if (name == dtype_name(t)) return t;
  }
  fail(ErrorCode::Argument, where, ": expected f32, bf16, f16 or i32, found ", name);
}

GuardedMemory::GuardedMemory(std::shared_ptr<Device> device, size_t bytes, size_t margin)
    : device_(std::move(device)), bytes_(bytes), margin_(device_->watches_bounds() ? 0 : margin) {
  total_ = device_->watches_bounds() ? bytes : round_up(bytes + 2 * margin_, kAlignment);
  if (device_->is_host()) {  // not the device's own: whole pages for a few numbers
    base_ = static_cast<char*>(std::aligned_alloc(kAlignment, total_ == 0 ? kAlignment : total_));
    if (base_ == nullptr) fail(ErrorCode::OutOfMemory, "no memory for a tensor of ", bytes, " bytes");
  } else {
    base_ = static_cast<char*>(device_->allocate(total_));
  }
  device_->fill(base_, kPoison, margin_);
  device_->fill(base_ + margin_, 0, bytes);
  device_->fill(base_ + margin_ + bytes, kPoison, total_ - margin_ - bytes);
}

GuardedMemory::~GuardedMemory() {
  if (device_->is_host()) {
    std::free(base_);
  } else {
    device_->release(base_, total_);
  }
}

bool GuardedMemory::intact() const {
  std::vector<char> side(margin_);
  for (const char* from : {base_, base_ + margin_ + bytes_}) {
    device_->download(side.data(), from, margin_);
    for (char c : side) {
      if (static_cast<unsigned char>(c) != kPoison) return false;
    }
  }
  return true;
}

void Tensor::Init(Napi::Env env, Napi::Object exports) {
  Napi::Function constructor = DefineClass(env, "Tensor",
                                           {
                                               InstanceAccessor<&Tensor::Shape>("shape"),
                                               InstanceAccessor<&Tensor::Dtype>("dtype"),
                                               InstanceMethod<&Tensor::Columns>("columns"),
                                               InstanceMethod<&Tensor::Slice>("slice"),
                                               InstanceMethod<&Tensor::Set>("set"),
                                               InstanceMethod<&Tensor::ToFloat32Array>("toFloat32Array"),
                                               InstanceMethod<&Tensor::ToInt32Array>("toInt32Array"),
                                               InstanceMethod<&Tensor::ToUint16Array>("toUint16Array"),
                                               InstanceMethod<&Tensor::CheckGuards>("checkGuards"),
                                               InstanceMethod<&Tensor::Dispose>("dispose"),
                                           });
  state(env).tensor_class = Napi::Persistent(constructor);
  exports.Set("Tensor", constructor);
}

void init_tensors(Napi::Env env, Napi::Object exports) { Tensor::Init(env, exports); }

Tensor& Tensor::from(const Napi::Value& v, const std::string& name) {
  require(v.IsObject() && v.As<Napi::Object>().CheckTypeTag(&kTensorTag), name, ": expected a Tensor, found ",
          js_type(v));
  Tensor& t = *Unwrap(v.As<Napi::Object>());
  require(t.memory_ != nullptr, name, ": this tensor has been disposed");
  return t;
}

// new Tensor(dtype, shape, guard = false)
Tensor::Tensor(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Tensor>(info) {
  guard(info.Env(), [&] {
    info.This().As<Napi::Object>().TypeTag(&kTensorTag);
    // columns() and slice() build the object first and fill in the view.
    if (info.Length() == 0) return;
    dtype_ = parse_dtype(to_text(info[0], "dtype"), "dtype");
    shape_ = to_shape(info[1], "shape");
    ld_ = shape_.back();
    const bool guards = info.Length() > 2 && !info[2].IsUndefined() && to_flag(info[2], "guard");
    const State& s = state(info.Env());
    std::shared_ptr<Device> device = s.kernel_backend.device;
    if (!device) device = std::shared_ptr<Device>(&host_device(), [](Device*) {});
    memory_ = std::make_shared<GuardedMemory>(
        std::move(device), static_cast<size_t>(count()) * dtype_size(dtype_), guards ? kGuardBytes : 0);
    data_ = memory_->data();
  });
}

int64_t Tensor::count() const {
  int64_t n = 1;
  for (int64_t size : shape_) n *= size;
  return n;
}

View Tensor::rows() const {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape_.size(); ++i) rows *= shape_[i];
  return View(data_, dtype_, rows, shape_.back(), ld_);
}

View Tensor::matrix() const {
  if (shape_.size() <= 2) return shape_.size() == 2 ? rows() : View(data_, dtype_, shape_[0], 1, 1);
  require(contiguous(), "a tensor of more than two dimensions must be contiguous here");
  int64_t cols = 1;
  for (size_t i = 1; i < shape_.size(); ++i) cols *= shape_[i];
  return View(data_, dtype_, shape_[0], cols, cols);
}

Napi::Value Tensor::Shape(const Napi::CallbackInfo& info) {
  Napi::Array array = Napi::Array::New(info.Env(), shape_.size());
  for (size_t i = 0; i < shape_.size(); ++i)
    array.Set(static_cast<uint32_t>(i), static_cast<double>(shape_[i]));
  return array;
}

Napi::Value Tensor::Dtype(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), dtype_name(dtype_));
}

Napi::Value Tensor::part(const Napi::CallbackInfo& info, const char* what, size_t dimension) {
  return guard(info.Env(), [&]() -> Napi::Value {
    from(info.This(), "this");
    const int64_t first = to_integer(info[0], "first"), n = to_integer(info[1], "count");
    const int64_t size = shape_[dimension];
    require(first >= 0 && n >= 0 && first + n <= size, what, ": expected a range within 0 .. ", size,
            ", found ", first, " + ", n);
    Napi::Object object = state(info.Env()).tensor_class.New({});
    Tensor& view = *Unwrap(object);
    view.memory_ = memory_;
    view.dtype_ = dtype_;
    view.shape_ = shape_;
    view.shape_[dimension] = n;
    view.ld_ = ld_;
    int64_t step = 1;  // elements from one index of the dimension to the next
    for (size_t d = dimension; d + 1 < shape_.size(); ++d)
      step *= d + 2 == shape_.size() ? ld_ : shape_[d + 1];
    view.data_ = static_cast<char*>(data_) + static_cast<size_t>(first * step) * dtype_size(dtype_);
    return object;
  });
}

Napi::Value Tensor::Columns(const Napi::CallbackInfo& info) {
  return part(info, "columns", shape_.size() - 1);
}

Napi::Value Tensor::Slice(const Napi::CallbackInfo& info) { return part(info, "slice", 0); }

// f32, bf16 and f16 take a Float32Array (the latter two round to nearest even), bf16 and f16 also their bits
// as a Uint16Array, i32 an Int32Array.
Napi::Value Tensor::Set(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&]() -> Napi::Value {
    from(info.This(), "this");
    require(info[0].IsTypedArray(), "set: expected a typed array, found ", js_type(info[0]));
    const Napi::TypedArray array = info[0].As<Napi::TypedArray>();
    const int64_t length = static_cast<int64_t>(array.ElementLength());
    require(length == count(), "set: expected ", count(), " elements, found ", length);
    const napi_typedarray_type type = array.TypedArrayType();
    const HostView host(device(), rows());
    const View& v = host.view();
    if (type == napi_float32_array && dtype_ != DType::I32) {
      const float* src = info[0].As<Napi::Float32Array>().Data();
      for_rows(v, [&](int64_t from, int64_t to, int64_t n) {
        if (dtype_ == DType::F32) {
          std::memcpy(v.as<float>() + to, src + from, static_cast<size_t>(n) * 4);
        } else if (dtype_ == DType::BF16) {
          for (int64_t i = 0; i < n; ++i) v.as<bf16>()[to + i] = to_bf16(src[from + i]);
        } else {
          for (int64_t i = 0; i < n; ++i) v.as<f16>()[to + i] = to_f16(src[from + i]);
        }
      });
    } else if (type == napi_uint16_array && dtype_size(dtype_) == 2) {
      const uint16_t* src = info[0].As<Napi::Uint16Array>().Data();
      for_rows(v, [&](int64_t from, int64_t to, int64_t n) {
        std::memcpy(v.as<uint16_t>() + to, src + from, static_cast<size_t>(n) * 2);
      });
    } else if (type == napi_int32_array && dtype_ == DType::I32) {
      const int32_t* src = info[0].As<Napi::Int32Array>().Data();
      for_rows(v, [&](int64_t from, int64_t to, int64_t n) {
        std::memcpy(v.as<int32_t>() + to, src + from, static_cast<size_t>(n) * 4);
      });
    } else {
      fail(ErrorCode::Argument, "set: a tensor of ", dtype_name(dtype_),
           dtype_ == DType::F32   ? " takes a Float32Array"
           : dtype_ == DType::I32 ? " takes an Int32Array"
                                  : " takes a Float32Array, or its bits as a Uint16Array");
    }
    host.give_back();
    return info.This();
  });
}

Napi::Value Tensor::ToFloat32Array(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&]() -> Napi::Value {
    from(info.This(), "this");
    Napi::Float32Array out = Napi::Float32Array::New(info.Env(), static_cast<size_t>(count()));
    float* dst = out.Data();
    const HostView host(device(), rows());
    const View& v = host.view();
    for_rows(v, [&](int64_t to, int64_t from, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        dst[to + i] = dtype_ == DType::F32    ? v.as<float>()[from + i]
                      : dtype_ == DType::BF16 ? to_float(v.as<bf16>()[from + i])
                      : dtype_ == DType::F16  ? to_float(v.as<f16>()[from + i])
                                              : static_cast<float>(v.as<int32_t>()[from + i]);
      }
    });
    return out;
  });
}

Napi::Value Tensor::ToInt32Array(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&]() -> Napi::Value {
    from(info.This(), "this");
    require(dtype_size(dtype_) == 4, "toInt32Array: expected a tensor of i32 or f32 (bits), found ",
            dtype_name(dtype_));
    Napi::Int32Array out = Napi::Int32Array::New(info.Env(), static_cast<size_t>(count()));
    const HostView host(device(), rows());
    const View& v = host.view();
    for_rows(v, [&](int64_t to, int64_t from, int64_t n) {
      std::memcpy(out.Data() + to, v.as<int32_t>() + from, static_cast<size_t>(n) * 4);
    });
    return out;
  });
}

Napi::Value Tensor::ToUint16Array(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&]() -> Napi::Value {
    from(info.This(), "this");
    require(dtype_size(dtype_) == 2, "toUint16Array: expected a tensor of bf16 or f16, found ",
            dtype_name(dtype_));
    Napi::Uint16Array out = Napi::Uint16Array::New(info.Env(), static_cast<size_t>(count()));
    const HostView host(device(), rows());
    const View& v = host.view();
    for_rows(v, [&](int64_t to, int64_t from, int64_t n) {
      std::memcpy(out.Data() + to, v.as<uint16_t>() + from, static_cast<size_t>(n) * 2);
    });
    return out;
  });
}

Napi::Value Tensor::CheckGuards(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&]() -> Napi::Value {
    from(info.This(), "this");
    return Napi::Boolean::New(info.Env(), memory_->intact());
  });
}

Napi::Value Tensor::Dispose(const Napi::CallbackInfo& info) {
  memory_.reset();
  data_ = nullptr;
  return info.Env().Undefined();
}

}  // namespace addon
}  // namespace fintune
