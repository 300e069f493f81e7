// The loop of continuous batching.
#include "generate/generator.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>

#include "generate/batcher.h"
#include "generate/decode_step.h"
#include "generate/kv_cache.h"

namespace fintune {
namespace {

using Sequence = Batcher::Sequence;

void check_request(const ModelConfig& config, const GenerateRequest& r) {
  check_sequences(config, r.ids, r.cu_seqlens);
  require(r.max_new_tokens >= 0, "maxNewTokens must be 0 or more, found ", r.max_new_tokens);
  require(r.max_batch > 0, "maxBatch must be positive, found ", r.max_batch);
  require(r.prefill_tokens > 0, "prefillTokens must be positive, found ", r.prefill_tokens);
  require(r.cache_tokens >= 0, "cacheTokens must be 0 or more, found ", r.cache_tokens);
  const size_t prompts = r.cu_seqlens.size() - 1;
  require(r.streams.size() == prompts, "expected one stream a prompt, ", prompts, ", found ",
          r.streams.size());
  for (size_t i = 0; i < prompts; ++i) {
    const int64_t length = r.cu_seqlens[i + 1] - r.cu_seqlens[i];
    require(length > 0, "prompt ", i, " is empty, expected at least one token");
    require(length + r.max_new_tokens <= config.max_positions, "prompt ", i, " has ", length,
            " tokens, with ", r.max_new_tokens, " new ones it does not fit the model's ",
            config.max_positions, " positions");
  }
}

// Pages of the cache: as many as were asked for, or what the longest sequences that can be at work at once
// come to need, with room for common prefixes that none of them uses at the moment (no more than as much
// again).
int64_t cache_pages(const GenerateRequest& r, int64_t common_pages) {
  std::vector<int64_t> pages;
  for (size_t i = 0; i + 1 < r.cu_seqlens.size(); ++i) {
    const int64_t length = r.cu_seqlens[i + 1] - r.cu_seqlens[i];
    const int64_t stored = Batcher::stored_tokens(length, r.max_new_tokens);
    require(r.cache_tokens == 0 || pages_for(stored) * kPageTokens <= r.cache_tokens, "prompt ", i, " has ",
            length, " tokens, with ", r.max_new_tokens, " new ones it takes ",
            pages_for(stored) * kPageTokens, " tokens of the key/value cache in pages of ", kPageTokens,
            "; cacheTokens is ", r.cache_tokens);
    pages.push_back(pages_for(stored));
  }
  if (r.cache_tokens > 0) return r.cache_tokens / kPageTokens;
  std::sort(pages.begin(), pages.end(), std::greater<int64_t>());
  pages.resize(static_cast<size_t>(std::min<int64_t>(r.max_batch, static_cast<int64_t>(pages.size()))));
  const int64_t most = std::accumulate(pages.begin(), pages.end(), int64_t{0});
  return most + std::min(most, common_pages);
}

// Tokens that the longest sequence stores at most.
int64_t longest_stored(const GenerateRequest& r) {
  int64_t longest = 0;
  for (size_t i = 0; i + 1 < r.cu_seqlens.size(); ++i) {
    const int64_t length = r.cu_seqlens[i + 1] - r.cu_seqlens[i];
    longest = std::max(longest, Batcher::stored_tokens(length, r.max_new_tokens));
  }
  return longest;
}

class Generating {
 public:
  Generating(Model& model, const GenerateRequest& request, const GenerateListener& listener,
             const std::atomic<bool>* aborted)
      : model_(model),
        request_(request),
        listener_(listener),
        aborted_(aborted),
        decoder_(model.decoder(request.adapters)),
        batcher_(request.ids, request.cu_seqlens,
                 Batcher::Limits{request.max_batch, request.prefill_tokens, request.max_new_tokens}, pool_,
                 request.prefix_sharing),
        pages_(cache_pages(request, batcher_.common_pages())),
        cache_(model.config(), model.compute(), pages_, model.device()),
        step_(model, decoder_, cache_.whole(pages_for(longest_stored(request))), request.max_batch,
              request.recording) {
    pool_.open(pages_);
    decoder_.hold_positions(longest_stored(request));
  }

  GenerateStatistics run() {
    while (!batcher_.done()) {
      for (std::vector<Sequence> entering = batcher_.admit(); !entering.empty();
           entering = batcher_.admit()) {
        prefill(entering);
        for (Sequence& sequence : entering) keep_or_finish(sequence);
      }
      std::vector<Sequence> running = std::move(batcher_.running());
      batcher_.running().clear();
      if (running.empty()) continue;
      decode(running);
      for (Sequence& sequence : running) keep_or_finish(sequence);
    }
    if (listener_.tokens) listener_.tokens(total_);
    GenerateStatistics statistics;
    statistics.prompt_tokens = static_cast<int64_t>(request_.ids.size());
    statistics.shared_tokens = shared_;
    statistics.generated_tokens = total_;
    statistics.cache_tokens = pages_ * kPageTokens;
    statistics.decode_steps = step_.steps();
    statistics.replayed_steps = step_.replayed();
    statistics.decode_launches = step_.launches();
    return statistics;
  }

 private:
  void prefill(std::vector<Sequence>& sequences) {
    std::vector<int32_t> ids, positions, cu{0}, last;
    int64_t context = 0;
    for (const Sequence& s : sequences) {
      const int32_t shared = static_cast<int32_t>(s.shared), length = static_cast<int32_t>(s.tokens.size());
      ids.insert(ids.end(), s.tokens.begin() + shared, s.tokens.end());
      for (int32_t t = shared; t < length; ++t) positions.push_back(t);
      cu.push_back(static_cast<int32_t>(ids.size()));
      last.push_back(cu.back() - 1);
      context += length;
      shared_ += shared;
    }
    PackedBatch batch;
    batch.ids = ids.data();
    batch.positions = positions.data();
    batch.cu_seqlens = cu.data();
    batch.tokens = static_cast<int64_t>(ids.size());
    batch.sequences = static_cast<int64_t>(sequences.size());
    batch.rows = last.data();
    batch.row_count = batch.sequences;
    batch.context = context;
    std::vector<const std::vector<int32_t>*> pages;
    for (const Sequence& s : sequences) pages.push_back(&s.pages);
    const KvCacheView& view = cache_.view(pages);
    draw(sequences, [&](Exec& exec) {
      const View hidden = decoder_.forward(exec, batch, &view);
      return head_logits(exec, model_.ops(), decoder_, hidden);
    });
  }

  void decode(std::vector<Sequence>& sequences) {
    std::vector<DecodeStep::Row> rows;
    for (const Sequence& s : sequences) {
      rows.push_back({s.tokens.back(), static_cast<int32_t>(s.tokens.size()) - 1, &s.pages});
    }
    draw(sequences, [&](Exec& exec) { return step_.logits(exec, rows); });
  }

  // Computes logits, a row for each of the sequences, and appends the token drawn to it.
  void draw(std::vector<Sequence>& sequences, const std::function<View(Exec&)>& logits) {
    std::vector<SampleRow> rows;
    for (const Sequence& s : sequences) {
      SampleRow row;
      if (request_.sampling.repetition_penalty != 1) {
        row.seen = s.tokens.data();
        row.seen_count = static_cast<int64_t>(s.tokens.size());
      }
      row.options = request_.sampling;
      row.options.stream = request_.streams[static_cast<size_t>(s.prompt)];
      row.position = s.generated();
      row.prompt = s.prompt;
      rows.push_back(row);
    }
    std::vector<int32_t> tokens(sequences.size());
    model_.run(aborted_, [&](Exec& exec) {
      Sample op{};
      op.logits = logits(exec);
      op.rows = rows.data();
      op.tokens = tokens.data();
      model_.ops().sample(exec, op);
    });
    for (size_t i = 0; i < sequences.size(); ++i) sequences[i].tokens.push_back(tokens[i]);
  }

  void keep_or_finish(Sequence& sequence) {
    const std::vector<int32_t>& stops = request_.stop_ids;
    const bool stopped = std::find(stops.begin(), stops.end(), sequence.tokens.back()) != stops.end();
    if (stopped) {
      sequence.tokens.pop_back();
    } else {
      ++total_;
      report();
    }
    if (!stopped && sequence.generated() < request_.max_new_tokens) {
      batcher_.run(std::move(sequence));
      return;
    }
    batcher_.release(sequence);
    listener_.finished(Generation{
        sequence.prompt,
        std::vector<int32_t>(sequence.tokens.begin() + sequence.prompt_length, sequence.tokens.end()),
        stopped});
  }

  void report() {
    const auto now = std::chrono::steady_clock::now();
    if (!listener_.tokens || now - reported_ < std::chrono::milliseconds(200)) return;
    reported_ = now;
    listener_.tokens(total_);
  }

  Model& model_;
  const GenerateRequest& request_;
  const GenerateListener& listener_;
  const std::atomic<bool>* aborted_;
  Decoder decoder_;
  PagePool pool_;
  Batcher batcher_;
  int64_t pages_;
  KvCache cache_;
  DecodeStep step_;
  int64_t total_ = 0, shared_ = 0;
  std::chrono::steady_clock::time_point reported_ = std::chrono::steady_clock::now();
};

}  // namespace

GenerateStatistics generate(Model& model, const GenerateRequest& request, const GenerateListener& listener,
                            const std::atomic<bool>* aborted) {
  check_request(model.config(), request);
  if (request.max_new_tokens == 0) {
    for (size_t i = 0; i + 1 < request.cu_seqlens.size(); ++i) {
      listener.finished(Generation{static_cast<int64_t>(i), {}, false});
    }
    return GenerateStatistics();
  }
  const Model::Lock lock = model.acquire(aborted);
  return Generating(model, request, listener, aborted).run();
}

std::vector<float> next_token_distribution(Model& model, const std::vector<int32_t>& ids,
                                           const SamplingOptions& sampling, int adapters,
                                           const std::atomic<bool>* aborted) {
  const std::vector<int32_t> cu{0, static_cast<int32_t>(ids.size())};
  check_sequences(model.config(), ids, cu);
  require(!ids.empty(), "the prompt is empty, expected at least one token");
  const Model::Lock lock = model.acquire(aborted);
  const Decoder decoder = model.decoder(adapters);
  const std::vector<int32_t> positions = sequence_positions(cu);
  const int32_t last = cu.back() - 1;
  PackedBatch batch;
  batch.ids = ids.data();
  batch.positions = positions.data();
  batch.cu_seqlens = cu.data();
  batch.tokens = cu.back();
  batch.sequences = 1;
  batch.rows = &last;
  batch.row_count = 1;
  std::vector<float> distribution(static_cast<size_t>(model.config().vocab_size));
  model.run(aborted, [&](Exec& exec) {
    SampleRow row;
    row.seen = ids.data();
    row.seen_count = static_cast<int64_t>(ids.size());
    row.options = sampling;
    int32_t token = 0;
    Sample op{};
    const View hidden = decoder.forward(exec, batch, nullptr);
    op.logits = head_logits(exec, model.ops(), decoder, hidden);
    op.rows = &row;
    op.tokens = &token;
    op.distributions = exec.arena->matrix(DType::F32, 1, op.logits.cols, MemoryKind::Logits);
    model.ops().sample(exec, op);
    if (!exec.dry)
      exec.device->download(distribution.data(), op.distributions.data, op.distributions.bytes());
  });
  return distribution;
}

MemoryPlan plan_generation(Model& model, int64_t max_batch, int64_t prompt_tokens, int64_t max_new_tokens) {
  require(max_batch > 0 && prompt_tokens > 0 && max_new_tokens >= 0,
          "a plan needs maxBatch and promptTokens above 0 and maxNewTokens of 0 or more, found ", max_batch,
          ", ", prompt_tokens, " and ", max_new_tokens);
  constexpr int64_t kPrefillTokens = 2048;
  const int64_t longest = prompt_tokens + max_new_tokens;
  const Decoder decoder = model.decoder();
  const auto measure = [&](int64_t sequences, const std::function<View(Exec&)>& logits) {
    return model.measure([&](Exec& exec) {
      SampleRow row;
      row.seen_count = longest;
      const std::vector<SampleRow> rows(static_cast<size_t>(sequences), row);
      Sample op{};
      op.logits = logits(exec);
      op.rows = rows.data();
      model.ops().sample(exec, op);
    });
  };
  const auto total = [](const MemoryPlan& plan) {
    size_t sum = 0;
    for (size_t bytes : plan) sum += bytes;
    return sum;
  };
  KvCacheView cache;
  cache.page_tokens = kPageTokens;
  cache.max_pages = pages_for(longest);
  cache.tokens = max_batch * cache.max_pages * kPageTokens;
  cache.pool =
      View(nullptr, model.compute(), model.config().num_layers * 2 * cache.tokens, model.config().kv_size());
  const int32_t none = 0;  // stands for arrays, which a plan does not read
  cache.page_table = &none;
  const int64_t prompts = std::min(max_batch, std::max<int64_t>(1, kPrefillTokens / prompt_tokens));
  const MemoryPlan prefill = measure(prompts, [&](Exec& exec) {
    PackedBatch batch;
    batch.tokens = prompts * prompt_tokens;
    batch.sequences = prompts;
    batch.rows = &none;
    batch.row_count = prompts;
    return head_logits(exec, model.ops(), decoder, decoder.forward(exec, batch, &cache));
  });
  DecodeStep step(model, decoder, cache, max_batch, true);
  const MemoryPlan decode = measure(max_batch, [&](Exec& exec) {
    return step.logits(exec, std::vector<DecodeStep::Row>(static_cast<size_t>(max_batch)));
  });
  MemoryPlan plan = total(prefill) > total(decode) ? prefill : decode;
  const auto add = [&](MemoryKind kind, size_t bytes) { plan[static_cast<size_t>(kind)] += bytes; };
  add(MemoryKind::Weights, model.weights().bytes());
  add(MemoryKind::Adapters, model.adapters().bytes());
  add(MemoryKind::KvCache, KvCache::bytes(model.config(), model.compute(), max_batch * pages_for(longest)));
  return plan;
}

}  // namespace fintune
