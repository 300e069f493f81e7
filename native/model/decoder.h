// The decoder, forward and backward, written once over the op table. It owns no weights and no memory:
// weights and adapters are views, activations come from the arena it is given.
#pragma once

#include <initializer_list>
#include <vector>

#include "model/adapters.h"
#include "model/config.h"
#include "model/rope_tables.h"
#include "model/weights.h"
#include "ops/table.h"

namespace fintune {

// A packed batch: T tokens of N sequences (ops/legend.h), in arrays of the host. While a plan is measured
// (Exec::dry) nothing is read; only the sizes count, and whether rows is null.
struct PackedBatch {
  const int32_t* ids = nullptr;
  const int32_t* positions =
      nullptr;  // [T] of each token in its sequence (decoding: tokens before it in the cache)
  const int32_t* cu_seqlens = nullptr;  // [N+1]
  int64_t tokens = 0;
  int64_t sequences = 0;
  // Rows whose final hidden states are wanted, rising; null: all. The head is dear, so only these go through
  // it.
  const int32_t* rows = nullptr;
  int64_t row_count = 0;
  // Prefill with a cache: tokens of all sequences, those included that the cache holds already. A sequence
  // then begins at the position of its first token here, a multiple of 32.
  int64_t context = 0;

  int64_t outputs() const { return rows == nullptr ? tokens : row_count; }
};

// The same arrays where ops read them, in the arena unless the device is the host.
struct StagedBatch {
  const int32_t* ids = nullptr;
  const int32_t* positions = nullptr;
  const int32_t* cu_seqlens = nullptr;
  const int32_t* rows = nullptr;
  const int32_t* lengths = nullptr;     // [T] decoding: tokens of each sequence, the new one included
  const int32_t* page_table = nullptr;  // [N, max_pages] decoding
  const int32_t* store_rows = nullptr;  // [T] where each token's keys and values go in the pool
  // Prefill of what follows a shared prefix: the batch with the prefixes in it. Where its keys lie in the
  // pool [context], which of its tokens are the batch's [T], its sequences' starts [N + 1], and the length of
  // each prefix [N].
  const int32_t* context_rows = nullptr;
  const int32_t* own_rows = nullptr;
  const int32_t* context_starts = nullptr;
  const int32_t* prefixes = nullptr;
};

// What the backward pass keeps: everything, what is dear to compute (norms and SwiGLU are done again), or
// only the input of each layer (Chen et al. 2016). Results are equal to the bit.
enum class Recompute { None, Selective, Full };

// What trains, and so what the backward pass computes.
enum class Trains { Nothing, TopAdapter, Everything };

// What one layer computes; for the backward pass, what it keeps. Views that are not kept are empty.
struct LayerActivations {
  View input;  // residual stream before the layer [T, D], f32
  View norm1;  // [T, D]
  float* rstd1 = nullptr;
  View q, k, v;       // after norm and RoPE, [T, H*K], [T, G*K]
  View q_raw, k_raw;  // before the q/k norm (qwen3)
  float* q_rstd = nullptr;
  float* k_rstd = nullptr;
  View attention;  // [T, H*K]
  float* lse = nullptr;
  View middle;  // residual stream after attention [T, D], f32
  View norm2;
  float* rstd2 = nullptr;
  View gate, up;   // [T, F]
  View hidden;     // silu(gate) * up
  View u[kSites];  // x A^T of the trained adapter, f32
};

struct Activations {
  Recompute recompute = Recompute::None;
  LoraDropout dropout;  // p, seed, step and first_row; site is set per linear
  // Filled by forward:
  StagedBatch staged;
  std::vector<LayerActivations> layers;
  View final_input;  // residual stream before the last norm, only the rows wanted, f32
  float* final_rstd = nullptr;
};

// Keys and values of earlier tokens, in pages of a pool that all layers cut alike; the decoder writes those
// of the new tokens at their positions. Pages that several sequences share are whole pages of a common
// beginning, which no sequence writes to again.
struct KvCacheView {
  // [layers * 2 * tokens, G*K] of the activation type: keys of layer 0, values of layer 0, keys of layer 1
  // ...
  View pool;
  int64_t tokens = 0;  // of the pool: its pages times page_tokens
  int64_t page_tokens = 0;
  int64_t max_pages = 0;
  const int32_t* page_table = nullptr;  // [N, max_pages] on the host: the pages of each sequence of the batch

  View keys(int64_t layer) const { return pool.slice(2 * layer * tokens, tokens); }
  View values(int64_t layer) const { return pool.slice((2 * layer + 1) * tokens, tokens); }
};

class Decoder {
 public:
  // `adapters`: how many of the stack are active, from the bottom; -1: all. With Trains::TopAdapter the last
  // active one trains. Everything referred to must outlive the decoder, and the stack must not change
  // meanwhile. `rope` grows.
  Decoder(const OpTable& ops, const ModelConfig& config, const Weights& weights, RopeTables& rope,
          const AdapterStack& stack, int adapters = -1, Trains trains = Trains::Nothing);

  // Final hidden states after the last norm, [outputs, D] activation type, allocated in exec.arena (kept
  // until the caller releases); layers' memory is reused. cache null: no cache. With a cache, sequences start
  // anew or after a prefix that the cache holds or that another sequence of the batch computes (prefill).
  // Throws Aborted between layers.
  View forward(Exec& exec, const PackedBatch& batch, const KvCacheView* cache) const;

  // The same without a cache, for a batch that lies on the device already: of `batch` only the sizes are
  // looked at, and whether rows is null. `keep`: what a backward pass to come needs, null for none. Only
  // queues, so that it can be recorded; hold_positions comes first.
  View forward(Exec& exec, const PackedBatch& batch, const StagedBatch& staged, Activations* keep) const;

  // The same for `rows` sequences that have exactly one token each, which follows what its cache holds, by
  // the rowwise products. `staged` lies on the device: ids, positions, store_rows, lengths and page_table
  // (cache.page_table is not looked at). Only queues, so that it can be recorded; hold_positions comes first.
  View decode(Exec& exec, const StagedBatch& staged, int64_t rows, const KvCacheView& cache) const;
  // From now on, tables of RoPE stay where they are as long as positions are below this one.
  void hold_positions(int64_t positions) const { rope_.ensure(positions); }
  int64_t held_positions() const { return rope_.positions(); }

  // Adds the gradients of what trains, given the gradient of what forward returned. Both `dhidden` and the
  // kept activations are consumed.
  void backward(Exec& exec, const PackedBatch& batch, Activations& kept, View dhidden,
                Gradients& gradients) const;

  // W of the head, [V, D]: for linear_logprob, or a linear that makes logits.
  View head() const { return weights_.head; }
  static DType activation(const Exec& exec) { return exec.compute; }

 private:
  struct Linear {
    std::vector<LoraPair> adapters;
    bool trained = false;  // the last of them is the trained one
    int64_t room = 0;      // columns of their copies beside the weight
  };
  const Linear& linear(int64_t layer, Site site) const {
    return linears_[static_cast<size_t>(layer * kSites + static_cast<int>(site))];
  }
  const LayerTensors& tensors(int64_t layer) const { return weights_.layers[static_cast<size_t>(layer)]; }
  // The backward pass needs the linear's input.
  bool needs_input(int64_t layer, Site site) const { return everything_ || linear(layer, site).trained; }
  bool needs_input(int64_t layer, std::initializer_list<Site> sites) const;
  // [tokens, cols], in rows with room for what these linears put behind them (LinearForward::x_room).
  View roomy(Arena& arena, int64_t layer, std::initializer_list<Site> sites, DType type, int64_t tokens,
             int64_t cols) const;
  // u of the trained adapter, as it is kept.
  View room_for_u(Arena& arena, const Linear& linear, DType type, int64_t tokens) const;

  LayerActivations allocate_kept(Arena& arena, int64_t layer, int64_t tokens, DType type,
                                 Recompute mode) const;
  LayerActivations complete(Arena& arena, int64_t layer, int64_t tokens, DType type, LayerActivations kept,
                            bool training) const;
  void apply(Exec& exec, int64_t layer, Site site, View x, View y, View u, const LoraDropout* dropout) const;
  void apply_backward(Exec& exec, int64_t layer, Site site, View dy, View x, View u, View dx, bool accumulate,
                      const LoraDropout& dropout, Gradients& gradients) const;
  StagedBatch stage(Exec& exec, const PackedBatch& batch, const KvCacheView* cache) const;
  View run_layers(Exec& exec, const PackedBatch& batch, const StagedBatch& staged, Activations* keep,
                  const KvCacheView* cache) const;
  void attention_part(Exec& exec, const PackedBatch& batch, const StagedBatch& staged, int64_t layer,
                      const LayerActivations& a, View x, View delta, View out, const LoraDropout* dropout,
                      const KvCacheView* cache) const;
  void attend_cache(Exec& exec, const StagedBatch& staged, int64_t layer, const LayerActivations& a,
                    const KvCacheView& cache) const;
  void attend_context(Exec& exec, const PackedBatch& batch, const StagedBatch& staged, int64_t layer,
                      const LayerActivations& a, const KvCacheView& cache) const;
  void attend(Exec& exec, const int32_t* starts, int64_t sequences, const LayerActivations& a,
              const int32_t* wanted_from = nullptr) const;
  float scale() const;
  void mlp_part(Exec& exec, int64_t layer, const LayerActivations& a, View delta, View out,
                const LoraDropout* dropout) const;
  void layer_backward(Exec& exec, const PackedBatch& batch, int64_t layer, const Activations& kept,
                      View dresidual, Gradients& gradients) const;
  void rotate(Exec& exec, const StagedBatch& staged, View x, int64_t heads, bool inverse) const;

  const OpTable& ops_;
  const ModelConfig& config_;
  const ModelTensors& weights_;
  RopeTables& rope_;
  bool everything_;
  std::vector<Linear> linears_;
  int64_t lowest_;  // nothing below this layer trains; num_layers when nothing trains
};

}  // namespace fintune
