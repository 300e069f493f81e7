// The class NativeTrainer.
#include <cmath>

#include "addon/engine_args.h"
#include "addon/jobs.h"
#include "addon/model_wrap.h"
#include "addon/register.h"
#include "addon/state.h"

namespace fintune {
namespace addon {

namespace {

Napi::Object step_object(Napi::Env env, const StepResult& r) {
  Napi::Object object = Napi::Object::New(env);
  const auto set = [&](const char* name, double value) {
    if (!std::isnan(value)) object.Set(name, Napi::Number::New(env, value));
  };
  set("loss", r.loss);
  set("gradNorm", r.grad_norm);
  set("targets", static_cast<double>(r.targets));
  set("rewardsChosen", r.rewards_chosen);
  set("rewardsRejected", r.rewards_rejected);
  set("rewardsAccuracies", r.rewards_accuracies);
  set("rewardsMargins", r.rewards_margins);
  if (r.refused) object.Set("refused", Napi::Boolean::New(env, true));
  return object;
}

class TrainerWrap : public Napi::ObjectWrap<TrainerWrap> {
 public:
  static void Init(Napi::Env env);
  static Napi::Object wrap(Napi::Env env, std::shared_ptr<Trainer> trainer) {
    const Napi::Object object = state(env).trainer_class.New({});
    Unwrap(object)->trainer_ = std::move(trainer);
    return object;
  }
  explicit TrainerWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TrainerWrap>(info) {}

 private:
  template <Napi::Value (TrainerWrap::*method)(const Napi::CallbackInfo&)>
  Napi::Value guarded(const Napi::CallbackInfo& info) {
    return guard(info.Env(), [&] { return (this->*method)(info); });
  }
  const std::shared_ptr<Trainer>& trainer() const {
    require(trainer_ != nullptr, "the trainer was disposed");
    return trainer_;
  }

  Napi::Value Step(const Napi::CallbackInfo& info);
  Napi::Value Gradients(const Napi::CallbackInfo& info);
  Napi::Value Evaluate(const Napi::CallbackInfo& info);
  Napi::Value Memory(const Napi::CallbackInfo& info);
  Napi::Value Replayed(const Napi::CallbackInfo& info);
  Napi::Value Parameters(const Napi::CallbackInfo& info);
  Napi::Value SetParameters(const Napi::CallbackInfo& info);
  Napi::Value OptimizerState(const Napi::CallbackInfo& info);
  Napi::Value SetOptimizerState(const Napi::CallbackInfo& info);
  Napi::Value Dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<Trainer> trainer_;
};

void TrainerWrap::Init(Napi::Env env) {
  state(env).trainer_class = Napi::Persistent(DefineClass(
      env, "NativeTrainer",
      {
          InstanceMethod("step", &TrainerWrap::guarded<&TrainerWrap::Step>),
          InstanceMethod("gradients", &TrainerWrap::guarded<&TrainerWrap::Gradients>),
          InstanceMethod("evaluate", &TrainerWrap::guarded<&TrainerWrap::Evaluate>),
          InstanceMethod("memory", &TrainerWrap::guarded<&TrainerWrap::Memory>),
          InstanceMethod("replayed", &TrainerWrap::guarded<&TrainerWrap::Replayed>),
          InstanceMethod("parameters", &TrainerWrap::guarded<&TrainerWrap::Parameters>),
          InstanceMethod("setParameters", &TrainerWrap::guarded<&TrainerWrap::SetParameters>),
          InstanceMethod("optimizerState", &TrainerWrap::guarded<&TrainerWrap::OptimizerState>),
          InstanceMethod("setOptimizerState", &TrainerWrap::guarded<&TrainerWrap::SetOptimizerState>),
          InstanceMethod("dispose", &TrainerWrap::guarded<&TrainerWrap::Dispose>),
      }));
}

// {loss?, gradNorm?}; undefined: none.
StepLimits parse_limits(const Napi::Value& value) {
  StepLimits limits;
  if (!value.IsObject()) return limits;
  const Napi::Object object = value.As<Napi::Object>();
  if (object.Has("loss")) limits.loss = to_number(object.Get("loss"), "limits.loss");
  if (object.Has("gradNorm")) limits.grad_norm = to_number(object.Get("gradNorm"), "limits.gradNorm");
  return limits;
}

Napi::Value TrainerWrap::Step(const Napi::CallbackInfo& info) {
  auto result = std::make_shared<StepResult>();
  return start_job(
      info.Env(), info[4],
      [trainer = trainer(), result, batches = parse_micro_batches(info[0]),
       objective = parse_objective(info[1]), rate = to_number(info[2], "learningRate"),
       limits = parse_limits(info[3])](JobContext& job) {
        *result = trainer->step(batches, objective, rate, limits, job.aborted());
      },
      [result](Napi::Env env) { return step_object(env, *result); });
}

Napi::Value TrainerWrap::Gradients(const Napi::CallbackInfo& info) {
  struct Outcome {
    StepResult result;
    std::vector<std::vector<float>> values;
  };
  auto outcome = std::make_shared<Outcome>();
  return start_job(
      info.Env(), info.Env().Undefined(),
      [trainer = trainer(), outcome, batches = parse_micro_batches(info[0]),
       objective = parse_objective(info[1])](JobContext&) {
        outcome->result = trainer->gradients(batches, objective, [&] {
          for (const TrainedParameter& p : trainer->parameters()) {
            outcome->values.emplace_back(static_cast<size_t>(p.gradient.count()));
            trainer->model().device().download(outcome->values.back().data(), p.gradient.data,
                                               p.gradient.bytes());
            const float scale = static_cast<float>(1 / trainer->loss_scale().value());
            if (scale != 1) {
              for (float& g : outcome->values.back()) g *= scale;
            }
          }
        });
      },
      [trainer = trainer(), outcome](Napi::Env env) {
        Napi::Object object = step_object(env, outcome->result);
        Napi::Array array = Napi::Array::New(env);
        for (size_t i = 0; i < outcome->values.size(); ++i) {
          const TrainedParameter& p = trainer->parameters()[i];
          const View view(outcome->values[i].data(), DType::F32, p.gradient.rows, p.gradient.cols);
          array[array.Length()] = parameter_object(env, p.name, p.shape, host_device(), view);
        }
        object.Set("gradients", array);
        return object;
      });
}

Napi::Value TrainerWrap::Evaluate(const Napi::CallbackInfo& info) {
  auto result = std::make_shared<StepResult>();
  return start_job(
      info.Env(), info[2],
      [trainer = trainer(), result, batches = parse_micro_batches(info[0]),
       objective = parse_objective(info[1])](JobContext& job) {
        *result = trainer->evaluate(batches, objective, job.aborted());
      },
      [result](Napi::Env env) { return step_object(env, *result); });
}

Napi::Value TrainerWrap::Memory(const Napi::CallbackInfo& info) {
  const Model::Lock lock = trainer()->model().acquire_idle();
  return memory_plan_object(info.Env(), trainer()->memory());
}

Napi::Value TrainerWrap::Replayed(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(trainer()->replayed()));
}

// Copies of one float array a parameter.
template <typename Pick>
Napi::Array parameter_array(Napi::Env env, Trainer& trainer, Pick&& pick) {
  Napi::Array array = Napi::Array::New(env);
  for (const TrainedParameter& p : trainer.parameters()) {
    const View view(pick(p), DType::F32, p.value.rows, p.value.cols);
    array[array.Length()] = parameter_object(env, p.name, p.shape, trainer.model().device(), view);
  }
  return array;
}

struct Source {
  const float* data;
};

// What JavaScript gave for each of the trainer's parameters, in its order; all are checked before any is
// used.
std::vector<Source> parse_parameters(const Napi::Value& v, const Trainer& trainer, const std::string& name) {
  require(v.IsArray(), name, ": expected an array, found ", js_type(v));
  const Napi::Array array = v.As<Napi::Array>();
  const auto& parameters = trainer.parameters();
  require(array.Length() == parameters.size(), name, ": expected ", parameters.size(), " tensors, found ",
          array.Length());
  std::vector<Source> sources;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value item = array[i];
    const Options o(item, name + "[" + std::to_string(i) + "]");
    const TrainedParameter& p = parameters[i];
    const std::string found = o.text("name");
    require(found == p.name, o.path("name"), ": expected ", p.name, ", found ", found);
    const auto data = to_floats(o.get("data"), o.path("data"));
    require(data.length == p.value.count(), p.name, ": expected ", p.value.count(), " elements, found ",
            data.length);
    sources.push_back({data.data});
  }
  return sources;
}

Napi::Value TrainerWrap::Parameters(const Napi::CallbackInfo& info) {
  const Model::Lock lock = trainer()->model().acquire_idle();
  return parameter_array(info.Env(), *trainer(), [](const TrainedParameter& p) { return p.value.f32(); });
}

Napi::Value TrainerWrap::SetParameters(const Napi::CallbackInfo& info) {
  const Model::Lock lock = trainer()->model().acquire_idle();
  const std::vector<Source> sources = parse_parameters(info[0], *trainer(), "parameters");
  for (size_t i = 0; i < sources.size(); ++i) {
    const View& value = trainer()->parameters()[i].value;
    trainer()->model().device().upload(value.data, sources[i].data, value.bytes());
  }
  trainer()->parameters_written();
  return info.Env().Undefined();
}

Napi::Value TrainerWrap::OptimizerState(const Napi::CallbackInfo& info) {
  const Model::Lock lock = trainer()->model().acquire_idle();
  const Napi::Env env = info.Env();
  Napi::Object object = Napi::Object::New(env);
  object.Set("step", Napi::Number::New(env, static_cast<double>(trainer()->steps())));
  object.Set("m", parameter_array(env, *trainer(), [](const TrainedParameter& p) { return p.m; }));
  object.Set("v", parameter_array(env, *trainer(), [](const TrainedParameter& p) { return p.v; }));
  const LossScale& scale = trainer()->loss_scale();
  if (scale.adapts()) {
    object.Set("lossScale", Napi::Number::New(env, scale.value()));
    object.Set("lossScaleSteps", Napi::Number::New(env, static_cast<double>(scale.good_steps())));
  }
  return object;
}

Napi::Value TrainerWrap::SetOptimizerState(const Napi::CallbackInfo& info) {
  const Model::Lock lock = trainer()->model().acquire_idle();
  const Options o(info[0], "state");
  const int64_t step = o.integer("step");
  require(step >= 0, o.path("step"), ": expected 0 or more, found ", step);
  const std::vector<Source> m = parse_parameters(o.get("m"), *trainer(), o.path("m"));
  const std::vector<Source> v = parse_parameters(o.get("v"), *trainer(), o.path("v"));
  for (size_t i = 0; i < m.size(); ++i) {
    const TrainedParameter& p = trainer()->parameters()[i];
    const size_t bytes = static_cast<size_t>(p.value.count()) * 4;
    trainer()->model().device().upload(p.m, m[i].data, bytes);
    trainer()->model().device().upload(p.v, v[i].data, bytes);
  }
  if (trainer()->loss_scale().adapts() && o.has("lossScale")) {
    trainer()->loss_scale().set(o.number("lossScale"), o.integer("lossScaleSteps"));
  }
  trainer()->set_steps(step);
  return info.Env().Undefined();
}

Napi::Value TrainerWrap::Dispose(const Napi::CallbackInfo& info) {
  trainer_.reset();
  return info.Env().Undefined();
}

}  // namespace

Napi::Value ModelWrap::CreateTrainer(const Napi::CallbackInfo& info) {
  const TrainerOptions options = parse_trainer_options(info[0]);
  const Model::Lock lock = model()->acquire_idle();
  return TrainerWrap::wrap(info.Env(), std::make_shared<Trainer>(model(), options));
}

Napi::Value ModelWrap::PlanTraining(const Napi::CallbackInfo& info) {
  const TrainerOptions options = parse_trainer_options(info[0]);
  const Model::Lock lock = model()->acquire_idle();
  return memory_plan_object(info.Env(),
                            Trainer::plan(model(), options, int_vector(info[1], "lengths"),
                                          to_integer(info[2], "targets"), parse_objective(info[3])));
}

void init_trainer(Napi::Env env, Napi::Object) { TrainerWrap::Init(env); }

}  // namespace addon
}  // namespace fintune
