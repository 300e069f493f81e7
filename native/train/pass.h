// One micro-batch through the model: the log-probabilities of its rows, and the gradients that their weights
// in the loss give.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "model/model.h"
#include "train/batch.h"
#include "train/recordings.h"

namespace fintune {

// Log-probabilities that a device may still be computing.
class RowLogprobs {
 public:
  explicit RowLogprobs(size_t rows) : values_(rows) {}
  // Waits for them.
  const std::vector<float>& get();

 private:
  friend class Pass;
  std::vector<float> values_;
  std::unique_ptr<Readback> coming_;
};

// All passes work within one Model::run each, dry and real alike. They only queue, unless said otherwise.
class Pass {
 public:
  // full: every parameter trains, else the top adapter. record: see Recordings.
  Pass(Model& model, bool full, Recompute recompute, bool record)
      : model_(model), full_(full), recompute_(recompute), record_(record) {}

  void score(Exec& exec, const Decoder& decoder, const Packed& packed, RowLogprobs* logprobs);
  // Adds the gradients for weights [rows], dL/dlogprob.
  void train(Exec& exec, const Decoder& decoder, const Packed& packed, const LoraDropout& dropout,
             const std::vector<float>& weights, Gradients& gradients, RowLogprobs* logprobs);
  // The same where the weights depend on the log-probabilities: `weigh` makes them, once these have come. The
  // head then runs twice.
  using Weigh = std::function<std::vector<float>(const std::vector<float>& logprobs)>;
  void train(Exec& exec, const Decoder& decoder, const Packed& packed, const LoraDropout& dropout,
             const Weigh& weigh, Gradients& gradients, RowLogprobs* logprobs);

  int64_t replayed() const { return recordings_.replayed(); }

 private:
  struct Work;
  Work begin(Exec& exec, const Decoder& decoder, const Packed& packed, const LoraDropout& dropout,
             const float* weights, RowLogprobs* logprobs);
  void forward(Exec& exec, Work& work, bool keep);
  void backward(Exec& exec, Work& work, const float* weights, Gradients& gradients);
  void read_back(Exec& exec, const Work& work, RowLogprobs* logprobs);

  Model& model_;
  const bool full_;
  const Recompute recompute_;
  const bool record_;
  Recordings recordings_;
};

}  // namespace fintune
