// openModel, planModel, cpuInfo, devices, and the class NativeModel but for training and generation.
#include "addon/devices.h"
#include "addon/engine_args.h"
#include "addon/jobs.h"
#include "addon/model_wrap.h"
#include "addon/register.h"
#include "addon/state.h"
#include "cpu/dispatch.h"

namespace fintune {
namespace addon {

namespace {

DType file_dtype(const std::string& name, const std::string& where) {
  if (name == "F32") return DType::F32;
  if (name == "BF16") return DType::BF16;
  if (name == "F16") return DType::F16;
  fail(ErrorCode::Weights, where, ": expected F32, F16 or BF16, found ", name);
}

Napi::Array to_array(const Napi::Value& v, const std::string& name) {
  require(v.IsArray(), name, ": expected an array, found ", js_type(v));
  return v.As<Napi::Array>();
}

std::vector<FileSource> parse_files(const Napi::Value& v) {
  const Napi::Array array = to_array(v, "init.files");
  std::vector<FileSource> files;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value item = array[i];
    const Options o(item, "init.files[" + std::to_string(i) + "]");
    files.push_back({static_cast<int>(o.integer("fd")), o.integer("size")});
  }
  return files;
}

std::vector<TensorSource> parse_tensors(const Napi::Value& v) {
  const Napi::Array array = to_array(v, "init.tensors");
  std::vector<TensorSource> tensors;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value item = array[i];
    const Options o(item, "init.tensors[" + std::to_string(i) + "]");
    TensorSource t;
    t.name = o.text("name");
    t.dtype = file_dtype(o.text("dtype"), t.name);
    const Napi::Array shape = to_array(o.get("shape"), o.path("shape"));
    for (uint32_t d = 0; d < shape.Length(); ++d) {
      const Napi::Value size = shape[d];
      t.shape.push_back(to_integer(size, o.path("shape")));
    }
    t.file = o.integer("file");
    t.begin = o.integer("begin");
    t.end = o.integer("end");
    tensors.push_back(std::move(t));
  }
  return tensors;
}

Napi::Value open_model(const Napi::CallbackInfo& info) {
  const Options o(info[0], "init");
  const ModelOptions options = parse_model_options(info[0]);
  auto model = std::make_shared<std::shared_ptr<Model>>();
  std::function<void(JobContext&)> work;
  if (o.has("random")) {
    const Options random(o.get("random"), "init.random");
    const uint64_t seed = random.uint64("seed", 0);
    const float std = random.real("std");
    work = [=](JobContext&) { *model = Model::random(options, seed, std); };
  } else {
    const auto files = parse_files(o.get("files"));
    const auto tensors = parse_tensors(o.get("tensors"));
    work = [=](JobContext&) { *model = Model::open(options, files, tensors); };
  }
  return start_job(info.Env(), info.Env().Undefined(), std::move(work),
                   [model](Napi::Env env) { return ModelWrap::wrap(env, std::move(*model)); });
}

Napi::Value plan_model(const Napi::CallbackInfo& info) {
  const auto model = Model::planned(parse_model_options(info[0]));
  // One list of modules an adapter, bottom first.
  const Napi::Array stack = to_array(info[2], "adapterRanks");
  for (uint32_t a = 0; a < stack.Length(); ++a) {
    const std::string where = "adapterRanks[" + std::to_string(a) + "]";
    const Napi::Value adapter = stack[a];
    const Napi::Array shapes = to_array(adapter, where);
    std::vector<LoraModuleSource> modules;
    for (uint32_t i = 0; i < shapes.Length(); ++i) {
      const Napi::Value item = shapes[i];
      const Options o(item, where + "[" + std::to_string(i) + "]");
      LoraModuleSource module;
      module.name = o.text("name");
      module.r = o.integer("r");
      module.scale = 1;
      modules.push_back(module);
    }
    model->push_adapter(std::make_shared<Adapter>(model->config(), modules, model->device()));
  }
  const std::vector<int32_t> lengths = int_vector(info[3], "lengths");
  const int64_t targets = to_integer(info[4], "targets");
  if (!info[1].IsNull() && !info[1].IsUndefined()) {
    return memory_plan_object(info.Env(), Trainer::plan(model, parse_trainer_options(info[1]), lengths,
                                                        targets, parse_objective(info[5])));
  }
  return memory_plan_object(info.Env(), Trainer::plan_scoring(model, lengths, targets));
}

Napi::Value cpu_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object object = Napi::Object::New(env);
  object.Set("isa", cpu_isa());
  Napi::Array isas = Napi::Array::New(env);
  for (const std::string& name : cpu_isas()) isas[isas.Length()] = Napi::String::New(env, name);
  object.Set("isas", isas);
  object.Set("hasBf16", Napi::Boolean::New(env, cpu_has_bf16()));
  object.Set("cpus", Napi::Number::New(env, ThreadPool::available_cpus()));
  return object;
}

Napi::Value devices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array array = Napi::Array::New(env);
  for (const DeviceInfo& device : device_infos()) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", device.name);
    object.Set("kind", device.kind);
    object.Set("bf16", Napi::Boolean::New(env, device.bf16));
    if (!device.gemm.empty()) object.Set("gemm", device.gemm);
    if (device.hopper) object.Set("hopper", true);
    array[array.Length()] = object;
  }
  return array;
}

// Kernels started so far on a device.
Napi::Value device_launches(const Napi::CallbackInfo& info) {
  const Backend backend = backend_named(to_text(info[0], "device"));
  return Napi::Number::New(info.Env(), static_cast<double>(backend.device->launches()));
}

// {free, total} of a device's own memory; null where it has none.
Napi::Value device_memory(const Napi::CallbackInfo& info) {
  const Backend backend = backend_named(to_text(info[0], "device"));
  const size_t total = backend.device->memory_total();
  if (total == 0) return info.Env().Null();
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("free", static_cast<double>(backend.device->memory_free()));
  object.Set("total", static_cast<double>(total));
  return object;
}

}  // namespace

void ModelWrap::Init(Napi::Env env) {
  state(env).model_class = Napi::Persistent(DefineClass(
      env, "NativeModel",
      {
          InstanceMethod("addAdapter", &ModelWrap::guarded<&ModelWrap::AddAdapter>),
          InstanceMethod("popAdapter", &ModelWrap::guarded<&ModelWrap::PopAdapter>),
          InstanceMethod("adapterCount", &ModelWrap::guarded<&ModelWrap::AdapterCount>),
          InstanceMethod("score", &ModelWrap::guarded<&ModelWrap::Score>),
          InstanceMethod("parameters", &ModelWrap::guarded<&ModelWrap::Parameters>),
          InstanceMethod("memoryBytes", &ModelWrap::guarded<&ModelWrap::MemoryBytes>),
          InstanceMethod("releaseMemory", &ModelWrap::guarded<&ModelWrap::ReleaseMemory>),
          InstanceMethod("dispose", &ModelWrap::guarded<&ModelWrap::Dispose>),
          InstanceMethod("createTrainer", &ModelWrap::guarded<&ModelWrap::CreateTrainer>),
          InstanceMethod("planTraining", &ModelWrap::guarded<&ModelWrap::PlanTraining>),
          InstanceMethod("generate", &ModelWrap::guarded<&ModelWrap::Generate>),
          InstanceMethod("nextTokenDistribution", &ModelWrap::guarded<&ModelWrap::NextTokenDistribution>),
          InstanceMethod("planGeneration", &ModelWrap::guarded<&ModelWrap::PlanGeneration>),
      }));
}

Napi::Object ModelWrap::wrap(Napi::Env env, std::shared_ptr<Model> model) {
  const Napi::Object object = state(env).model_class.New({});
  Unwrap(object)->model_ = std::move(model);
  return object;
}

ModelWrap::ModelWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelWrap>(info) {}

const std::shared_ptr<Model>& ModelWrap::model() const {
  require(model_ != nullptr, "the model was disposed");
  return model_;
}

Napi::Value ModelWrap::AddAdapter(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Model>& m = model();
  const Napi::Array array = to_array(info[0], "modules");
  std::vector<LoraModuleSource> modules;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value item = array[i];
    const Options o(item, "modules[" + std::to_string(i) + "]");
    LoraModuleSource module;
    module.name = o.text("name");
    module.r = o.integer("r");
    module.scale = o.real("scale");
    const auto a = to_floats(o.get("a"), o.path("a"));
    const auto b = to_floats(o.get("b"), o.path("b"));
    // An empty typed array has no address; its size is still to be refused by name.
    static const float none = 0;
    module.a = a.data != nullptr ? a.data : &none;
    module.a_count = a.length;
    module.b = b.data != nullptr ? b.data : &none;
    module.b_count = b.length;
    modules.push_back(module);
  }
  const Model::Lock lock = m->acquire_idle();
  return Napi::Number::New(info.Env(),
                           m->push_adapter(std::make_shared<Adapter>(m->config(), modules, m->device())));
}

Napi::Value ModelWrap::PopAdapter(const Napi::CallbackInfo& info) {
  const Model::Lock lock = model()->acquire_idle();
  model()->pop_adapter();
  return info.Env().Undefined();
}

Napi::Value ModelWrap::AdapterCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), model()->adapters().size());
}

Napi::Value ModelWrap::Score(const Napi::CallbackInfo& info) {
  const Options o(info[0], "request");
  ScoreRequest request;
  request.ids = int_vector(o.get("ids"), o.path("ids"));
  request.cu_seqlens = int_vector(o.get("cuSeqlens"), o.path("cuSeqlens"));
  request.batch_tokens = o.integer("batchTokens");
  request.entropy = o.flag("entropy", false);
  request.logits = o.flag("logits", false);
  request.adapters = static_cast<int>(o.integer("adapters", -1));
  auto scores = std::make_shared<Scores>();
  return start_job(
      info.Env(), info[1],
      [model = model(), request, scores](JobContext& job) { *scores = model->score(request, job.aborted()); },
      [scores, request](Napi::Env env) -> Napi::Value {
        const auto floats = [&](const std::vector<float>& values) {
          Napi::Float32Array array = Napi::Float32Array::New(env, values.size());
          std::copy(values.begin(), values.end(), array.Data());
          return array;
        };
        Napi::Object object = Napi::Object::New(env);
        object.Set("logprobs", floats(scores->logprobs));
        if (request.entropy) object.Set("entropy", floats(scores->entropy));
        if (request.logits) object.Set("logits", floats(scores->logits));
        return object;
      });
}

Napi::Value ModelWrap::Parameters(const Napi::CallbackInfo& info) {
  const Model::Lock lock = model()->acquire_idle();
  Napi::Array array = Napi::Array::New(info.Env());
  for (const ParameterSlot& slot : model()->weights().parameters()) {
    array[array.Length()] =
        parameter_object(info.Env(), slot.name, slot.shape, model()->device(), *slot.view);
  }
  return array;
}

Napi::Value ModelWrap::MemoryBytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(model()->bytes()));
}

Napi::Value ModelWrap::ReleaseMemory(const Napi::CallbackInfo& info) {
  const Model::Lock lock = model()->acquire_idle();
  model()->release_memory();
  return info.Env().Undefined();
}

Napi::Value ModelWrap::Dispose(const Napi::CallbackInfo& info) {
  model_.reset();
  return info.Env().Undefined();
}

void init_model(Napi::Env env, Napi::Object exports) {
  ModelWrap::Init(env);
  export_function<open_model>(env, exports, "openModel");
  export_function<plan_model>(env, exports, "planModel");
  export_function<cpu_info>(env, exports, "cpuInfo");
  export_function<devices>(env, exports, "devices");
  export_function<device_launches>(env, exports, "deviceLaunches");
  export_function<device_memory>(env, exports, "deviceMemory");
}

}  // namespace addon
}  // namespace fintune
