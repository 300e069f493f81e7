// A model that is ready to work: weights, adapters, threads and the memory of one job at a time.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "model/decoder.h"
#include "ops/backend.h"

namespace fintune {

struct ModelOptions {
  ModelConfig config;
  Backend backend;
  // Type of activations and of the operands of products: F32, BF16; on a GPU also F16.
  DType compute = DType::F32;
  int threads = 0;         // 0: all CPUs of this process
  bool trainable = false;  // all parameters are held in f32 and may be trained
};

// Bytes of each kind at the peak.
using MemoryPlan = std::array<size_t, kMemoryKinds>;

struct ScoreRequest {
  std::vector<int32_t> ids;
  std::vector<int32_t> cu_seqlens;
  int64_t batch_tokens = 0;  // sequences are packed in order up to this many tokens; a longer one goes alone
  bool entropy = false;
  bool logits = false;
  int adapters = -1;
};
struct Scores {
  std::vector<float> logprobs;  // per token after the first of each sequence
  std::vector<float> entropy;   // same places, nats
  std::vector<float> logits;    // [T, V]
};

// Copies of an adapter's factors, of their shapes, in the type of the products.
struct FactorCopies {
  View a, b;
};

class Model {
 public:
  static std::shared_ptr<Model> open(const ModelOptions& options, const std::vector<FileSource>& files,
                                     const std::vector<TensorSource>& tensors);
  static std::shared_ptr<Model> random(const ModelOptions& options, uint64_t seed, float std);
  // Knows sizes only; good for plans (measure), not for work.
  static std::shared_ptr<Model> planned(const ModelOptions& options);

  const ModelConfig& config() const { return options_.config; }
  DType compute() const { return options_.compute; }
  const OpTable& ops() const { return ops_; }
  Device& device() const { return device_; }
  Weights& weights() { return weights_; }
  const AdapterStack& adapters() const { return stack_; }
  // Puts an adapter on top and returns its place, from the bottom. On a GPU that computes in 16 bits, copies
  // of its factors come to lie beside the weights. The lock must be held, unless the model is a plan. Throws
  // OutOfMemory; the stack is then as it was.
  int push_adapter(std::shared_ptr<Adapter> adapter);
  // Adapters that were ever put on top: where this has not changed, no weight has moved.
  int64_t placements() const { return placements_; }
  void pop_adapter() { stack_.pop(); }  // throws Argument when there is none
  // The factors of an adapter of the stack were written from outside: the copies follow. Under the lock.
  void copy_factors(const Adapter& adapter);
  // Where those of one linear lie; empty where there are none.
  FactorCopies factor_copies(const Adapter::Module& module) const;
  ThreadPool& threads() { return threads_; }
  Decoder decoder(int adapters = -1, Trains trains = Trains::Nothing) {
    return Decoder(ops_, options_.config, weights_, rope_, stack_, adapters, trains);
  }

  // One job at a time: whoever uses weights, adapters or run() holds this. acquire waits (throws Aborted when
  // asked to stop meanwhile); acquire_idle throws Argument if a job is running, for callers that must not
  // wait.
  using Lock = std::unique_lock<std::timed_mutex>;
  Lock acquire(const std::atomic<bool>* aborted);
  Lock acquire_idle();

  // Calls body twice: dry, to learn what memory it takes, then with a real arena of at least that size (which
  // the model keeps, at the largest size seen). body must not touch data while exec.dry. The lock must be
  // held.
  void run(const std::atomic<bool>* aborted, const std::function<void(Exec&)>& body);
  // Gives back what run() keeps; the next job takes what it needs. The lock must be held.
  void release_memory();
  // Only the dry call: bytes by kind at the peak.
  MemoryPlan measure(const std::function<void(Exec&)>& body);
  // Bytes by kind at the highest moment of the jobs that have run since the arena last grew.
  const MemoryPlan& job_memory() const { return arena_.peak_by_kind(); }

  // Log-probabilities of all tokens after the first of each sequence. Takes the lock.
  Scores score(const ScoreRequest& request, const std::atomic<bool>* aborted);

  // Weights, adapters and the arena.
  size_t bytes() const { return weights_.bytes() + stack_.bytes() + arena_bytes_; }

 private:
  Model(const ModelOptions& options, std::unique_ptr<ThreadPool> threads, Weights weights, bool planned);
  void convert(const View& from, const View& to);
  // Makes room for the copies of the adapter at that place.
  void lay_beside(int place);
  Exec exec(Arena& arena, bool dry, const std::atomic<bool>* aborted);

  ModelOptions options_;
  const OpTable& ops_;
  Device& device_;
  std::unique_ptr<ThreadPool> threads_owner_;
  ThreadPool& threads_;
  Weights weights_;
  const bool planned_;
  AdapterStack stack_;
  int64_t placements_ = 0;
  RopeTables rope_;
  Arena arena_;
  size_t arena_bytes_ = 0;
  std::timed_mutex mutex_;
};

// Throws Argument unless cu_seqlens rises from 0 to the number of ids and every id is in 0..V-1.
void check_sequences(const ModelConfig& config, const std::vector<int32_t>& ids,
                     const std::vector<int32_t>& cu_seqlens);
// Position of each token in its sequence.
std::vector<int32_t> sequence_positions(const std::vector<int32_t>& cu_seqlens);

}  // namespace fintune
