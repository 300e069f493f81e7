// The map of what the addon exports. src/engine/binding.ts declares the same, one section an area.
#include <napi.h>

#include "addon/register.h"
#include "addon/state.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new fintune::addon::State());
  fintune::addon::init_tensors(env, exports);
  fintune::addon::init_kernels(env, exports);
  fintune::addon::init_jobs(env, exports);
  fintune::addon::init_model(env, exports);
  fintune::addon::init_trainer(env, exports);
  fintune::addon::init_gpu_info(env, exports);
  fintune::addon::init_lock_file(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(fintune, init)
