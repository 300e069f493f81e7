// Arguments of the engine's calls, from their JavaScript form (src/engine/binding.ts) to the native one.
#pragma once

#include <napi.h>

#include <vector>

#include "addon/napi_util.h"
#include "model/model.h"
#include "train/trainer.h"

namespace fintune {
namespace addon {

ModelConfig parse_config(const Napi::Value& v);
// config, compute, threads, trainable of a NativeModelInit.
ModelOptions parse_model_options(const Napi::Value& v);
TrainerOptions parse_trainer_options(const Napi::Value& v);
Objective parse_objective(const Napi::Value& v);
std::vector<MicroBatch> parse_micro_batches(const Napi::Value& v);

// A copy of a typed array.
std::vector<int32_t> int_vector(const Napi::Value& v, const std::string& name);

Napi::Object memory_plan_object(Napi::Env env, const MemoryPlan& plan);
Napi::Array shape_array(Napi::Env env, const std::vector<int64_t>& shape);
// {name, shape, data}: a copy of the elements of a view of the device's memory, widened to float.
Napi::Object parameter_object(Napi::Env env, const std::string& name, const std::vector<int64_t>& shape,
                              Device& device, const View& view);

}  // namespace addon
}  // namespace fintune
