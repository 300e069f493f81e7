// The arguments of one public kernel, read by name, and how it is run.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "addon/napi_util.h"
#include "addon/state.h"
#include "addon/tensors.h"

namespace fintune {
namespace addon {

// The arguments of one kernel.
class Call : public Options {
 public:
  Call(const Napi::CallbackInfo& info, const char* name) : Options(info[0], name), env_(info.Env()) {}

  // Optional tensors give an empty view or a null pointer.
  View rows(const char* name) const { return tensor(name).rows(); }
  View rows_or_none(const char* name) const { return has(name) ? rows(name) : View(); }
  View matrix(const char* name) const { return tensor(name).matrix(); }
  View matrix_or_none(const char* name) const { return has(name) ? matrix(name) : View(); }
  float* floats(const char* name, int64_t n) const { return vector<float>(name, DType::F32, n); }
  float* floats_or_none(const char* name, int64_t n) const { return has(name) ? floats(name, n) : nullptr; }
  int32_t* ints(const char* name, int64_t n) const { return vector<int32_t>(name, DType::I32, n); }
  int64_t length(const char* name) const { return tensor(name).count(); }
  Tensor& tensor(const char* name) const { return tensor(get(name), path(name)); }
  // Must lie where the kernels run.
  Tensor& tensor(const Napi::Value& v, const std::string& name) const {
    Tensor& t = Tensor::from(v, name);
    require(&t.device() == &device(), name, ": lies on ", t.device().name(), ", the kernels run on ",
            device().name());
    return t;
  }
  // A list of tensors.
  std::vector<Tensor*> tensors(const char* name) const {
    const Napi::Value v = get(name);
    require(v.IsArray(), path(name), ": expected an array of tensors, found ", js_type(v));
    std::vector<Tensor*> list;
    const Napi::Array array = v.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); ++i) {
      list.push_back(&tensor(array.Get(i), path(name) + "[" + std::to_string(i) + "]"));
    }
    return list;
  }
  DType compute() const {
    return has("compute") ? parse_dtype(text("compute"), path("compute")) : DType::F32;
  }

  // Contiguous i32 values, copied to the host.
  std::vector<int32_t> host_ints(const char* name, int64_t n) const {
    std::vector<int32_t> values(static_cast<size_t>(n));
    device().download(values.data(), ints(name, n), values.size() * sizeof(int32_t));
    return values;
  }

  // Runs the op twice: once dry, to learn what workspace it takes, then on an arena of at least that size.
  template <typename Op>
  void run(void (*OpTable::*member)(Exec&, const Op&), const Op& arguments) const {
    State& s = state(env_);
    void (*op)(Exec&, const Op&) = kernel_ops(s).*member;
    if (!s.kernel_threads) s.kernel_threads = std::make_unique<ThreadPool>(0);
    Exec exec;
    exec.device = &device();
    exec.threads = s.kernel_threads.get();
    exec.rowwise = flag("rowwise", false);
    exec.compute = compute();
    Arena measure(device());
    measure.measure();
    exec.arena = &measure;
    exec.dry = true;
    op(exec, arguments);
    // A device that watches its memory gives a new block for each call, poisoned and of just the size.
    if (!s.kernel_arena || s.kernel_arena_bytes < measure.peak() || device().watches_bounds()) {
      s.kernel_arena = std::make_unique<Arena>(device());
      s.kernel_arena_bytes = 0;
      s.kernel_arena->reserve(measure.peak());
      s.kernel_arena_bytes = measure.peak();
    }
    exec.arena = s.kernel_arena.get();
    exec.dry = false;
    op(exec, arguments);
    // A timer measures what the device does, not how long it waits for the host in between.
    if (!s.timing) device().synchronize();
  }

 private:
  template <typename T>
  T* vector(const char* name, DType dtype, int64_t n) const {
    Tensor& t = tensor(name);
    require(t.dtype() == dtype && t.contiguous() && t.count() == n, path(name), ": expected ", n,
            " contiguous ", dtype_name(dtype), " values, found ", t.count(), " of ", dtype_name(t.dtype()),
            t.contiguous() ? "" : " in a view of columns");
    return static_cast<T*>(t.data());
  }

  Device& device() const { return kernel_device(state(env_)); }

  Napi::Env env_;
};

}  // namespace addon
}  // namespace fintune
