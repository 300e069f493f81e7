// What a benchmark of the ops needs beside them: a plain copy to compare with, a timer that knows the
// device's queue, and the number of kernels started.
#include <algorithm>
#include <cstring>
#include <memory>

#include "addon/kernels.h"
#include "addon/napi_util.h"
#include "addon/state.h"
#include "addon/tensors.h"
#include "core/device.h"

namespace fintune {
namespace addon {
namespace {

constexpr int64_t kBlock = int64_t{1} << 20;

// {from, to}: all of a contiguous tensor into another of the same size and type, on all threads.
Napi::Value copy_tensor(const Napi::CallbackInfo& info) {
  const Options o(info[0], "copyTensor");
  const Tensor& from = Tensor::from(o.get("from"), o.path("from"));
  const Tensor& to = Tensor::from(o.get("to"), o.path("to"));
  require(from.contiguous() && to.contiguous() && from.dtype() == to.dtype() && from.count() == to.count(),
          "copyTensor: expected two contiguous tensors of one type and size, found ", from.count(), " of ",
          dtype_name(from.dtype()), " and ", to.count(), " of ", dtype_name(to.dtype()));
  State& s = state(info.Env());
  Device& device = kernel_device(s);
  require(&from.device() == &device && &to.device() == &device, "copyTensor: expected tensors on ",
          device.name(), ", found them on ", from.device().name(), " and ", to.device().name());
  const int64_t bytes = from.count() * static_cast<int64_t>(dtype_size(from.dtype()));
  const char* source = static_cast<const char*>(from.data());
  char* target = static_cast<char*>(to.data());
  if (!device.is_host()) {
    device.copy(target, source, static_cast<size_t>(bytes));
    return info.Env().Undefined();
  }
  if (!s.kernel_threads) s.kernel_threads = std::make_unique<ThreadPool>(0);
  s.kernel_threads->parallel_for((bytes + kBlock - 1) / kBlock, [&](int64_t task, int) {
    const int64_t first = task * kBlock;
    std::memcpy(target + first, source + first, static_cast<size_t>(std::min(kBlock, bytes - first)));
  });
  return info.Env().Undefined();
}

Napi::Value start_timer(const Napi::CallbackInfo& info) {
  State& s = state(info.Env());
  kernel_device(s).start_timer();
  s.timing = true;
  return info.Env().Undefined();
}

// Milliseconds.
Napi::Value stop_timer(const Napi::CallbackInfo& info) {
  State& s = state(info.Env());
  s.timing = false;
  return Napi::Number::New(info.Env(), kernel_device(s).stop_timer() * 1e3);
}

Napi::Value launches(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(kernel_device(state(info.Env())).launches()));
}

}  // namespace

void export_measure_kernels(Napi::Env env, Napi::Object exports) {
  export_function<copy_tensor>(env, exports, "copyTensor");
  export_function<start_timer>(env, exports, "startTimer");
  export_function<stop_timer>(env, exports, "stopTimer");
  export_function<launches>(env, exports, "launches");
}

}  // namespace addon
}  // namespace fintune
