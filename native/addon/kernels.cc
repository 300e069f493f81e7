// The public kernels: each function takes the arguments of one op header by name (tensors are created by the
// caller) and runs it at once, on the device that setDevice chose: the CPU (on the calling thread and the
// kernels' own pool) unless another.
#include "addon/kernels.h"

#include <napi.h>

#include <algorithm>
#include <vector>

#include "addon/kernel_call.h"
#include "addon/register.h"

namespace fintune {
namespace addon {
namespace {

Napi::Value embedding_forward(const Napi::CallbackInfo& info) {
  const Call c(info, "embeddingForward");
  EmbeddingForward op;
  op.weight = c.rows("weight");
  op.y = c.rows("y");
  op.ids = c.ints("ids", op.y.rows);
  c.run(&OpTable::embedding_forward, op);
  return info.Env().Undefined();
}

Napi::Value embedding_backward(const Napi::CallbackInfo& info) {
  const Call c(info, "embeddingBackward");
  EmbeddingBackward op;
  op.dy = c.rows("dy");
  op.dweight = c.rows("dweight");
  op.ids = c.ints("ids", op.dy.rows);
  c.run(&OpTable::embedding_backward, op);
  return info.Env().Undefined();
}

Napi::Value rmsnorm_forward(const Napi::CallbackInfo& info) {
  const Call c(info, "rmsnormForward");
  RmsNormForward op;
  op.x = c.rows("x");
  op.delta = c.rows_or_none("delta");
  op.x_out = c.rows_or_none("xOut");
  op.weight = c.floats("weight", op.x.cols);
  op.eps = c.real("eps");
  op.y = c.rows("y");
  op.rstd = c.floats_or_none("rstd", op.x.rows);
  c.run(&OpTable::rmsnorm_forward, op);
  return info.Env().Undefined();
}

Napi::Value rmsnorm_backward(const Napi::CallbackInfo& info) {
  const Call c(info, "rmsnormBackward");
  RmsNormBackward op;
  op.dy = c.rows("dy");
  op.x = c.rows("x");
  op.weight = c.floats("weight", op.x.cols);
  op.rstd = c.floats("rstd", op.x.rows);
  op.dx = c.rows("dx");
  op.accumulate = c.flag("accumulate", false);
  op.dweight = c.floats_or_none("dweight", op.x.cols);
  c.run(&OpTable::rmsnorm_backward, op);
  return info.Env().Undefined();
}

Napi::Value rope(const Napi::CallbackInfo& info) {
  const Call c(info, "rope");
  Rope op;
  op.x = c.matrix("x");
  op.heads = c.integer("heads");
  op.positions = c.ints("positions", op.x.rows);
  const View cos = c.rows("cos");
  op.max_position = cos.rows;
  require(op.heads > 0 && op.x.cols == op.heads * cos.cols * 2,
          "rope.x: expected heads * head_dim = ", op.heads * cos.cols * 2, " columns, found ", op.x.cols);
  op.cos = c.floats("cos", cos.count());
  op.sin = c.floats("sin", cos.count());
  op.inverse = c.flag("inverse", false);
  c.run(&OpTable::rope, op);
  return info.Env().Undefined();
}

Napi::Value attention_forward(const Napi::CallbackInfo& info) {
  const Call c(info, "attentionForward");
  AttentionForward op;
  op.q = c.matrix("q");
  op.k = c.matrix("k");
  op.v = c.matrix("v");
  op.sequences = c.length("cuSeqlens") - 1;
  op.cu_seqlens = c.ints("cuSeqlens", op.sequences + 1);
  op.heads = c.integer("heads");
  op.kv_heads = c.integer("kvHeads");
  op.head_dim = c.integer("headDim");
  op.scale = c.real("scale");
  op.y = c.matrix("y");
  op.lse = c.floats_or_none("lse", op.q.rows * op.heads);
  if (c.has("wantedFrom")) op.wanted_from = c.ints("wantedFrom", op.sequences);
  c.run(&OpTable::attention_forward, op);
  return info.Env().Undefined();
}

Napi::Value attention_backward(const Napi::CallbackInfo& info) {
  const Call c(info, "attentionBackward");
  AttentionBackward op;
  op.q = c.matrix("q");
  op.k = c.matrix("k");
  op.v = c.matrix("v");
  op.y = c.matrix("y");
  op.dy = c.matrix("dy");
  op.sequences = c.length("cuSeqlens") - 1;
  op.cu_seqlens = c.ints("cuSeqlens", op.sequences + 1);
  op.heads = c.integer("heads");
  op.kv_heads = c.integer("kvHeads");
  op.head_dim = c.integer("headDim");
  op.lse = c.floats("lse", op.q.rows * op.heads);
  op.scale = c.real("scale");
  op.dq = c.matrix("dq");
  op.dk = c.matrix("dk");
  op.dv = c.matrix("dv");
  c.run(&OpTable::attention_backward, op);
  return info.Env().Undefined();
}

Napi::Value attention_decode(const Napi::CallbackInfo& info) {
  const Call c(info, "attentionDecode");
  AttentionDecode op;
  op.q = c.matrix("q");
  op.heads = c.integer("heads");
  op.kv_heads = c.integer("kvHeads");
  op.head_dim = c.integer("headDim");
  op.scale = c.real("scale");
  op.y = c.matrix("y");
  op.lengths = c.ints("lengths", op.q.rows);
  op.keys = c.matrix("keys");
  op.values = c.matrix("values");
  op.page_tokens = c.integer("pageTokens");
  const int64_t entries = c.length("pageTable");
  op.max_pages = op.q.rows > 0 ? entries / op.q.rows : 0;
  op.page_table = c.ints("pageTable", op.q.rows * op.max_pages);
  check_decode(op);
  // On a GPU nobody else looks at them.
  const std::vector<int32_t> lengths = c.host_ints("lengths", op.q.rows),
                             table = c.host_ints("pageTable", entries);
  const int64_t room = op.max_pages * op.page_tokens, pages = op.keys.rows / op.page_tokens;
  for (size_t t = 0; t < lengths.size(); ++t) {
    require(lengths[t] >= 1 && lengths[t] <= room, "attentionDecode: row ", t, " has length ", lengths[t],
            ", expected 1 .. ", room);
    for (int64_t p = 0; p * op.page_tokens < lengths[t]; ++p) {
      const int32_t page = table[t * static_cast<size_t>(op.max_pages) + static_cast<size_t>(p)];
      require(page >= 0 && page < pages, "attentionDecode: page ", p, " of row ", t, " is ", page,
              ", expected 0 .. ", pages - 1);
    }
  }
  c.run(&OpTable::attention_decode, op);
  return info.Env().Undefined();
}

Napi::Value swiglu_forward(const Napi::CallbackInfo& info) {
  const Call c(info, "swigluForward");
  SwigluForward op;
  op.gate = c.rows("gate");
  op.up = c.rows("up");
  op.h = c.rows("h");
  c.run(&OpTable::swiglu_forward, op);
  return info.Env().Undefined();
}

Napi::Value swiglu_backward(const Napi::CallbackInfo& info) {
  const Call c(info, "swigluBackward");
  SwigluBackward op;
  op.gate = c.rows("gate");
  op.up = c.rows("up");
  op.dh = c.rows("dh");
  op.dgate = c.rows("dgate");
  op.dup = c.rows("dup");
  op.h = c.rows_or_none("h");
  c.run(&OpTable::swiglu_backward, op);
  return info.Env().Undefined();
}

// adapters: [{a, b, scale}], the last one trained.
std::vector<LoraPair> to_adapters(const Call& c) {
  std::vector<LoraPair> pairs;
  if (!c.has("adapters")) return pairs;
  const Napi::Value v = c.get("adapters");
  require(v.IsArray(), c.path("adapters"), ": expected an array of {a, b, scale}, found ", js_type(v));
  const Napi::Array array = v.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const std::string where = c.path("adapters") + "[" + std::to_string(i) + "]";
    const Options o(array.Get(i), where);
    LoraPair pair;
    pair.a = c.tensor(o.get("a"), o.path("a")).rows();
    pair.b = c.tensor(o.get("b"), o.path("b")).rows();
    pair.scale = o.real("scale");
    pair.beside = o.integer("beside", -1);
    pairs.push_back(pair);
  }
  return pairs;
}

LoraDropout to_dropout(const Call& c) {
  LoraDropout dropout;
  if (!c.has("dropout")) return dropout;
  const Options o(c.get("dropout"), c.path("dropout"));
  dropout.p = o.real("p");
  dropout.seed = o.uint64("seed", 0);
  dropout.step = static_cast<uint32_t>(o.integer("step", 0));
  dropout.site = static_cast<uint32_t>(o.integer("site", 0));
  dropout.first_row = o.integer("firstRow", 0);
  return dropout;
}

Napi::Value linear_forward(const Napi::CallbackInfo& info) {
  const Call c(info, "linearForward");
  const std::vector<LoraPair> adapters = to_adapters(c);
  LinearForward op;
  op.x = c.rows("x");
  op.x_room = c.integer("xRoom", 0);
  op.weight = c.rows("weight");
  op.bias = c.floats_or_none("bias", op.weight.rows);
  if (c.has("exactBias")) {
    const View bias = c.rows("exactBias");
    require(bias.dtype == op.weight.dtype && bias.count() == op.weight.rows, c.path("exactBias"),
            ": expected ", op.weight.rows, " values of the weight's type");
    op.exact_bias = bias.data;
  }
  op.adapters = adapters.data();
  op.adapter_count = static_cast<int>(adapters.size());
  op.dropout = to_dropout(c);
  op.y = c.rows("y");
  op.u = c.rows_or_none("u");
  c.run(&OpTable::linear_forward, op);
  return info.Env().Undefined();
}

Napi::Value linear_backward(const Napi::CallbackInfo& info) {
  const Call c(info, "linearBackward");
  const std::vector<LoraPair> adapters = to_adapters(c);
  LinearBackward op;
  op.dy = c.rows("dy");
  op.dy_room = c.integer("dyRoom", 0);
  op.x = c.rows_or_none("x");
  op.weight = c.rows("weight");
  op.adapters = adapters.data();
  op.adapter_count = static_cast<int>(adapters.size());
  op.dropout = to_dropout(c);
  op.u = c.rows_or_none("u");
  op.dx = c.rows_or_none("dx");
  op.accumulate_dx = c.flag("accumulateDx", false);
  op.da = c.rows_or_none("da");
  op.db = c.rows_or_none("db");
  op.dweight = c.rows_or_none("dweight");
  op.dbias = c.floats_or_none("dbias", op.weight.rows);
  c.run(&OpTable::linear_backward, op);
  return info.Env().Undefined();
}

Napi::Value linear_logprob(const Napi::CallbackInfo& info) {
  const Call c(info, "linearLogprob");
  LinearLogprob op;
  op.hidden = c.rows("hidden");
  op.weight = c.rows("weight");
  op.targets = c.ints("targets", op.hidden.rows);
  op.logprob = c.floats_or_none("logprob", op.hidden.rows);
  op.entropy = c.floats_or_none("entropy", op.hidden.rows);
  op.weights = c.floats_or_none("weights", op.hidden.rows);
  op.dhidden = c.rows_or_none("dhidden");
  op.dweight = c.rows_or_none("dweight");
  op.logits = c.rows_or_none("logits");
  c.run(&OpTable::linear_logprob, op);
  return info.Env().Undefined();
}

Napi::Value adamw(const Napi::CallbackInfo& info) {
  const Call c(info, "adamw");
  const Napi::Value v = c.get("tensors");
  require(v.IsArray(), c.path("tensors"), ": expected an array of {p, g, m, v, weightDecay}, found ",
          js_type(v));
  std::vector<AdamWTensor> tensors;
  const Napi::Array array = v.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Options o(array.Get(i), c.path("tensors") + "[" + std::to_string(i) + "]");
    AdamWTensor t;
    t.n = c.tensor(o.get("p"), o.path("p")).count();
    auto floats = [&](const char* name) {
      Tensor& tensor = c.tensor(o.get(name), o.path(name));
      require(tensor.dtype() == DType::F32 && tensor.contiguous() && tensor.count() == t.n, o.path(name),
              ": expected ", t.n, " contiguous f32 values, found ", tensor.count(), " of ",
              dtype_name(tensor.dtype()));
      return static_cast<float*>(tensor.data());
    };
    t.p = floats("p");
    t.g = floats("g");
    t.m = floats("m");
    t.v = floats("v");
    t.weight_decay = o.real("weightDecay", 0);
    if (o.has("copy")) t.copy = c.tensor(o.get("copy"), o.path("copy")).rows();
    tensors.push_back(t);
  }
  AdamW op;
  op.tensors = tensors.data();
  op.count = static_cast<int64_t>(tensors.size());
  op.step = c.integer("step");
  op.lr = c.number("lr");
  op.beta1 = c.number("beta1");
  op.beta2 = c.number("beta2");
  op.eps = c.number("eps");
  op.grad_scale = c.real("gradScale", 1);
  c.run(&OpTable::adamw, op);
  return info.Env().Undefined();
}

Napi::Value global_norm(const Napi::CallbackInfo& info) {
  const Call c(info, "globalNorm");
  std::vector<View> gradients;
  for (Tensor* t : c.tensors("gradients")) gradients.push_back(t->rows());
  double norm = 0;
  GlobalNorm op;
  op.gradients = gradients.data();
  op.count = static_cast<int64_t>(gradients.size());
  op.norm = &norm;
  c.run(&OpTable::global_norm, op);
  return Napi::Number::New(info.Env(), norm);
}

// logits [n, V], rows: [{temperature, ..., seen: Int32Array}]. Returns {tokens, logprobs}; fills the optional
// tensor `distributions`.
Napi::Value sample(const Napi::CallbackInfo& info) {
  const Call c(info, "sample");
  Sample op{};
  op.logits = c.rows("logits");
  const Napi::Value v = c.get("rows");
  require(v.IsArray() && v.As<Napi::Array>().Length() == op.logits.rows, c.path("rows"),
          ": expected an array of ", op.logits.rows, " rows, found ", js_type(v));
  const Napi::Array array = v.As<Napi::Array>();
  std::vector<SampleRow> rows;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Options o(array.Get(i), c.path("rows") + "[" + std::to_string(i) + "]");
    SampleRow row;
    if (o.has("seen")) {
      const Elements<int32_t> seen = to_ints(o.get("seen"), o.path("seen"));
      row.seen = seen.data;
      row.seen_count = seen.length;
    }
    row.options.temperature = o.real("temperature", 0);
    row.options.top_k = static_cast<int32_t>(o.integer("topK", 0));
    row.options.top_p = o.real("topP", 1);
    row.options.min_p = o.real("minP", 0);
    row.options.repetition_penalty = o.real("repetitionPenalty", 1);
    row.options.seed = o.uint64("seed", 0);
    row.options.stream = o.uint64("stream", 0);
    row.position = o.integer("position", 0);
    row.prompt = i;
    rows.push_back(row);
  }
  op.rows = rows.data();
  Napi::Int32Array tokens = Napi::Int32Array::New(info.Env(), rows.size());
  Napi::Float32Array logprobs = Napi::Float32Array::New(info.Env(), rows.size());
  op.tokens = tokens.Data();
  op.logprobs = logprobs.Data();
  op.distributions = c.rows_or_none("distributions");
  c.run(&OpTable::sample, op);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("tokens", tokens);
  result.Set("logprobs", logprobs);
  return result;
}

Napi::Value gather_rows(const Napi::CallbackInfo& info) {
  const Call c(info, "gatherRows");
  GatherRows op;
  op.x = c.rows("x");
  op.y = c.rows("y");
  op.rows = c.ints("rows", op.y.rows);
  c.run(&OpTable::gather_rows, op);
  return info.Env().Undefined();
}

Napi::Value scatter_rows(const Napi::CallbackInfo& info) {
  const Call c(info, "scatterRows");
  ScatterRows op;
  op.x = c.rows("x");
  op.y = c.rows("y");
  op.rows = c.ints("rows", op.x.rows);
  c.run(&OpTable::scatter_rows, op);
  return info.Env().Undefined();
}

// destinations: a tensor of x's columns for each row.
Napi::Value store_rows(const Napi::CallbackInfo& info) {
  const Call c(info, "storeRows");
  StoreRows op;
  op.x = c.rows("x");
  op.y = c.rows("y");
  op.rows = c.ints("rows", op.x.rows);
  c.run(&OpTable::store_rows, op);
  return info.Env().Undefined();
}

Napi::Value convert(const Napi::CallbackInfo& info) {
  const Call c(info, "convert");
  c.run(&OpTable::convert, Convert{c.rows("x"), c.rows("y")});
  return info.Env().Undefined();
}

}  // namespace

void init_kernels(Napi::Env env, Napi::Object exports) {
  export_function<embedding_forward>(env, exports, "embeddingForward");
  export_function<embedding_backward>(env, exports, "embeddingBackward");
  export_function<rmsnorm_forward>(env, exports, "rmsnormForward");
  export_function<rmsnorm_backward>(env, exports, "rmsnormBackward");
  export_function<rope>(env, exports, "rope");
  export_function<attention_forward>(env, exports, "attentionForward");
  export_function<attention_backward>(env, exports, "attentionBackward");
  export_function<attention_decode>(env, exports, "attentionDecode");
  export_function<swiglu_forward>(env, exports, "swigluForward");
  export_function<swiglu_backward>(env, exports, "swigluBackward");
  export_function<linear_forward>(env, exports, "linearForward");
  export_function<linear_backward>(env, exports, "linearBackward");
  export_function<linear_logprob>(env, exports, "linearLogprob");
  export_function<adamw>(env, exports, "adamw");
  export_function<global_norm>(env, exports, "globalNorm");
  export_function<sample>(env, exports, "sample");
  export_function<gather_rows>(env, exports, "gatherRows");
  export_function<scatter_rows>(env, exports, "scatterRows");
  export_function<store_rows>(env, exports, "storeRows");
  export_function<convert>(env, exports, "convert");
  export_model_kernels(env, exports);
  export_kernel_settings(env, exports);
  export_simt(env, exports);
  export_measure_kernels(env, exports);
}

}  // namespace addon
}  // namespace fintune
