// Public kernels that belong to the model and the objectives rather than to an op.
#include <vector>

#include "addon/kernels.h"
#include "addon/napi_util.h"
#include "model/rope_tables.h"
#include "train/objective.h"

namespace fintune {
namespace addon {
namespace {

Elements<double> to_doubles(const Options& o, const char* name) {
  return to_elements<Napi::Float64Array>(o.get(name), napi_float64_array, "a Float64Array", o.path(name));
}

// Losses of preference pairs given as sums of log-probabilities. Returns {loss, perPair, dpolicyChosen,
// dpolicyRejected}; loss is the mean of perPair.
Napi::Value preference_loss(const Napi::CallbackInfo& info) {
  const Options o(info[0], "preferenceLoss");
  Objective objective;
  objective.loss = parse_loss(o.text("loss").c_str());
  require(objective.is_preference(), "preferenceLoss.loss: expected a loss of pairs, found ", o.text("loss"));
  objective.beta = o.number("beta", 0.1);
  objective.label_smoothing = o.number("labelSmoothing", 0);
  objective.gamma = o.number("gamma", 0);
  const Elements<double> chosen = to_doubles(o, "policyChosen"), rejected = to_doubles(o, "policyRejected");
  const Elements<int32_t> n_chosen = to_ints(o.get("nChosen"), o.path("nChosen"));
  const Elements<int32_t> n_rejected = to_ints(o.get("nRejected"), o.path("nRejected"));
  Elements<double> reference_chosen{nullptr, chosen.length}, reference_rejected{nullptr, chosen.length};
  if (objective.needs_reference()) {
    reference_chosen = to_doubles(o, "referenceChosen");
    reference_rejected = to_doubles(o, "referenceRejected");
  }
  const int64_t pairs = chosen.length;
  for (int64_t length : {rejected.length, n_chosen.length, n_rejected.length, reference_chosen.length,
                         reference_rejected.length}) {
    require(length == pairs, "preferenceLoss: expected ", pairs, " values in every array, found ", length);
  }
  StepTotals totals;
  totals.pairs = pairs;
  for (int64_t i = 0; i < pairs; ++i) totals.chosen_targets += n_chosen.data[i];

  Napi::Float64Array per_pair = Napi::Float64Array::New(info.Env(), static_cast<size_t>(pairs));
  Napi::Float64Array dchosen = Napi::Float64Array::New(info.Env(), static_cast<size_t>(pairs));
  Napi::Float64Array drejected = Napi::Float64Array::New(info.Env(), static_cast<size_t>(pairs));
  double loss = 0;
  for (int64_t i = 0; i < pairs; ++i) {
    std::vector<SequenceScore> scores(2);
    scores[0].logprob = chosen.data[i];
    scores[0].tokens = n_chosen.data[i];
    scores[1].logprob = rejected.data[i];
    scores[1].tokens = n_rejected.data[i];
    if (objective.needs_reference()) {
      scores[0].reference = reference_chosen.data[i];
      scores[1].reference = reference_rejected.data[i];
    }
    std::vector<double> gradient(2);
    ObjectiveSums sums;
    preference_gradient(objective, totals, scores, &gradient, &sums);
    loss += sums.loss;
    per_pair.Data()[i] = sums.loss * static_cast<double>(pairs);
    dchosen.Data()[i] = gradient[0];
    drejected.Data()[i] = gradient[1];
  }
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("loss", loss);
  result.Set("perPair", per_pair);
  result.Set("dpolicyChosen", dchosen);
  result.Set("dpolicyRejected", drejected);
  return result;
}

// {headDim, theta, positions, scaling?} -> {frequencies [K/2], cos, sin [positions, K/2]} as Float32Arrays.
Napi::Value rope_tables(const Napi::CallbackInfo& info) {
  const Options o(info[0], "ropeTables");
  ModelConfig config;
  config.head_dim = o.integer("headDim");
  config.rope_theta = o.number("theta");
  const int64_t positions = o.integer("positions");
  require(config.head_dim > 0 && config.head_dim % 2 == 0 && config.rope_theta > 0 && positions >= 0 &&
              positions <= (1 << 24),
          "ropeTables: expected an even headDim, theta above 0 and 0 .. 2^24 positions, found ",
          config.head_dim, ", ", config.rope_theta, " and ", positions);
  if (o.has("scaling")) {
    const Options s(o.get("scaling"), "ropeTables.scaling");
    const std::string type = s.text("type");
    require(type == "linear" || type == "llama3",
            "ropeTables.scaling.type: expected linear or llama3, found ", type);
    RopeScaling& scaling = config.rope_scaling;
    scaling.type = type == "linear" ? RopeScaling::Type::Linear : RopeScaling::Type::Llama3;
    scaling.factor = s.number("factor");
    if (type == "llama3") {
      scaling.low_freq_factor = s.number("lowFreqFactor");
      scaling.high_freq_factor = s.number("highFreqFactor");
      scaling.original_max_positions = s.integer("originalMaxPositions");
    }
  }
  const std::vector<float> frequencies = rope_frequencies(config);
  RopeTables tables(config, host_device());
  tables.ensure(positions);
  const auto copy = [&](const float* from, size_t n) {
    Napi::Float32Array array = Napi::Float32Array::New(info.Env(), n);
    std::copy(from, from + n, array.Data());
    return array;
  };
  const size_t entries = static_cast<size_t>(positions) * frequencies.size();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("frequencies", copy(frequencies.data(), frequencies.size()));
  result.Set("cos", copy(tables.cos(), entries));
  result.Set("sin", copy(tables.sin(), entries));
  return result;
}

}  // namespace

void export_model_kernels(Napi::Env env, Napi::Object exports) {
  export_function<preference_loss>(env, exports, "preferenceLoss");
  export_function<rope_tables>(env, exports, "ropeTables");
}

}  // namespace addon
}  // namespace fintune
