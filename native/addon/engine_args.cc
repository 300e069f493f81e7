// Parsing of model, trainer and objective descriptions.
#include "addon/engine_args.h"

#include <cstring>

#include "addon/devices.h"

namespace fintune {
namespace addon {

namespace {

template <typename Array, typename T>
std::vector<T> copy_of(const Napi::Value& v, napi_typedarray_type type, const char* type_name,
                       const std::string& name) {
  const auto elements = to_elements<Array>(v, type, type_name, name);
  return std::vector<T>(elements.data, elements.data + elements.length);
}

int to_threads(const Options& o) {
  const int64_t n = o.integer("threads", 0);
  require(n >= 0 && n <= 1024, o.path("threads"), ": expected 0 (all) to 1024, found ", n);
  return static_cast<int>(n);
}

DType to_compute(const Options& o) {
  const std::string text = o.text("compute");
  require(text == "f32" || text == "bf16" || text == "fp16", o.path("compute"),
          ": expected f32, bf16 or fp16, found ", text);
  return text == "f32" ? DType::F32 : text == "bf16" ? DType::BF16 : DType::F16;
}

RopeScaling parse_rope_scaling(const Napi::Value& v) {
  const Options o(v, "config.ropeScaling");
  RopeScaling s;
  const std::string type = o.text("type");
  s.factor = o.number("factor");
  if (type == "linear") {
    s.type = RopeScaling::Type::Linear;
  } else if (type == "llama3") {
    s.type = RopeScaling::Type::Llama3;
    s.low_freq_factor = o.number("lowFreqFactor");
    s.high_freq_factor = o.number("highFreqFactor");
    s.original_max_positions = o.number("originalMaxPositions");
  } else {
    fail(ErrorCode::Argument, o.path("type"), ": expected llama3 or linear, found ", type);
  }
  require(s.factor > 0, o.path("factor"), ": expected a positive number, found ", s.factor);
  return s;
}

}  // namespace

ModelConfig parse_config(const Napi::Value& v) {
  const Options o(v, "config");
  ModelConfig c;
  c.family = o.text("family");
  c.vocab_size = o.integer("vocabSize");
  c.hidden_size = o.integer("hiddenSize");
  c.num_layers = o.integer("numLayers");
  c.num_heads = o.integer("numHeads");
  c.num_kv_heads = o.integer("numKvHeads");
  c.head_dim = o.integer("headDim");
  c.intermediate_size = o.integer("intermediateSize");
  c.rms_norm_eps = o.real("rmsNormEps");
  c.tie_word_embeddings = o.flag("tieWordEmbeddings", false);
  c.qkv_bias = o.flag("qkvBias", false);
  c.o_bias = o.flag("oBias", false);
  c.mlp_bias = o.flag("mlpBias", false);
  c.qk_norm = o.flag("qkNorm", false);
  c.max_positions = o.integer("maxPositions");
  c.rope_theta = o.number("ropeTheta");
  if (o.has("ropeScaling")) c.rope_scaling = parse_rope_scaling(o.get("ropeScaling"));
  return c;
}

ModelOptions parse_model_options(const Napi::Value& v) {
  const Options o(v, "init");
  ModelOptions options;
  options.config = parse_config(o.get("config"));
  options.backend = backend_named(o.text("device"));
  options.compute = to_compute(o);
  require(options.compute != DType::F16 || !options.backend.device->is_host(), o.path("compute"),
          ": the CPU computes in f32 or bf16, found fp16");
  options.threads = to_threads(o);
  options.trainable = o.flag("trainable", false);
  return options;
}

TrainerOptions parse_trainer_options(const Napi::Value& v) {
  const Options o(v, "trainer");
  TrainerOptions t;
  const std::string parameters = o.text("parameters");
  require(parameters == "lora" || parameters == "full", o.path("parameters"),
          ": expected lora or full, found ", parameters);
  t.full = parameters == "full";
  t.beta1 = o.number("beta1", t.beta1);
  t.beta2 = o.number("beta2", t.beta2);
  t.eps = o.number("eps", t.eps);
  t.weight_decay = o.number("weightDecay", t.weight_decay);
  t.max_grad_norm = o.number("maxGradNorm", t.max_grad_norm);
  const std::string recompute = o.text("recompute", "none");
  if (recompute == "none") {
    t.recompute = Recompute::None;
  } else if (recompute == "selective") {
    t.recompute = Recompute::Selective;
  } else if (recompute == "full") {
    t.recompute = Recompute::Full;
  } else {
    fail(ErrorCode::Argument, o.path("recompute"), ": expected none, selective or full, found ", recompute);
  }
  t.dropout = o.real("dropout", 0);
  t.seed = o.uint64("seed", 0);
  t.record = o.flag("recording", true);
  return t;
}

Objective parse_objective(const Napi::Value& v) {
  const Options o(v, "objective");
  Objective objective;
  const std::string type = o.text("type");
  if (type == "sft") return objective;
  objective.beta = o.number("beta");
  require(objective.beta > 0, o.path("beta"), ": expected a positive number, found ", objective.beta);
  if (type == "kto") {
    objective.loss = Loss::Kto;
    objective.desirable_weight = o.number("desirableWeight", 1);
    objective.undesirable_weight = o.number("undesirableWeight", 1);
    return objective;
  }
  require(type == "preference", o.path("type"), ": expected sft, preference or kto, found ", type);
  const std::string loss = o.text("loss");
  objective.loss = parse_loss(loss.c_str());
  require(objective.is_preference(), o.path("loss"), ": ", loss, " is not a loss of pairs");
  objective.label_smoothing = o.number("labelSmoothing", 0);
  require(objective.label_smoothing >= 0 && objective.label_smoothing < 0.5, o.path("labelSmoothing"),
          ": expected 0 or more and below 0.5, found ", objective.label_smoothing);
  objective.gamma = o.number("gamma", 0);
  return objective;
}

std::vector<MicroBatch> parse_micro_batches(const Napi::Value& v) {
  require(v.IsArray(), "batch: expected an array of micro-batches, found ", js_type(v));
  const Napi::Array array = v.As<Napi::Array>();
  std::vector<MicroBatch> batches;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value item = array[i];
    const Options o(item, "batch[" + std::to_string(i) + "]");
    MicroBatch b;
    b.ids = int_vector(o.get("ids"), o.path("ids"));
    b.cu_seqlens = int_vector(o.get("cuSeqlens"), o.path("cuSeqlens"));
    b.mask =
        copy_of<Napi::Uint8Array, uint8_t>(o.get("mask"), napi_uint8_array, "a Uint8Array", o.path("mask"));
    if (o.has("weights")) {
      b.weights = copy_of<Napi::Float32Array, float>(o.get("weights"), napi_float32_array, "a Float32Array",
                                                     o.path("weights"));
    }
    if (o.has("referenceLogprobs")) {
      b.reference = copy_of<Napi::Float64Array, double>(o.get("referenceLogprobs"), napi_float64_array,
                                                        "a Float64Array", o.path("referenceLogprobs"));
    }
    if (o.has("labels")) {
      b.labels = copy_of<Napi::Uint8Array, uint8_t>(o.get("labels"), napi_uint8_array, "a Uint8Array",
                                                    o.path("labels"));
    }
    batches.push_back(std::move(b));
  }
  return batches;
}

std::vector<int32_t> int_vector(const Napi::Value& v, const std::string& name) {
  return copy_of<Napi::Int32Array, int32_t>(v, napi_int32_array, "an Int32Array", name);
}

Napi::Object memory_plan_object(Napi::Env env, const MemoryPlan& plan) {
  Napi::Object object = Napi::Object::New(env);
  for (int kind = 0; kind < kMemoryKinds; ++kind) {
    object.Set(memory_kind_name(static_cast<MemoryKind>(kind)),
               Napi::Number::New(env, static_cast<double>(plan[static_cast<size_t>(kind)])));
  }
  return object;
}

Napi::Array shape_array(Napi::Env env, const std::vector<int64_t>& shape) {
  Napi::Array array = Napi::Array::New(env, shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    array[static_cast<uint32_t>(i)] = Napi::Number::New(env, static_cast<double>(shape[i]));
  }
  return array;
}

Napi::Object parameter_object(Napi::Env env, const std::string& name, const std::vector<int64_t>& shape,
                              Device& device, const View& view) {
  Napi::Float32Array data = Napi::Float32Array::New(env, static_cast<size_t>(view.count()));
  std::vector<char> bytes(view.bytes());
  device.download(bytes.data(), view.data, bytes.size());
  with_float_type(view.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* const values = reinterpret_cast<const T*>(bytes.data());
    for (int64_t r = 0; r < view.rows; ++r) {
      for (int64_t c = 0; c < view.cols; ++c)
        data.Data()[r * view.cols + c] = to_float(values[r * view.ld + c]);
    }
  });
  Napi::Object object = Napi::Object::New(env);
  object.Set("name", name);
  object.Set("shape", shape_array(env, shape));
  object.Set("data", data);
  return object;
}

}  // namespace addon
}  // namespace fintune
