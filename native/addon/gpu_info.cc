// gpuInfo: what this build and this machine have of CUDA; setProductLibraries; how long a GPU has work.
#include "addon/napi_util.h"
#include "addon/register.h"
#include "cuda/dispatch.h"

namespace fintune {
namespace addon {
namespace {

Napi::Value text_or_null(Napi::Env env, const std::string& text) {
  return text.empty() ? env.Null() : Napi::Value(Napi::String::New(env, text));
}

Napi::Value build_object(Napi::Env env) {
  const cuda::Build& build = cuda::build();
  if (!build.present) return env.Null();
  Napi::Array architectures = Napi::Array::New(env, build.architectures.size());
  for (size_t i = 0; i < build.architectures.size(); ++i) {
    architectures[static_cast<uint32_t>(i)] = Napi::String::New(env, build.architectures[i]);
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("toolkit", build.toolkit);
  object.Set("architectures", architectures);
  object.Set("ptx", text_or_null(env, build.ptx));
  object.Set("driverFloor", build.driver_floor);
  object.Set("driverFloorBlackwell", build.driver_floor_blackwell);
  return object;
}

Napi::Object gpu_object(Napi::Env env, const cuda::Gpu& gpu) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("index", gpu.index);
  object.Set("name", gpu.name);
  object.Set("capability", gpu.capability);
  object.Set("multiprocessors", gpu.multiprocessors);
  object.Set("memoryTotal", static_cast<double>(gpu.memory_total));
  object.Set("memoryFree", gpu.memory_free == 0
                               ? env.Null()
                               : Napi::Value(Napi::Number::New(env, static_cast<double>(gpu.memory_free))));
  object.Set("refused", text_or_null(env, gpu.refused));
  return object;
}

Napi::Value gpu_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const cuda::Survey survey = cuda::survey(to_flag(info[0], "measure"));
  Napi::Array gpus = Napi::Array::New(env, survey.gpus.size());
  for (size_t i = 0; i < survey.gpus.size(); ++i) {
    gpus[static_cast<uint32_t>(i)] = gpu_object(env, survey.gpus[i]);
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("build", build_object(env));
  object.Set("driver", survey.driver);
  object.Set("gpus", gpus);
  const cuda::Products products = cuda::build().present ? cuda::products() : cuda::Products{};
  object.Set("productLibrary", text_or_null(env, products.library));
  object.Set("whyOwnProducts", text_or_null(env, products.reason));
  object.Set("passedOver", text_or_null(env, products.passed_over));
  object.Set("productsByLibrary", static_cast<double>(products.by_library));
  object.Set("productsNotOffered", static_cast<double>(products.by_own));
  object.Set("firstNotOffered", text_or_null(env, products.first_own));
  object.Set("reason", text_or_null(env, survey.reason));
  return object;
}

Napi::Value set_product_libraries(const Napi::CallbackInfo& info) {
  require(info[0].IsArray(), "files: expected an array of strings, found ", js_type(info[0]));
  const Napi::Array array = info[0].As<Napi::Array>();
  std::vector<std::string> files;
  for (uint32_t i = 0; i < array.Length(); ++i) files.push_back(to_text(array[i], "files"));
  cuda::set_product_libraries(files);
  return info.Env().Undefined();
}

// (index of a GPU)
Napi::Value start_busy_meter(const Napi::CallbackInfo& info) {
  cuda::start_busy_meter(static_cast<int>(to_integer(info[0], "index")));
  return info.Env().Undefined();
}

// {ms, spans}
Napi::Value stop_busy_meter(const Napi::CallbackInfo& info) {
  const cuda::Busy busy = cuda::stop_busy_meter(static_cast<int>(to_integer(info[0], "index")));
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("ms", busy.seconds * 1e3);
  object.Set("spans", static_cast<double>(busy.spans));
  return object;
}

}  // namespace

void init_gpu_info(Napi::Env env, Napi::Object exports) {
  export_function<gpu_info>(env, exports, "gpuInfo");
  export_function<start_busy_meter>(env, exports, "startBusyMeter");
  export_function<stop_busy_meter>(env, exports, "stopBusyMeter");
  export_function<set_product_libraries>(env, exports, "setProductLibraries");
}

}  // namespace addon
}  // namespace fintune
