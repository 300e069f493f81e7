// The decoder's forward pass: the layers as a plain sequence of ops.
#include <algorithm>
#include <cmath>

#include "model/decoder_parts.h"
#include "model/staging.h"

namespace fintune {
using decoder::add_residual;
using decoder::check_abort;
using decoder::heads_as_rows;
using decoder::kStream;

Decoder::Decoder(const OpTable& ops, const ModelConfig& config, const Weights& weights, RopeTables& rope,
                 const AdapterStack& stack, int adapters, Trains trains)
    : ops_(ops),
      config_(config),
      weights_(weights.tensors()),
      rope_(rope),
      everything_(trains == Trains::Everything),
      linears_(static_cast<size_t>(config.num_layers * kSites)),
      lowest_(everything_ ? 0 : config.num_layers) {
  const int active = adapters < 0 ? stack.size() : adapters;
  require(active <= stack.size(), "expected at most ", stack.size(), " adapters, as the stack has, found ",
          active);
  require(trains != Trains::TopAdapter || active > 0, "there is no adapter to train");
  require(!everything_ || active == 0, "all parameters train only without adapters, found ", active);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (Site site : kAllSites) {
      Linear& linear = linears_[static_cast<size_t>(layer * kSites + static_cast<int>(site))];
      for (int i = 0; i < active; ++i) {
        const LoraPair* pair = stack.at(i)->find(layer, site);
        if (pair == nullptr) continue;
        linear.adapters.push_back(*pair);
        linear.trained = trains == Trains::TopAdapter && i == active - 1;
      }
      linear.room = copies_room(linear.adapters.data(), static_cast<int>(linear.adapters.size()));
      if (linear.trained) lowest_ = std::min(lowest_, layer);
    }
  }
}

bool Decoder::needs_input(int64_t layer, std::initializer_list<Site> sites) const {
  return std::any_of(sites.begin(), sites.end(), [&](Site site) { return needs_input(layer, site); });
}

View Decoder::roomy(Arena& arena, int64_t layer, std::initializer_list<Site> sites, DType type,
                    int64_t tokens, int64_t cols) const {
  int64_t room = 0;
  for (Site site : sites) room = std::max(room, linear(layer, site).room);
  View view = arena.matrix(type, tokens, cols + room, MemoryKind::Activations);
  view.cols = cols;
  return view;
}

View Decoder::room_for_u(Arena& arena, const Linear& linear, DType type, int64_t tokens) const {
  const int64_t rank = linear.adapters.back().a.rows;
  if (linear.room == 0) return arena.matrix(DType::F32, tokens, rank, MemoryKind::Activations);
  View u = arena.matrix(type, tokens, rank_room(rank), MemoryKind::Activations);
  u.cols = rank;
  return u;
}

// What the mode keeps of one layer.
LayerActivations Decoder::allocate_kept(Arena& arena, int64_t layer, int64_t tokens, DType type,
                                        Recompute mode) const {
  constexpr MemoryKind kind = MemoryKind::Activations;
  const ModelConfig& c = config_;
  LayerActivations a;
  if (layer < lowest_) return a;
  a.input = arena.matrix(kStream, tokens, c.hidden_size, kind);
  if (mode == Recompute::Full) return a;
  a.rstd1 = arena.floats(tokens, kind);
  a.q = arena.matrix(type, tokens, c.q_size(), kind);
  a.k = arena.matrix(type, tokens, c.kv_size(), kind);
  a.v = arena.matrix(type, tokens, c.kv_size(), kind);
  if (c.qk_norm) {
    a.q_raw = arena.matrix(type, tokens, c.q_size(), kind);
    a.k_raw = arena.matrix(type, tokens, c.kv_size(), kind);
    a.q_rstd = arena.floats(tokens * c.num_heads, kind);
    a.k_rstd = arena.floats(tokens * c.num_kv_heads, kind);
  }
  a.attention = roomy(arena, layer, {Site::O}, type, tokens, c.q_size());
  a.lse = arena.floats(tokens * c.num_heads, kind);
  a.middle = arena.matrix(kStream, tokens, c.hidden_size, kind);
  a.rstd2 = arena.floats(tokens, kind);
  a.gate = roomy(arena, layer, {Site::Gate}, type, tokens, c.intermediate_size);
  a.up = roomy(arena, layer, {Site::Up}, type, tokens, c.intermediate_size);
  for (Site site : kAllSites) {
    const Linear& l = linear(layer, site);
    if (l.trained) a.u[static_cast<int>(site)] = room_for_u(arena, l, type, tokens);
  }
  if (mode == Recompute::None) {
    if (needs_input(layer, {Site::Q, Site::K, Site::V}))
      a.norm1 = roomy(arena, layer, {Site::Q, Site::K, Site::V}, type, tokens, c.hidden_size);
    if (needs_input(layer, {Site::Gate, Site::Up}))
      a.norm2 = roomy(arena, layer, {Site::Gate, Site::Up}, type, tokens, c.hidden_size);
    if (needs_input(layer, Site::Down))
      a.hidden = roomy(arena, layer, {Site::Down}, type, tokens, c.intermediate_size);
  }
  return a;
}

// Adds room for what a layer computes and `a` does not keep. Without a backward pass to come (training
// false), SwiGLU writes over its gate, the two norms share their place, and no statistics are stored.
LayerActivations Decoder::complete(Arena& arena, int64_t layer, int64_t tokens, DType type,
                                   LayerActivations a, bool training) const {
  constexpr MemoryKind kind = MemoryKind::Activations;
  const ModelConfig& c = config_;
  const auto matrix = [&](View& view, int64_t cols) {
    if (!view) view = arena.matrix(type, tokens, cols, kind);
  };
  const auto stream = [&](View& view) {
    if (!view) view = arena.matrix(kStream, tokens, c.hidden_size, kind);
  };
  const auto floats = [&](float*& p, int64_t n) {
    if (training && p == nullptr) p = arena.floats(n, kind);
  };
  const auto linear_input = [&](View& view, std::initializer_list<Site> sites, int64_t cols) {
    if (!view) view = roomy(arena, layer, sites, type, tokens, cols);
  };
  stream(a.input);
  stream(a.middle);
  if (!training) {
    linear_input(a.norm1, {Site::Q, Site::K, Site::V, Site::Gate, Site::Up}, c.hidden_size);
    a.norm2 = a.norm1;
  }
  linear_input(a.norm1, {Site::Q, Site::K, Site::V}, c.hidden_size);
  linear_input(a.norm2, {Site::Gate, Site::Up}, c.hidden_size);
  matrix(a.q, c.q_size());
  matrix(a.k, c.kv_size());
  matrix(a.v, c.kv_size());
  if (c.qk_norm) {
    matrix(a.q_raw, c.q_size());
    matrix(a.k_raw, c.kv_size());
    floats(a.q_rstd, tokens * c.num_heads);
    floats(a.k_rstd, tokens * c.num_kv_heads);
  }
  linear_input(a.attention, {Site::O}, c.q_size());
  if (!training) {
    linear_input(a.gate, {Site::Down}, c.intermediate_size);
    a.hidden = a.gate;
  }
  linear_input(a.gate, {Site::Gate}, c.intermediate_size);
  linear_input(a.up, {Site::Up}, c.intermediate_size);
  linear_input(a.hidden, {Site::Down}, c.intermediate_size);
  floats(a.rstd1, tokens);
  floats(a.rstd2, tokens);
  floats(a.lse, tokens * c.num_heads);
  return a;
}

void Decoder::apply(Exec& exec, int64_t layer, Site site, View x, View y, View u,
                    const LoraDropout* dropout) const {
  const LinearTensors& w = tensors(layer).at(site);
  const Linear& l = linear(layer, site);
  LinearForward op;
  op.x = x;
  op.x_room = x.ld - x.cols;
  op.weight = w.weight;
  op.bias = w.bias.f32();
  op.exact_bias = w.exact_bias.data;
  op.adapters = l.adapters.data();
  op.adapter_count = static_cast<int>(l.adapters.size());
  if (dropout != nullptr && l.trained) {
    op.dropout = *dropout;
    op.dropout.site = static_cast<uint32_t>(layer * kSites + static_cast<int>(site));
  }
  op.y = y;
  op.u = u;
  ops_.linear_forward(exec, op);
}

void Decoder::rotate(Exec& exec, const StagedBatch& staged, View x, int64_t heads, bool inverse) const {
  Rope op{};
  op.x = x;
  op.heads = heads;
  op.positions = staged.positions;
  op.cos = rope_.cos();
  op.sin = rope_.sin();
  op.max_position = rope_.positions();
  op.inverse = inverse;
  ops_.rope(exec, op);
}

StagedBatch Decoder::stage(Exec& exec, const PackedBatch& batch, const KvCacheView* cache) const {
  StagedBatch on;
  on.ids = staged(exec, batch.ids, batch.tokens);
  on.positions = staged(exec, batch.positions, batch.tokens);
  on.cu_seqlens = staged(exec, batch.cu_seqlens, batch.sequences + 1);
  on.rows = staged(exec, batch.rows, batch.row_count);
  if (cache != nullptr) decoder::stage_cache(exec, batch, *cache, on);
  return on;
}

float Decoder::scale() const {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim)));
}

void Decoder::attend(Exec& exec, const int32_t* starts, int64_t sequences, const LayerActivations& a,
                     const int32_t* wanted_from) const {
  AttentionForward op{};
  op.q = a.q;
  op.k = a.k;
  op.v = a.v;
  op.cu_seqlens = starts;
  op.sequences = sequences;
  op.heads = config_.num_heads;
  op.kv_heads = config_.num_kv_heads;
  op.head_dim = config_.head_dim;
  op.scale = scale();
  op.y = a.attention;
  op.lse = a.lse;
  op.wanted_from = wanted_from;
  ops_.attention_forward(exec, op);
}

// From the residual stream x (+ delta) to the output projection, written to `out`.
void Decoder::attention_part(Exec& exec, const PackedBatch& batch, const StagedBatch& staged, int64_t layer,
                             const LayerActivations& a, View x, View delta, View out,
                             const LoraDropout* dropout, const KvCacheView* cache) const {
  const ModelConfig& c = config_;
  const LayerTensors& w = tensors(layer);
  const auto u = [&](Site site) { return a.u[static_cast<int>(site)]; };
  add_residual(exec, ops_, x, delta, a.input, w.input_norm, c.rms_norm_eps, a.norm1, a.rstd1);
  const View q = c.qk_norm ? a.q_raw : a.q, k = c.qk_norm ? a.k_raw : a.k;
  apply(exec, layer, Site::Q, a.norm1, q, u(Site::Q), dropout);
  apply(exec, layer, Site::K, a.norm1, k, u(Site::K), dropout);
  apply(exec, layer, Site::V, a.norm1, a.v, u(Site::V), dropout);
  if (c.qk_norm) {
    add_residual(exec, ops_, heads_as_rows(q, c.head_dim), View(), View(), w.q_norm, c.rms_norm_eps,
                 heads_as_rows(a.q, c.head_dim), a.q_rstd);
    add_residual(exec, ops_, heads_as_rows(k, c.head_dim), View(), View(), w.k_norm, c.rms_norm_eps,
                 heads_as_rows(a.k, c.head_dim), a.k_rstd);
  }
  rotate(exec, staged, a.q, c.num_heads, false);
  rotate(exec, staged, a.k, c.num_kv_heads, false);

  if (cache != nullptr) {
    ops_.store_rows(exec, StoreRows{a.k, staged.store_rows, cache->keys(layer)});
    ops_.store_rows(exec, StoreRows{a.v, staged.store_rows, cache->values(layer)});
  }
  if (cache != nullptr && exec.rowwise) {
    attend_cache(exec, staged, layer, a, *cache);
  } else if (cache != nullptr && batch.context > batch.tokens) {
    attend_context(exec, batch, staged, layer, a, *cache);
  } else {
    attend(exec, staged.cu_seqlens, batch.sequences, a);
  }
  apply(exec, layer, Site::O, a.attention, out, u(Site::O), dropout);
}

// From the residual stream (input + delta) to SwiGLU's output; with `out`, on through the down projection.
void Decoder::mlp_part(Exec& exec, int64_t layer, const LayerActivations& a, View delta, View out,
                       const LoraDropout* dropout) const {
  const auto u = [&](Site site) { return a.u[static_cast<int>(site)]; };
  add_residual(exec, ops_, a.input, delta, a.middle, tensors(layer).post_attention_norm, config_.rms_norm_eps,
               a.norm2, a.rstd2);
  apply(exec, layer, Site::Gate, a.norm2, a.gate, u(Site::Gate), dropout);
  apply(exec, layer, Site::Up, a.norm2, a.up, u(Site::Up), dropout);
  ops_.swiglu_forward(exec, SwigluForward{a.gate, a.up, a.hidden});
  if (out) apply(exec, layer, Site::Down, a.hidden, out, u(Site::Down), dropout);
}

View Decoder::forward(Exec& exec, const PackedBatch& batch, const KvCacheView* cache) const {
  if (!exec.dry && batch.tokens > 0) {
    rope_.ensure(*std::max_element(batch.positions, batch.positions + batch.tokens) + int64_t{1});
  }
  return run_layers(exec, batch, stage(exec, batch, cache), nullptr, cache);
}

View Decoder::forward(Exec& exec, const PackedBatch& batch, const StagedBatch& staged,
                      Activations* keep) const {
  if (keep != nullptr) keep->staged = staged;
  return run_layers(exec, batch, staged, keep, nullptr);
}

View Decoder::decode(Exec& exec, const StagedBatch& staged, int64_t rows, const KvCacheView& cache) const {
  exec.rowwise = true;
  PackedBatch batch;
  batch.tokens = rows;
  batch.sequences = rows;
  return run_layers(exec, batch, staged, nullptr, &cache);
}

View Decoder::run_layers(Exec& exec, const PackedBatch& batch, const StagedBatch& staged, Activations* keep,
                         const KvCacheView* cache) const {
  constexpr MemoryKind kind = MemoryKind::Activations;
  const ModelConfig& c = config_;
  const DType type = activation(exec);
  const int64_t tokens = batch.tokens;
  Arena& arena = *exec.arena;
  const LoraDropout* dropout = keep != nullptr && keep->dropout.p > 0 ? &keep->dropout : nullptr;
  if (keep != nullptr) {
    keep->layers.clear();
    for (int64_t l = 0; l < c.num_layers; ++l) {
      keep->layers.push_back(allocate_kept(arena, l, tokens, type, keep->recompute));
    }
    keep->final_input = arena.matrix(kStream, batch.outputs(), c.hidden_size, kind);
    keep->final_rstd = arena.floats(batch.outputs(), kind);
  }
  const View result = arena.matrix(type, batch.outputs(), c.hidden_size, kind);

  ArenaScope scope(arena);
  // The residual stream of layers that keep none of their own.
  const View stream = arena.matrix(kStream, tokens, c.hidden_size, kind);
  const View delta = arena.matrix(kStream, tokens, c.hidden_size, kind);
  View x = keep != nullptr && lowest_ == 0 ? keep->layers.front().input : stream;
  ops_.embedding_forward(exec, EmbeddingForward{staged.ids, weights_.embed, x});
  View pending;  // what the layer before adds to x
  for (int64_t l = 0; l < c.num_layers; ++l) {
    check_abort(exec);
    ArenaScope layer_scope(arena);
    LayerActivations room;
    const bool kept = keep != nullptr && l >= lowest_;
    if (kept) room = keep->layers[static_cast<size_t>(l)];
    if (!room.input) room.input = stream;
    if (!room.middle) room.middle = stream;
    const LayerActivations a = complete(arena, l, tokens, type, room, kept);
    attention_part(exec, batch, staged, l, a, x, pending, delta, dropout, cache);
    mlp_part(exec, l, a, delta, delta, dropout);
    x = a.middle;
    pending = delta;
  }
  check_abort(exec);
  View last = x;
  if (batch.rows != nullptr) {
    last = arena.matrix(kStream, batch.row_count, c.hidden_size, kind);
    const View last_delta = arena.matrix(kStream, batch.row_count, c.hidden_size, kind);
    ops_.gather_rows(exec, GatherRows{x, staged.rows, last});
    ops_.gather_rows(exec, GatherRows{delta, staged.rows, last_delta});
    pending = last_delta;
  }
  add_residual(exec, ops_, last, pending, keep != nullptr ? keep->final_input : last, weights_.norm,
               c.rms_norm_eps, result, keep != nullptr ? keep->final_rstd : nullptr);
  return result;
}

}  // namespace fintune
