// Parts of the public kernels that lie in a file of their own.
#pragma once

#include <napi.h>

namespace fintune {
namespace addon {

// kernels_model.cc: preferenceLoss and ropeTables, which the decoder and the trainer use and the ops do not
// know.
void export_model_kernels(Napi::Env env, Napi::Object exports);
// kernels_settings.cc: where the kernels compute: device, instruction set, threads.
void export_kernel_settings(Napi::Env env, Napi::Object exports);
// kernels_simt.cc: the object `simt`, in test builds only.
void export_simt(Napi::Env env, Napi::Object exports);

// kernels_measure.cc: what a benchmark of the ops needs beside them, copyTensor, startTimer, stopTimer and
// launches.
void export_measure_kernels(Napi::Env env, Napi::Object exports);

}  // namespace addon
}  // namespace fintune
