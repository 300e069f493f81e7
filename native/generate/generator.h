// Text continuation: prompts in, tokens out.
#pragma once

#include <functional>
#include <vector>

#include "model/model.h"

namespace fintune {

struct GenerateRequest {
  std::vector<int32_t> ids;
  std::vector<int32_t> cu_seqlens;  // [N+1]
  SamplingOptions sampling;         // stream is each prompt's own
  int64_t max_new_tokens = 0;
  std::vector<int32_t> stop_ids;
  std::vector<uint64_t> streams;  // [N]
  int64_t max_batch = 1;          // sequences decoded together at most
  int64_t prefill_tokens = 1;     // prompt tokens of one prefill pass
  int64_t cache_tokens = 0;       // room of the key/value cache; 0: as much as max_batch can come to need
  bool prefix_sharing = true;     // prompts that begin alike compute whole pages of that once
  bool recording = true;          // steps of decoding are recorded where the device can
  int adapters = -1;
};

struct Generation {
  int64_t index;                // of the prompt
  std::vector<int32_t> output;  // without the stop token
  bool stopped;                 // else max_new_tokens were generated
};

struct GenerateStatistics {
  int64_t prompt_tokens = 0;  // of all prompts
  int64_t shared_tokens = 0;  // of these, taken from the cache; the others were computed
  int64_t generated_tokens = 0;
  int64_t cache_tokens = 0;  // room of the cache
  int64_t decode_steps = 0;
  int64_t replayed_steps = 0;   // of these, done again by one call
  int64_t decode_launches = 0;  // kernels of all of them but the sampler; 0 where ops are plain functions
};

// Called on the generating thread.
struct GenerateListener {
  std::function<void(Generation)> finished;
  std::function<void(int64_t total)> tokens;  // tokens so far, at most five times a second
};

// Continues every prompt. Takes the model's lock. A prompt's output depends on the prompt, the options and
// its stream only: prompts are prefilled by the dense kernels, decoded by the rowwise ones, and the head is
// always rowwise, so that no row's bits depend on its neighbours; nor on whether its prefix was shared, as
// attention has the same bits for a row whatever the queries before it. The cache is taken whole before the
// start; sequences enter as long as it holds all that they can come to need. Throws Argument (an empty
// prompt, one that does not fit the positions or the cache), Numeric, Aborted, OutOfMemory.
GenerateStatistics generate(Model& model, const GenerateRequest& request, const GenerateListener& listener,
                            const std::atomic<bool>* aborted);

// The distribution [V] from which the first token after the prompt is drawn. Takes the model's lock.
std::vector<float> next_token_distribution(Model& model, const std::vector<int32_t>& ids,
                                           const SamplingOptions& sampling, int adapters,
                                           const std::atomic<bool>* aborted);

// Bytes at the peak of generating for prompts of one length, weights and adapters included.
MemoryPlan plan_generation(Model& model, int64_t max_batch, int64_t prompt_tokens, int64_t max_new_tokens);

}  // namespace fintune
