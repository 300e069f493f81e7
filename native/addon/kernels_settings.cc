// Where the public kernels compute: the device, the CPU's instruction set, and the threads.
#include <utility>

#include "addon/devices.h"
#include "addon/kernels.h"
#include "addon/napi_util.h"
#include "addon/state.h"
#include "core/hopper.h"
#include "cpu/dispatch.h"

namespace fintune {
namespace addon {
namespace {

Napi::Value isas(const Napi::CallbackInfo& info) {
  const std::vector<std::string> names = cpu_isas();
  Napi::Array array = Napi::Array::New(info.Env(), names.size());
  for (size_t i = 0; i < names.size(); ++i) array.Set(static_cast<uint32_t>(i), names[i]);
  return array;
}

Napi::Value isa(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), cpu_isa()); }

Napi::Value set_isa(const Napi::CallbackInfo& info) {
  set_cpu_isa(to_text(info[0], "setIsa"));
  return info.Env().Undefined();
}

Napi::Value threads(const Napi::CallbackInfo& info) {
  State& s = state(info.Env());
  if (!s.kernel_threads) s.kernel_threads = std::make_unique<ThreadPool>(0);
  return Napi::Number::New(info.Env(), s.kernel_threads->size());
}

Napi::Value set_threads(const Napi::CallbackInfo& info) {
  const int64_t n = to_integer(info[0], "setThreads");
  require(n >= 0 && n <= 1024, "setThreads: expected 0 (all) .. 1024, found ", n);
  state(info.Env()).kernel_threads = std::make_unique<ThreadPool>(static_cast<int>(n));
  return info.Env().Undefined();
}

Napi::Value hopper_chosen(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), hopper()); }

Napi::Value choose_hopper(const Napi::CallbackInfo& info) {
  set_hopper(to_flag(info[0], "setHopper"));
  return info.Env().Undefined();
}

Napi::Value device(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), kernel_device(state(info.Env())).name());
}

// Where the kernels run and new tensors lie from now on.
Napi::Value set_device(const Napi::CallbackInfo& info) {
  State& s = state(info.Env());
  Backend backend = backend_named(to_text(info[0], "setDevice"));
  s.kernel_arena.reset();
  s.kernel_backend = std::move(backend);
  return info.Env().Undefined();
}

}  // namespace

void export_kernel_settings(Napi::Env env, Napi::Object exports) {
  export_function<device>(env, exports, "device");
  export_function<set_device>(env, exports, "setDevice");
  export_function<isas>(env, exports, "isas");
  export_function<isa>(env, exports, "isa");
  export_function<set_isa>(env, exports, "setIsa");
  export_function<threads>(env, exports, "threads");
  export_function<set_threads>(env, exports, "setThreads");
  export_function<hopper_chosen>(env, exports, "hopper");
  export_function<choose_hopper>(env, exports, "setHopper");
}

}  // namespace addon
}  // namespace fintune
