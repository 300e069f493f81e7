// One optimiser step at a time: micro-batches in, updated parameters out.
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "model/model.h"
#include "train/batch.h"
#include "train/loss_scale.h"
#include "train/objective.h"
#include "train/pass.h"

namespace fintune {

struct TrainerOptions {
  bool full = false;  // every parameter (a model opened as trainable); else the top adapter of the stack
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0;   // on matrices only, as transformers' Trainer
  double max_grad_norm = 0;  // 0: no clipping
  Recompute recompute = Recompute::None;
  float dropout = 0;  // on the input of the trained adapter's A
  uint64_t seed = 0;
  bool record = true;  // micro-batches of the same sizes are recorded, where the device can (Recordings)
};

struct StepResult {
  double loss = 0;
  double grad_norm = 0;  // global L2 norm before clipping
  int64_t targets = 0;   // supervised tokens
  // Means; NaN where the objective does not define them.
  double rewards_chosen = 0, rewards_rejected = 0, rewards_accuracies = 0, rewards_margins = 0;
  bool refused = false;  // above a limit: the step was not done
};

// A parameter that trains. All f32; gradient, m and v are as large as value.
struct TrainedParameter {
  std::string name;
  std::vector<int64_t> shape;
  View value, gradient;
  float* m;
  float* v;
};

// Above these a step is refused: what such a batch would do to the parameters is not undone later.
struct StepLimits {
  double loss = std::numeric_limits<double>::infinity();
  double grad_norm = std::numeric_limits<double>::infinity();
};

class Trainer {
 public:
  // Trains the adapter that is on top of the stack now, or every parameter of a trainable model without
  // adapters.
  Trainer(std::shared_ptr<Model> model, const TrainerOptions& options);

  // One AdamW step. The loss is normalised over all micro-batches, so that their composition does not change
  // it. On any error (Aborted; Numeric for a loss or gradient that is not finite) and where the step is
  // refused, no parameter and no moment has changed.
  StepResult step(const std::vector<MicroBatch>& batches, const Objective& objective, double learning_rate,
                  const StepLimits& limits, const std::atomic<bool>* aborted);
  // Loss and gradients, without dropout; afterwards parameters()[i].gradient holds them times
  // loss_scale().value(), not clipped, until the next call.
  StepResult gradients(const std::vector<MicroBatch>& batches, const Objective& objective,
                       const std::function<void()>& while_locked);
  // Loss only, without dropout.
  StepResult evaluate(const std::vector<MicroBatch>& batches, const Objective& objective,
                      const std::atomic<bool>* aborted);

  // Access from outside of a step takes Model::acquire_idle().
  Model& model() { return *model_; }
  const std::vector<TrainedParameter>& parameters() const { return parameters_; }
  // After parameters were written from outside.
  void parameters_written() {
    if (adapter_ != nullptr) model_->copy_factors(*adapter_);
  }
  int64_t steps() const { return step_; }
  // Bytes of each kind that the steps so far have really taken, at their highest moment.
  MemoryPlan memory() const;
  void set_steps(int64_t n) { step_ = n; }
  // Micro-batches so far that were replayed.
  int64_t replayed() const { return pass_.replayed(); }
  LossScale& loss_scale() { return loss_scale_; }

  // Peak bytes of a step whose largest micro-batch has these sequence lengths and this many supervised
  // tokens.
  static MemoryPlan plan(const std::shared_ptr<Model>& model, const TrainerOptions& options,
                         const std::vector<int32_t>& lengths, int64_t targets, const Objective& objective);
  // The same for a pass without gradients.
  static MemoryPlan plan_scoring(const std::shared_ptr<Model>& model, const std::vector<int32_t>& lengths,
                                 int64_t targets);

 private:
  enum class Purpose { Work, Plan };
  enum class What { Evaluate, Gradients, Train };
  Trainer(std::shared_ptr<Model> model, const TrainerOptions& options, Purpose purpose);
  void add_parameter(const std::string& name, std::vector<int64_t> shape, View value);
  void check_still_on_top() const;
  Decoder decoder();
  StepResult accumulate(const std::vector<MicroBatch>& batches, const Objective& objective, What what,
                        const std::atomic<bool>* aborted);
  // accumulate with gradients, at a loss scale at which they do not overflow.
  StepResult accumulate_scaled(const std::vector<MicroBatch>& batches, const Objective& objective, What what,
                               const std::atomic<bool>* aborted);
  std::vector<float> logprobs_of(const Decoder& decoder, const Packed& packed,
                                 const std::atomic<bool>* aborted);

  std::shared_ptr<Model> model_;
  TrainerOptions options_;
  std::shared_ptr<Adapter> adapter_;
  std::vector<TrainedParameter> parameters_;
  Gradients gradients_;
  size_t parameter_bytes_ = 0;  // of one copy
  Buffer gradient_memory_, m_memory_, v_memory_;
  int64_t step_ = 0;
  LossScale loss_scale_;
  Pass pass_;
};

}  // namespace fintune
