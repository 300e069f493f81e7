// The JavaScript class of an open model (NativeModel in src/engine/binding.ts).
#pragma once

#include <napi.h>

#include <memory>

#include "addon/napi_util.h"
#include "model/model.h"

namespace fintune {
namespace addon {

class ModelWrap : public Napi::ObjectWrap<ModelWrap> {
 public:
  static void Init(Napi::Env env);
  // A new JavaScript object that shares the model. A job or trainer holds a share of its own, so that
  // dispose() while it works only takes effect when it ends.
  static Napi::Object wrap(Napi::Env env, std::shared_ptr<Model> model);

  explicit ModelWrap(const Napi::CallbackInfo& info);

 private:
  // Throws Argument after dispose().
  const std::shared_ptr<Model>& model() const;

  template <Napi::Value (ModelWrap::*method)(const Napi::CallbackInfo&)>
  Napi::Value guarded(const Napi::CallbackInfo& info) {
    return guard(info.Env(), [&] { return (this->*method)(info); });
  }

  // model.cc
  Napi::Value AddAdapter(const Napi::CallbackInfo& info);
  Napi::Value PopAdapter(const Napi::CallbackInfo& info);
  Napi::Value AdapterCount(const Napi::CallbackInfo& info);
  Napi::Value Score(const Napi::CallbackInfo& info);
  Napi::Value Parameters(const Napi::CallbackInfo& info);
  Napi::Value MemoryBytes(const Napi::CallbackInfo& info);
  Napi::Value ReleaseMemory(const Napi::CallbackInfo& info);
  Napi::Value Dispose(const Napi::CallbackInfo& info);
  // trainer.cc
  Napi::Value CreateTrainer(const Napi::CallbackInfo& info);
  Napi::Value PlanTraining(const Napi::CallbackInfo& info);
  // generator.cc
  Napi::Value Generate(const Napi::CallbackInfo& info);
  Napi::Value NextTokenDistribution(const Napi::CallbackInfo& info);
  Napi::Value PlanGeneration(const Napi::CallbackInfo& info);

  std::shared_ptr<Model> model_;
};

}  // namespace addon
}  // namespace fintune
