// Trainer: forward, weights, backward over the micro-batches of a step, then AdamW.
#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fintune {

namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

size_t padded_bytes(int64_t floats) {
  return (static_cast<size_t>(floats) * 4 + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
}

// dL/dlogprob of each row: the mean over the step's supervised tokens, or the caller's weights.
std::vector<float> sft_weights(const Packed& packed, double scale, int64_t targets) {
  std::vector<float> weights(packed.rows.size(), static_cast<float>(-scale / static_cast<double>(targets)));
  for (size_t i = 0; i < packed.weights.size(); ++i)
    weights[i] = -static_cast<float>(scale) * packed.weights[i];
  return weights;
}

void sum_logprobs(const Packed& packed, const std::vector<float>& logprobs,
                  std::vector<SequenceScore>* scores) {
  *scores = packed.scores;
  for (size_t s = 0; s < scores->size(); ++s) {
    double sum = 0;
    for (int64_t i = packed.sequence_rows[s]; i < packed.sequence_rows[s + 1]; ++i) {
      sum += static_cast<double>(logprobs[static_cast<size_t>(i)]);
    }
    (*scores)[s].logprob = sum;
  }
}

}  // namespace

Trainer::Trainer(std::shared_ptr<Model> model, const TrainerOptions& options)
    : Trainer(std::move(model), options, Purpose::Work) {}

Trainer::Trainer(std::shared_ptr<Model> model, const TrainerOptions& options, Purpose purpose)
    : model_(std::move(model)),
      options_(options),
      loss_scale_(model_->compute()),
      pass_(*model_, options.full, options.recompute, options.record) {
  require(options.dropout >= 0 && options.dropout < 1, "dropout: expected 0 <= p < 1, found ",
          options.dropout);
  require(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1,
          "beta1, beta2: expected 0 <= beta < 1, found ", options.beta1, ", ", options.beta2);
  require(options.eps >= 0 && options.weight_decay >= 0 && options.max_grad_norm >= 0,
          "eps, weightDecay and maxGradNorm must not be negative");
  const ModelConfig& config = model_->config();
  if (options.full) {
    require(model_->weights().trainable(),
            "all parameters train only in a model that was opened as trainable");
    require(model_->adapters().size() == 0, "all parameters train only without adapters, found ",
            model_->adapters().size());
    for (const ParameterSlot& slot : model_->weights().parameters())
      add_parameter(slot.name, slot.shape, *slot.view);
  } else {
    const int count = model_->adapters().size();
    require(count > 0, "there is no adapter to train: add one first");
    adapter_ = model_->adapters().at(count - 1);
    gradients_.lora.resize(static_cast<size_t>(config.num_layers * kSites));
    for (const Adapter::Module& m : adapter_->modules()) {
      add_parameter(m.name + ".lora_A.weight", {m.pair.a.rows, m.pair.a.cols}, m.pair.a);
      add_parameter(m.name + ".lora_B.weight", {m.pair.b.rows, m.pair.b.cols}, m.pair.b);
    }
  }
  if (purpose == Purpose::Work) {
    gradient_memory_ = Buffer(parameter_bytes_, model_->device());
    m_memory_ = Buffer(parameter_bytes_, model_->device());
    v_memory_ = Buffer(parameter_bytes_, model_->device());
  }
  // add_parameter has noted where each lies; now the memory is known.
  for (TrainedParameter& p : parameters_) {
    const size_t offset = reinterpret_cast<size_t>(p.gradient.data);
    char* base =
        purpose == Purpose::Work ? gradient_memory_.data() : reinterpret_cast<char*>(Arena::kAlignment);
    p.gradient.data = base + offset;
    if (purpose == Purpose::Work) {
      p.m = reinterpret_cast<float*>(m_memory_.data() + offset);
      p.v = reinterpret_cast<float*>(v_memory_.data() + offset);
    }
  }
  if (options.full) {
    std::vector<ParameterSlot> slots = parameter_slots(config, gradients_.full);
    for (size_t i = 0; i < slots.size(); ++i) *slots[i].view = parameters_[i].gradient;
    if (config.tie_word_embeddings) gradients_.full.head = gradients_.full.embed;
  } else {
    size_t i = 0;
    for (const Adapter::Module& m : adapter_->modules()) {
      Gradients::Lora& g = gradients_.at(m.layer, m.site);
      g.a = parameters_[i++].gradient;
      g.b = parameters_[i++].gradient;
    }
  }
}

void Trainer::add_parameter(const std::string& name, std::vector<int64_t> shape, View value) {
  TrainedParameter p;
  p.name = name;
  p.shape = std::move(shape);
  p.value = value;
  p.gradient = View(reinterpret_cast<void*>(parameter_bytes_), DType::F32, value.rows, value.cols);
  p.m = nullptr;
  p.v = nullptr;
  parameter_bytes_ += padded_bytes(value.count());
  parameters_.push_back(std::move(p));
}

void Trainer::check_still_on_top() const {
  const AdapterStack& stack = model_->adapters();
  if (options_.full) {
    require(stack.size() == 0, "an adapter was added after this trainer of all parameters was made");
  } else {
    require(stack.size() > 0 && stack.at(stack.size() - 1) == adapter_,
            "the adapter that this trainer trains is no longer on top of the stack");
  }
}

Decoder Trainer::decoder() {
  return model_->decoder(-1, options_.full ? Trains::Everything : Trains::TopAdapter);
}

std::vector<float> Trainer::logprobs_of(const Decoder& decoder, const Packed& packed,
                                        const std::atomic<bool>* aborted) {
  RowLogprobs logprobs(packed.rows.size());
  if (packed.rows.empty()) return {};
  model_->run(aborted, [&](Exec& exec) { pass_.score(exec, decoder, packed, &logprobs); });
  return logprobs.get();
}

StepResult Trainer::accumulate(const std::vector<MicroBatch>& batches, const Objective& objective, What what,
                               const std::atomic<bool>* aborted) {
  check_still_on_top();
  require(!batches.empty(), "a step needs at least one micro-batch");
  for (const MicroBatch& batch : batches) check_micro_batch(model_->config(), batch, objective);
  const bool kto = objective.loss == Loss::Kto, sft = objective.loss == Loss::Sft;
  const Decoder decoder = this->decoder();

  std::vector<Packed> packed;
  StepTotals totals;
  for (const MicroBatch& batch : batches) {
    packed.push_back(kto ? pack(batch, 0, 2) : pack(batch));
    const Packed& p = packed.back();
    totals.targets += static_cast<int64_t>(p.rows.size());
    totals.pairs += p.sequences() / 2;
    totals.rows += p.sequences();
    for (size_t s = 0; s < p.scores.size(); ++s) {
      if (s % 2 == 0) totals.chosen_targets += p.scores[s].tokens;
      totals.desirable += p.scores[s].desirable ? 1 : 0;
    }
  }
  require(totals.targets > 0, "no token of the step is supervised");
  if (kto) {
    std::vector<SequenceScore> mismatched, part;
    for (const MicroBatch& batch : batches) {
      const Packed p = pack(batch, 1, 2);
      sum_logprobs(p, logprobs_of(decoder, p, aborted), &part);
      mismatched.insert(mismatched.end(), part.begin(), part.end());
    }
    totals.kl = kto_kl(mismatched);
  }

  const bool backward = what != What::Evaluate;
  const double scale = loss_scale_.value();
  if (backward) model_->device().fill(gradient_memory_.data(), 0, gradient_memory_.bytes());
  ObjectiveSums sums;
  // A micro-batch that is queued, and what it adds once its log-probabilities have come.
  struct Queued {
    const Packed& packed;
    RowLogprobs logprobs;
    ObjectiveSums part;
  };
  const auto weigh = [&](Queued& q, const std::vector<float>& logprobs) {
    std::vector<SequenceScore> scores;
    std::vector<double> gradient;
    sum_logprobs(q.packed, logprobs, &scores);
    q.part = ObjectiveSums();
    if (kto) {
      kto_gradient(objective, totals, scores, &gradient, &q.part);
    } else {
      preference_gradient(objective, totals, scores, &gradient, &q.part);
    }
    std::vector<float> weights(logprobs.size());
    for (size_t s = 0; s < scores.size(); ++s) {
      for (int64_t i = q.packed.sequence_rows[s]; i < q.packed.sequence_rows[s + 1]; ++i) {
        weights[static_cast<size_t>(i)] = static_cast<float>(scale * gradient[s]);
      }
    }
    return weights;
  };
  const auto finish = [&](Queued& q) {
    if (sft) {
      const std::vector<float>& logprobs = q.logprobs.get();
      for (size_t i = 0; i < logprobs.size(); ++i) {
        q.part.loss += q.packed.weights.empty()
                           ? -static_cast<double>(logprobs[i]) / static_cast<double>(totals.targets)
                           : -static_cast<double>(q.packed.weights[i]) * static_cast<double>(logprobs[i]);
      }
    } else if (!backward) {
      weigh(q, q.logprobs.get());
    }
    sums.loss += q.part.loss;
    sums.rewards_chosen += q.part.rewards_chosen;
    sums.rewards_rejected += q.part.rewards_rejected;
    sums.accurate += q.part.accurate;
  };

  // One micro-batch runs ahead of the results of the one before, so that a device need not pause between
  // them; no more, so that a request to stop is heard soon.
  std::unique_ptr<Queued> before;
  int64_t first_row = 0;
  for (const Packed& p : packed) {
    LoraDropout dropout;
    if (what == What::Train) dropout.p = options_.dropout;
    dropout.seed = options_.seed;
    dropout.step = static_cast<uint32_t>(step_ + 1);
    dropout.first_row = first_row;
    first_row += p.tokens();
    if (p.rows.empty()) continue;
    auto now = std::make_unique<Queued>(Queued{p, RowLogprobs(p.rows.size()), ObjectiveSums()});
    const std::vector<float> weights = sft ? sft_weights(p, scale, totals.targets) : std::vector<float>();
    model_->run(aborted, [&](Exec& exec) {
      if (!backward) {
        pass_.score(exec, decoder, p, &now->logprobs);
      } else if (sft) {
        pass_.train(exec, decoder, p, dropout, weights, gradients_, &now->logprobs);
      } else {
        pass_.train(
            exec, decoder, p, dropout,
            [&](const std::vector<float>& logprobs) { return weigh(*now, logprobs); }, gradients_,
            &now->logprobs);
      }
    });
    if (before != nullptr) finish(*before);
    before = std::move(now);
  }
  if (before != nullptr) finish(*before);

  StepResult result;
  result.loss = sums.loss;
  result.targets = totals.targets;
  const double chosen = static_cast<double>(kto ? totals.desirable : totals.pairs);
  const double rejected = static_cast<double>(kto ? totals.rows - totals.desirable : totals.pairs);
  result.rewards_chosen = sft || chosen == 0 ? kUndefined : sums.rewards_chosen / chosen;
  result.rewards_rejected = sft || rejected == 0 ? kUndefined : sums.rewards_rejected / rejected;
  result.rewards_margins = result.rewards_chosen - result.rewards_rejected;
  result.rewards_accuracies = sft || kto ? kUndefined : sums.accurate / static_cast<double>(totals.pairs);
  if (!std::isfinite(result.loss))
    fail(ErrorCode::Numeric, "the loss is ", result.loss, ", nothing was changed");
  if (backward) {
    std::vector<View> views;
    for (const TrainedParameter& p : parameters_) views.push_back(p.gradient);
    model_->run(nullptr, [&](Exec& exec) {
      model_->ops().global_norm(
          exec, GlobalNorm{views.data(), static_cast<int64_t>(views.size()), &result.grad_norm});
    });
    result.grad_norm /= scale;
  }
  return result;
}

StepResult Trainer::accumulate_scaled(const std::vector<MicroBatch>& batches, const Objective& objective,
                                      What what, const std::atomic<bool>* aborted) {
  const LossScale before = loss_scale_;
  while (true) {
    const StepResult result = accumulate(batches, objective, what, aborted);
    if (std::isfinite(result.grad_norm)) return result;
    if (loss_scale_.halve()) continue;
    loss_scale_ = before;
    fail(ErrorCode::Numeric, "the gradient norm is ", result.grad_norm, ", nothing was changed");
  }
}

StepResult Trainer::step(const std::vector<MicroBatch>& batches, const Objective& objective,
                         double learning_rate, const StepLimits& limits, const std::atomic<bool>* aborted) {
  require(std::isfinite(learning_rate) && learning_rate >= 0, "learningRate: expected 0 or more, found ",
          learning_rate);
  const Model::Lock lock = model_->acquire(aborted);
  StepResult result = accumulate_scaled(batches, objective, What::Train, aborted);
  result.refused = result.loss > limits.loss || result.grad_norm > limits.grad_norm;
  if (result.refused) return result;
  std::vector<AdamWTensor> tensors;
  for (const TrainedParameter& p : parameters_) {
    tensors.push_back({p.value.f32(), p.gradient.f32(), p.m, p.v, p.value.count(),
                       static_cast<float>(p.shape.size() == 2 ? options_.weight_decay : 0)});
  }
  if (adapter_ != nullptr) {
    size_t i = 0;
    for (const Adapter::Module& m : adapter_->modules()) {
      const FactorCopies copies = model_->factor_copies(m);
      tensors[i++].copy = copies.a;
      tensors[i++].copy = copies.b;
    }
  }
  AdamW op{};
  op.tensors = tensors.data();
  op.count = static_cast<int64_t>(tensors.size());
  op.step = step_ + 1;
  op.lr = learning_rate;
  op.beta1 = options_.beta1;
  op.beta2 = options_.beta2;
  op.eps = options_.eps;
  const double clip =
      options_.max_grad_norm > 0 ? std::min(1.0, options_.max_grad_norm / (result.grad_norm + 1e-6)) : 1.0;
  op.grad_scale = static_cast<float>(clip / loss_scale_.value());
  model_->run(nullptr, [&](Exec& exec) { model_->ops().adamw(exec, op); });
  ++step_;
  loss_scale_.step_done();
  return result;
}

StepResult Trainer::gradients(const std::vector<MicroBatch>& batches, const Objective& objective,
                              const std::function<void()>& while_locked) {
  const Model::Lock lock = model_->acquire(nullptr);
  const StepResult result = accumulate_scaled(batches, objective, What::Gradients, nullptr);
  if (while_locked) while_locked();
  return result;
}

StepResult Trainer::evaluate(const std::vector<MicroBatch>& batches, const Objective& objective,
                             const std::atomic<bool>* aborted) {
  const Model::Lock lock = model_->acquire(aborted);
  return accumulate(batches, objective, What::Evaluate, aborted);
}

MemoryPlan Trainer::memory() const {
  MemoryPlan bytes = model_->job_memory();
  bytes[static_cast<size_t>(MemoryKind::Weights)] += model_->weights().bytes();
  bytes[static_cast<size_t>(MemoryKind::Adapters)] += model_->adapters().bytes();
  bytes[static_cast<size_t>(MemoryKind::Gradients)] += gradient_memory_.bytes();
  bytes[static_cast<size_t>(MemoryKind::Optimizer)] += m_memory_.bytes() + v_memory_.bytes();
  return bytes;
}

MemoryPlan Trainer::plan_scoring(const std::shared_ptr<Model>& model, const std::vector<int32_t>& lengths,
                                 int64_t targets) {
  const Decoder decoder = model->decoder();
  const Packed packed = pack_shape(lengths, targets);
  RowLogprobs logprobs(packed.rows.size());
  Pass pass(*model, false, Recompute::None, false);
  MemoryPlan plan = model->measure([&](Exec& exec) { pass.score(exec, decoder, packed, &logprobs); });
  plan[static_cast<size_t>(MemoryKind::Weights)] += model->weights().bytes();
  plan[static_cast<size_t>(MemoryKind::Adapters)] += model->adapters().bytes();
  return plan;
}

MemoryPlan Trainer::plan(const std::shared_ptr<Model>& model, const TrainerOptions& options,
                         const std::vector<int32_t>& lengths, int64_t targets, const Objective& objective) {
  Trainer trainer(model, options, Purpose::Plan);
  const Decoder decoder = trainer.decoder();
  const Packed packed = pack_shape(lengths, targets);
  RowLogprobs logprobs(packed.rows.size());
  const std::vector<float> weights(packed.rows.size());
  LoraDropout dropout;
  dropout.p = options.dropout;
  MemoryPlan plan = model->measure([&](Exec& exec) {
    ArenaScope scope(*exec.arena);
    if (objective.loss == Loss::Sft) {
      trainer.pass_.train(exec, decoder, packed, dropout, weights, trainer.gradients_, &logprobs);
    } else {
      trainer.pass_.train(exec, decoder, packed, dropout, Pass::Weigh(), trainer.gradients_, &logprobs);
    }
  });
  plan[static_cast<size_t>(MemoryKind::Weights)] += model->weights().bytes();
  plan[static_cast<size_t>(MemoryKind::Adapters)] += model->adapters().bytes();
  plan[static_cast<size_t>(MemoryKind::Gradients)] += trainer.parameter_bytes_;
  plan[static_cast<size_t>(MemoryKind::Optimizer)] += 2 * trainer.parameter_bytes_;
  return plan;
}

}  // namespace fintune
