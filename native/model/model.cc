// Model: opening, memory of a job, and scoring.
#include "model/model.h"

#include <algorithm>
#include <chrono>

#include "model/staging.h"

namespace fintune {

void check_sequences(const ModelConfig& config, const std::vector<int32_t>& ids,
                     const std::vector<int32_t>& cu_seqlens) {
  require(!cu_seqlens.empty() && cu_seqlens.front() == 0, "cuSeqlens must start with 0");
  for (size_t i = 1; i < cu_seqlens.size(); ++i) {
    require(cu_seqlens[i] >= cu_seqlens[i - 1], "cuSeqlens must not fall, found ", cu_seqlens[i], " after ",
            cu_seqlens[i - 1]);
  }
  require(static_cast<size_t>(cu_seqlens.back()) == ids.size(), "cuSeqlens must end with the number of ids, ",
          ids.size(), ", found ", cu_seqlens.back());
  for (size_t i = 0; i < ids.size(); ++i) {
    require(ids[i] >= 0 && ids[i] < config.vocab_size, "ids[", i, "] is ", ids[i], ", expected 0 .. ",
            config.vocab_size - 1);
  }
}

std::vector<int32_t> sequence_positions(const std::vector<int32_t>& cu_seqlens) {
  std::vector<int32_t> positions(static_cast<size_t>(cu_seqlens.back()));
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    for (int32_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t)
      positions[static_cast<size_t>(t)] = t - cu_seqlens[s];
  }
  return positions;
}

namespace {

void check_config(const ModelConfig& c) {
  require(c.vocab_size > 0 && c.hidden_size > 0 && c.num_layers > 0 && c.num_heads > 0 &&
              c.num_kv_heads > 0 && c.head_dim > 0 && c.intermediate_size > 0,
          "all sizes of a model must be positive");
  require(c.num_heads % c.num_kv_heads == 0, "numHeads must be a multiple of numKvHeads, found ", c.num_heads,
          " and ", c.num_kv_heads);
  require(c.head_dim % 2 == 0, "headDim must be even, found ", c.head_dim);
}

}  // namespace

Model::Model(const ModelOptions& options, std::unique_ptr<ThreadPool> threads, Weights weights, bool planned)
    : options_(options),
      ops_(*options.backend.ops),
      device_(*options_.backend.device),
      threads_owner_(std::move(threads)),
      threads_(*threads_owner_),
      weights_(std::move(weights)),
      planned_(planned),
      rope_(options_.config, device_),
      arena_(device_) {}

std::shared_ptr<Model> Model::open(const ModelOptions& o, const std::vector<FileSource>& files,
                                   const std::vector<TensorSource>& tensors) {
  check_config(o.config);
  auto threads = std::make_unique<ThreadPool>(o.threads);
  Weights weights =
      Weights::load(o.config, files, tensors, o.compute, o.trainable, *threads, *o.backend.device);
  return std::shared_ptr<Model>(new Model(o, std::move(threads), std::move(weights), false));
}

std::shared_ptr<Model> Model::random(const ModelOptions& o, uint64_t seed, float std) {
  check_config(o.config);
  auto threads = std::make_unique<ThreadPool>(o.threads);
  Weights weights = Weights::random(o.config, seed, std, o.compute, o.trainable, *threads, *o.backend.device);
  return std::shared_ptr<Model>(new Model(o, std::move(threads), std::move(weights), false));
}

std::shared_ptr<Model> Model::planned(const ModelOptions& o) {
  check_config(o.config);
  Weights weights = Weights::planned(o.config, o.compute, o.trainable, *o.backend.device);
  return std::shared_ptr<Model>(new Model(o, std::make_unique<ThreadPool>(1), std::move(weights), true));
}

void Model::convert(const View& from, const View& to) {
  run(nullptr, [&](Exec& exec) { ops_.convert(exec, Convert{from, to}); });
}

int Model::push_adapter(std::shared_ptr<Adapter> adapter) {
  const int place = stack_.push(std::move(adapter));
  ++placements_;
  if (device_.is_host() || compute() == DType::F32) return place;
  try {
    lay_beside(place);
  } catch (...) {
    // Memory did not suffice: those below keep what has been moved already.
    stack_.pop();
    for (int i = 0; i < place; ++i) copy_factors(*stack_.at(i));
    throw;
  }
  for (int i = 0; i <= place; ++i) copy_factors(*stack_.at(i));
  return place;
}

void Model::lay_beside(int place) {
  for (const Adapter::Module& module : stack_.at(place)->modules()) {
    const auto weight = [&]() -> const View& {
      return weights_.tensors().layers[static_cast<size_t>(module.layer)].at(module.site).weight;
    };
    // Tensor cores read rows by 16 bytes.
    if (weight().dtype != compute() || weight().rows % 8 != 0 || weight().cols % 8 != 0) continue;
    int64_t room = 0;
    for (int i = 0; i <= place; ++i) {
      const LoraPair* const pair = stack_.at(i)->find(module.layer, module.site);
      if (pair == nullptr) continue;
      stack_.at(i)->set_beside(module.layer, module.site, room);
      room += rank_room(pair->a.rows);
    }
    // Always a place of its own: what a popped adapter has left would lie in the way.
    weights_.make_room(module.layer, module.site, room, device_,
                       [&](const View& from, const View& to) { convert(from, to); });
  }
}

void Model::copy_factors(const Adapter& adapter) {
  if (planned_) return;
  run(nullptr, [&](Exec& exec) {
    for (const Adapter::Module& m : adapter.modules()) {
      if (m.pair.beside < 0) continue;
      const FactorCopies copies = factor_copies(m);
      ops_.convert(exec, Convert{m.pair.a, copies.a});
      ops_.convert(exec, Convert{m.pair.b, copies.b});
    }
  });
}

FactorCopies Model::factor_copies(const Adapter::Module& m) const {
  FactorCopies copies;
  if (m.pair.beside < 0) return copies;
  const View& weight = weights_.tensors().layers[static_cast<size_t>(m.layer)].at(m.site).weight;
  copies.a = m.pair.a_beside(weight);
  copies.a.rows = m.pair.a.rows;
  copies.b = m.pair.b_beside(weight);
  copies.b.cols = m.pair.a.rows;
  return copies;
}

Model::Lock Model::acquire(const std::atomic<bool>* aborted) {
  Lock lock(mutex_, std::defer_lock);
  while (!lock.try_lock_for(std::chrono::milliseconds(20))) {
    if (aborted != nullptr && aborted->load()) fail(ErrorCode::Aborted, "stopped on request");
  }
  return lock;
}

Model::Lock Model::acquire_idle() {
  Lock lock(mutex_, std::try_to_lock);
  require(lock.owns_lock(), "the model is at work: wait for the running call first");
  return lock;
}

Exec Model::exec(Arena& arena, bool dry, const std::atomic<bool>* aborted) {
  Exec e;
  e.threads = &threads_;
  e.device = &device_;
  e.arena = &arena;
  e.dry = dry;
  e.compute = options_.compute;
  e.aborted = aborted;
  return e;
}

void Model::run(const std::atomic<bool>* aborted, const std::function<void(Exec&)>& body) {
  Arena plan;
  plan.measure();
  Exec dry = exec(plan, true, aborted);
  body(dry);
  if (plan.peak() > arena_bytes_) {
    arena_bytes_ = 0;
    arena_.reserve(plan.peak());
    arena_bytes_ = plan.peak();
  }
  ArenaScope scope(arena_);
  Exec real = exec(arena_, false, aborted);
  body(real);
}

void Model::release_memory() {
  arena_bytes_ = 0;
  arena_.reserve(0);
}

MemoryPlan Model::measure(const std::function<void(Exec&)>& body) {
  Arena plan;
  plan.measure();
  Exec dry = exec(plan, true, nullptr);
  body(dry);
  return plan.peak_by_kind();
}

Scores Model::score(const ScoreRequest& request, const std::atomic<bool>* aborted) {
  check_sequences(config(), request.ids, request.cu_seqlens);
  require(request.batch_tokens > 0, "batchTokens must be positive, found ", request.batch_tokens);
  const Lock lock = acquire(aborted);
  const Decoder decoder = this->decoder(request.adapters);
  const size_t sequences = request.cu_seqlens.size() - 1;
  const int64_t vocab = config().vocab_size;
  Scores scores;
  if (request.logits) scores.logits.resize(request.ids.size() * static_cast<size_t>(vocab));

  for (size_t first = 0; first < sequences;) {
    size_t last = first + 1;
    while (last < sequences &&
           request.cu_seqlens[last + 1] - request.cu_seqlens[first] <= request.batch_tokens)
      ++last;
    const int32_t begin = request.cu_seqlens[first];
    std::vector<int32_t> cu;
    for (size_t s = first; s <= last; ++s) cu.push_back(request.cu_seqlens[s] - begin);
    const std::vector<int32_t> positions = sequence_positions(cu);
    const int32_t* ids = request.ids.data() + begin;
    // Rows whose next token is known; with logits, all rows, the last of a sequence with a target that is not
    // used.
    std::vector<int32_t> rows, targets;
    std::vector<bool> counts;
    for (size_t s = 0; s + 1 < cu.size(); ++s) {
      for (int32_t t = cu[s]; t < cu[s + 1]; ++t) {
        const bool known = t + 1 < cu[s + 1];
        if (!known && !request.logits) continue;
        rows.push_back(t);
        targets.push_back(known ? ids[t + 1] : 0);
        counts.push_back(known);
      }
    }
    first = last;
    if (rows.empty()) continue;
    const int64_t n = static_cast<int64_t>(rows.size());
    std::vector<float> logprob(rows.size()), entropy(request.entropy ? rows.size() : 0);
    run(aborted, [&](Exec& exec) {
      PackedBatch batch;
      batch.ids = ids;
      batch.positions = positions.data();
      batch.cu_seqlens = cu.data();
      batch.tokens = cu.back();
      batch.sequences = static_cast<int64_t>(cu.size()) - 1;
      batch.rows = rows.data();
      batch.row_count = n;
      LinearLogprob head{};
      head.hidden = decoder.forward(exec, batch, nullptr);
      head.weight = decoder.head();
      head.targets = staged(exec, targets.data(), n);
      head.logprob = room_for(exec, logprob.data(), n);
      float* const host_entropy = request.entropy ? entropy.data() : nullptr;
      head.entropy = room_for(exec, host_entropy, n);
      float* const host_logits =
          request.logits ? scores.logits.data() + static_cast<size_t>(begin) * static_cast<size_t>(vocab)
                         : nullptr;
      head.logits = View(room_for(exec, host_logits, n * vocab, MemoryKind::Logits), DType::F32, n, vocab);
      ops_.linear_logprob(exec, head);
      fetch(exec, logprob.data(), head.logprob, n);
      fetch(exec, host_entropy, head.entropy, n);
      fetch(exec, host_logits, head.logits.f32(), n * vocab);
    });
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!counts[i]) continue;
      scores.logprobs.push_back(logprob[i]);
      if (request.entropy) scores.entropy.push_back(entropy[i]);
    }
  }
  return scores;
}

}  // namespace fintune
