// What one JavaScript environment (the main thread, or a Worker) owns for as long as it lives.
#pragma once

#include <napi.h>

#include <memory>

#include "core/arena.h"
#include "core/threads.h"
#include "cpu/dispatch.h"
#include "ops/backend.h"

namespace fintune {
namespace addon {

struct State {
  Napi::FunctionReference tensor_class, model_class, trainer_class, job_class;
  // Of the public kernels only; a model has its own. No device: the CPU.
  Backend kernel_backend;
  std::unique_ptr<ThreadPool> kernel_threads;
  std::unique_ptr<Arena> kernel_arena;
  size_t kernel_arena_bytes = 0;
  bool timing = false;  // between startTimer and stopTimer
};

inline State& state(Napi::Env env) { return *env.GetInstanceData<State>(); }

inline Device& kernel_device(const State& s) {
  return s.kernel_backend.device ? *s.kernel_backend.device : host_device();
}
// The CPU's table changes with its instruction set.
inline const OpTable& kernel_ops(const State& s) {
  return kernel_device(s).is_host() ? cpu_table() : *s.kernel_backend.ops;
}

}  // namespace addon
}  // namespace fintune
