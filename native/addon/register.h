// One function per area of the addon; addon.cc calls them. An area's file defines its function and exports
// everything it offers with export_function (napi_util.h) or a class's own Init.
#pragma once

#include <napi.h>

namespace fintune {
namespace addon {

void init_tensors(Napi::Env env, Napi::Object exports);  // tensors.cc: class Tensor
void init_kernels(Napi::Env env,
                  Napi::Object exports);  // kernels.cc: one function an op, isas, setIsa, setThreads
void init_jobs(Napi::Env env, Napi::Object exports);  // jobs.cc: createJob
void init_model(Napi::Env env,
                Napi::Object exports);  // model.cc: openModel, planModel, cpuInfo, class NativeModel
void init_gpu_info(Napi::Env env, Napi::Object exports);   // gpu_info.cc: gpuInfo, ...
void init_trainer(Napi::Env env, Napi::Object exports);    // trainer.cc: class NativeTrainer
void init_lock_file(Napi::Env env, Napi::Object exports);  // lock_file.cc: lockFile

}  // namespace addon
}  // namespace fintune
