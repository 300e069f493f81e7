// Forward, head, backward.
#include "train/pass.h"

#include <algorithm>

#include "model/decoder_parts.h"
#include "model/staging.h"

namespace fintune {

const std::vector<float>& RowLogprobs::get() {
  if (coming_ != nullptr) {
    const float* const from = static_cast<const float*>(coming_->wait());
    std::copy(from, from + values_.size(), values_.begin());
    coming_ = nullptr;
  }
  return values_;
}

struct Pass::Work {
  const Decoder& decoder;
  const PackedBatch batch;  // sizes
  PlacedBatch placed;
  Activations kept;
  LinearLogprob head{};
};

// What differs between micro-batches of the same sizes, and where their results go, comes first in the arena:
// all behind it may be recorded.
Pass::Work Pass::begin(Exec& exec, const Decoder& decoder, const Packed& packed, const LoraDropout& dropout,
                       const float* weights, RowLogprobs* logprobs) {
  if (!exec.dry) decoder.hold_positions(packed.longest());
  Work work{decoder, packed.view(), place(exec, packed, weights), Activations(), LinearLogprob{}};
  work.kept.recompute = recompute_;
  work.kept.dropout = dropout;
  work.head.weight = decoder.head();
  work.head.targets = work.placed.targets;
  work.head.logprob = room_for(exec, logprobs->values_.data(), work.batch.outputs());
  return work;
}

void Pass::forward(Exec& exec, Work& work, bool keep) {
  work.head.hidden = work.decoder.forward(exec, work.batch, work.placed.arrays, keep ? &work.kept : nullptr);
}

void Pass::backward(Exec& exec, Work& work, const float* weights, Gradients& gradients) {
  work.head.weights = weights;
  work.head.dhidden = work.head.hidden;
  if (full_) work.head.dweight = gradients.full.head;
  model_.ops().linear_logprob(exec, work.head);
  work.decoder.backward(exec, work.batch, work.kept, work.head.dhidden, gradients);
}

void Pass::read_back(Exec& exec, const Work& work, RowLogprobs* logprobs) {
  if (exec.dry || exec.device->is_host()) return;
  logprobs->coming_ = exec.device->read_back(work.head.logprob, logprobs->values_.size() * sizeof(float));
}

void Pass::score(Exec& exec, const Decoder& decoder, const Packed& packed, RowLogprobs* logprobs) {
  Work work = begin(exec, decoder, packed, LoraDropout(), nullptr, logprobs);
  forward(exec, work, false);
  model_.ops().linear_logprob(exec, work.head);
  read_back(exec, work, logprobs);
}

void Pass::train(Exec& exec, const Decoder& decoder, const Packed& packed, const LoraDropout& dropout,
                 const std::vector<float>& weights, Gradients& gradients, RowLogprobs* logprobs) {
  Work work = begin(exec, decoder, packed, dropout, weights.data(), logprobs);
  const auto queue = [&] {
    forward(exec, work, true);
    backward(exec, work, work.placed.weights, gradients);
  };
  // The mask's numbers are arguments of kernels, which a recording would keep.
  if (exec.dry || exec.device->is_host() || !record_ || dropout.p > 0) {
    queue();
  } else {
    decoder::check_abort(exec);
    const Recordings::Key key{work.batch.tokens,      work.batch.sequences,     work.batch.outputs(),
                              work.placed.arrays.ids, decoder.held_positions(), model_.placements()};
    recordings_.run(*exec.device, key, queue);
  }
  read_back(exec, work, logprobs);
}

void Pass::train(Exec& exec, const Decoder& decoder, const Packed& packed, const LoraDropout& dropout,
                 const Weigh& weigh, Gradients& gradients, RowLogprobs* logprobs) {
  Work work = begin(exec, decoder, packed, dropout, nullptr, logprobs);
  forward(exec, work, true);
  model_.ops().linear_logprob(exec, work.head);
  read_back(exec, work, logprobs);
  work.head.logprob = nullptr;
  std::vector<float> weights(logprobs->values_.size());
  if (!exec.dry) weights = weigh(logprobs->get());
  backward(exec, work, staged(exec, weights.data(), work.batch.outputs()), gradients);
}

}  // namespace fintune
