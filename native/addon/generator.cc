// generate, nextTokenDistribution and planGeneration of a model.
#include "generate/generator.h"

#include <algorithm>
#include <utility>

#include "addon/jobs.h"
#include "addon/model_wrap.h"

namespace fintune {
namespace addon {
namespace {

std::vector<int32_t> ints(const Options& o, const char* name) {
  const Elements<int32_t> e = to_ints(o.get(name), o.path(name));
  return std::vector<int32_t>(e.data, e.data + e.length);
}

// NativeSampling, but for maxNewTokens and stopIds.
SamplingOptions sampling_options(const Options& o) {
  SamplingOptions s;
  s.temperature = o.real("temperature");
  s.top_k = static_cast<int32_t>(std::min<int64_t>(o.integer("topK"), INT32_MAX));
  s.top_p = o.real("topP");
  s.min_p = o.real("minP");
  s.repetition_penalty = o.real("repetitionPenalty");
  s.seed = o.uint64("seed", 0);
  return s;
}

std::vector<int32_t> stop_ids(const Options& o) {
  const Napi::Value v = o.get("stopIds");
  require(v.IsArray(), o.path("stopIds"), ": expected an array of token ids, found ", js_type(v));
  const Napi::Array array = v.As<Napi::Array>();
  std::vector<int32_t> ids;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const int64_t id = to_integer(array.Get(i), o.path("stopIds"));
    require(id >= 0 && id <= INT32_MAX, o.path("stopIds"), ": expected token ids, found ", id);
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

Napi::Object to_js(Napi::Env env, const Generation& g) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Int32Array ids = Napi::Int32Array::New(env, g.output.size());
  std::copy(g.output.begin(), g.output.end(), ids.Data());
  object.Set("index", Napi::Number::New(env, static_cast<double>(g.index)));
  object.Set("outputIds", ids);
  object.Set("finishReason", Napi::String::New(env, g.stopped ? "stop" : "length"));
  return object;
}

Napi::Object to_js(Napi::Env env, const GenerateStatistics& s) {
  Napi::Object object = Napi::Object::New(env);
  const auto set = [&](const char* name, int64_t value) {
    object.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  set("promptTokens", s.prompt_tokens);
  set("sharedTokens", s.shared_tokens);
  set("generatedTokens", s.generated_tokens);
  set("cacheTokens", s.cache_tokens);
  set("decodeSteps", s.decode_steps);
  set("replayedSteps", s.replayed_steps);
  set("decodeLaunches", s.decode_launches);
  return object;
}

struct Callbacks {
  Napi::FunctionReference finished, tokens;
};

}  // namespace

Napi::Value ModelWrap::Generate(const Napi::CallbackInfo& info) {
  const Options o(info[0], "generate");
  const Options sampling(o.get("sampling"), "generate.sampling");
  auto request = std::make_shared<GenerateRequest>();
  request->ids = ints(o, "ids");
  request->cu_seqlens = ints(o, "cuSeqlens");
  request->sampling = sampling_options(sampling);
  request->max_new_tokens = sampling.integer("maxNewTokens");
  request->stop_ids = stop_ids(sampling);
  for (int32_t stream : ints(o, "streams")) request->streams.push_back(static_cast<uint32_t>(stream));
  request->max_batch = o.integer("maxBatch");
  request->prefill_tokens = o.integer("prefillTokens");
  request->cache_tokens = o.integer("cacheTokens", 0);
  request->prefix_sharing = o.flag("prefixSharing", true);
  request->recording = o.flag("recording", true);
  request->adapters = static_cast<int>(o.integer("adapters", -1));
  require(info[1].IsFunction() && info[2].IsFunction(),
          "generate: expected the functions onFinished and onTokens, found ", js_type(info[1]), " and ",
          js_type(info[2]));
  auto callbacks = std::make_shared<Callbacks>();
  callbacks->finished = Napi::Persistent(info[1].As<Napi::Function>());
  callbacks->tokens = Napi::Persistent(info[2].As<Napi::Function>());

  auto statistics = std::make_shared<GenerateStatistics>();
  const auto work = [model = model(), request, callbacks, statistics](JobContext& job) {
    GenerateListener listener;
    listener.finished = [&job, callbacks](Generation g) {
      job.post([callbacks, g = std::move(g)](Napi::Env env) { callbacks->finished.Call({to_js(env, g)}); });
    };
    listener.tokens = [&job, callbacks](int64_t total) {
      job.post([callbacks, total](Napi::Env env) {
        callbacks->tokens.Call({Napi::Number::New(env, static_cast<double>(total))});
      });
    };
    *statistics = generate(*model, *request, listener, job.aborted());
  };
  // The result shares the callbacks, so that the last reference to them dies on the JavaScript thread.
  return start_job(info.Env(), info[3], work,
                   [callbacks, statistics](Napi::Env env) { return to_js(env, *statistics); });
}

Napi::Value ModelWrap::NextTokenDistribution(const Napi::CallbackInfo& info) {
  const Elements<int32_t> e = to_ints(info[0], "nextTokenDistribution: ids");
  const std::vector<int32_t> ids(e.data, e.data + e.length);
  const SamplingOptions sampling = sampling_options(Options(info[1], "nextTokenDistribution.sampling"));
  const int adapters = static_cast<int>(to_integer(info[2], "nextTokenDistribution: adapters"));
  auto distribution = std::make_shared<std::vector<float>>();
  const auto work = [model = model(), ids, sampling, adapters, distribution](JobContext& job) {
    *distribution = next_token_distribution(*model, ids, sampling, adapters, job.aborted());
  };
  return start_job(info.Env(), info.Env().Undefined(), work, [distribution](Napi::Env env) {
    Napi::Float32Array array = Napi::Float32Array::New(env, distribution->size());
    std::copy(distribution->begin(), distribution->end(), array.Data());
    return array;
  });
}

Napi::Value ModelWrap::PlanGeneration(const Napi::CallbackInfo& info) {
  const MemoryPlan plan = plan_generation(*model(), to_integer(info[0], "planGeneration: maxBatch"),
                                          to_integer(info[1], "planGeneration: promptTokens"),
                                          to_integer(info[2], "planGeneration: maxNewTokens"));
  Napi::Object object = Napi::Object::New(info.Env());
  for (int kind = 0; kind < kMemoryKinds; ++kind) {
    object.Set(memory_kind_name(static_cast<MemoryKind>(kind)),
               Napi::Number::New(info.Env(), static_cast<double>(plan[static_cast<size_t>(kind)])));
  }
  return object;
}

}  // namespace addon
}  // namespace fintune
