// The decoder's backward pass: the layers in reverse, each a plain sequence of ops.
#include <cmath>

#include "model/decoder_parts.h"

namespace fintune {

using decoder::add_residual;
using decoder::check_abort;
using decoder::heads_as_rows;
using decoder::kStream;

void Decoder::apply_backward(Exec& exec, int64_t layer, Site site, View dy, View x, View u, View dx,
                             bool accumulate, const LoraDropout& dropout, Gradients& gradients) const {
  const Linear& l = linear(layer, site);
  if (!dx && !needs_input(layer, site)) return;
  LinearBackward op;
  op.dy = dy;
  op.dy_room = dy.ld - dy.cols;
  op.x = x;
  op.weight = tensors(layer).at(site).weight;
  op.adapters = l.adapters.data();
  op.adapter_count = static_cast<int>(l.adapters.size());
  op.dx = dx;
  op.accumulate_dx = accumulate;
  if (l.trained) {
    op.dropout = dropout;
    op.dropout.site = static_cast<uint32_t>(layer * kSites + static_cast<int>(site));
    op.u = u;
    op.da = gradients.at(layer, site).a;
    op.db = gradients.at(layer, site).b;
  }
  if (everything_) {
    const LinearTensors& g = gradients.full.layers[static_cast<size_t>(layer)].at(site);
    op.dweight = g.weight;
    op.dbias = g.bias.f32();
  }
  ops_.linear_backward(exec, op);
}

void Decoder::layer_backward(Exec& exec, const PackedBatch& batch, int64_t layer, const Activations& kept,
                             View dresidual, Gradients& gradients) const {
  constexpr MemoryKind kind = MemoryKind::Activations;
  const ModelConfig& c = config_;
  const DType type = activation(exec);
  const int64_t tokens = batch.tokens;
  const LayerTensors& w = tensors(layer);
  LayerTensors* dw = everything_ ? &gradients.full.layers[static_cast<size_t>(layer)] : nullptr;
  const LoraDropout& dropout = kept.dropout;
  const LoraDropout* forward_dropout = dropout.p > 0 ? &dropout : nullptr;
  const bool lowest = layer == lowest_ && !everything_;  // nothing below this layer's linears trains
  Arena& arena = *exec.arena;
  ArenaScope scope(arena);

  LayerActivations room = kept.layers[static_cast<size_t>(layer)];
  if (kept.recompute == Recompute::Full) {
    for (Site site : kAllSites) {
      const Linear& l = linear(layer, site);
      // The down projection itself does not run again: its backward pass computes u anew.
      if (l.trained && site != Site::Down)
        room.u[static_cast<int>(site)] = room_for_u(arena, l, type, tokens);
    }
  }
  const LayerActivations a =
      kept.recompute == Recompute::None ? room : complete(arena, layer, tokens, type, room, true);
  const auto u = [&](Site site) { return a.u[static_cast<int>(site)]; };
  if (kept.recompute == Recompute::Full) {
    const View delta = arena.matrix(kStream, tokens, c.hidden_size, kind);
    attention_part(exec, batch, kept.staged, layer, a, a.input, View(), delta, forward_dropout, nullptr);
    mlp_part(exec, layer, a, delta, View(), forward_dropout);
  } else if (kept.recompute == Recompute::Selective) {
    if (needs_input(layer, {Site::Q, Site::K, Site::V})) {
      add_residual(exec, ops_, a.input, View(), View(), w.input_norm, c.rms_norm_eps, a.norm1, a.rstd1);
    }
    if (needs_input(layer, {Site::Gate, Site::Up})) {
      add_residual(exec, ops_, a.middle, View(), View(), w.post_attention_norm, c.rms_norm_eps, a.norm2,
                   a.rstd2);
    }
    if (needs_input(layer, Site::Down)) ops_.swiglu_forward(exec, SwigluForward{a.gate, a.up, a.hidden});
  }

  const View dnorm = arena.matrix(type, tokens, c.hidden_size, kind);
  const auto norm_backward = [&](View x, const View& weight, const float* rstd, View dweight) {
    RmsNormBackward op{};
    op.dy = dnorm;
    op.x = x;
    op.weight = weight.f32();
    op.rstd = rstd;
    op.dx = dresidual;
    op.accumulate = true;
    op.dweight = dweight.f32();
    ops_.rmsnorm_backward(exec, op);
  };
  {
    ArenaScope mlp(arena);
    const View dhidden = arena.matrix(type, tokens, c.intermediate_size, kind);
    apply_backward(exec, layer, Site::Down, dresidual, a.hidden, u(Site::Down), dhidden, false, dropout,
                   gradients);
    // Gate and up are not needed any more: their gradients take their place.
    ops_.swiglu_backward(exec, SwigluBackward{a.gate, a.up, dhidden, a.gate, a.up, View()});
    const bool below = !lowest || needs_input(layer, {Site::Q, Site::K, Site::V, Site::O});
    const View dx = below ? dnorm : View();
    apply_backward(exec, layer, Site::Gate, a.gate, a.norm2, u(Site::Gate), dx, false, dropout, gradients);
    apply_backward(exec, layer, Site::Up, a.up, a.norm2, u(Site::Up), dx, true, dropout, gradients);
    if (!below) return;
  }
  norm_backward(a.middle, w.post_attention_norm, a.rstd2, dw != nullptr ? dw->post_attention_norm : View());

  const bool qkv = !lowest || needs_input(layer, {Site::Q, Site::K, Site::V});
  const View dattention = qkv ? arena.matrix(type, tokens, c.q_size(), kind) : View();
  apply_backward(exec, layer, Site::O, dresidual, a.attention, u(Site::O), dattention, false, dropout,
                 gradients);
  if (!qkv) return;
  // Gradients of normed heads are read as rows of single heads, which have no room between them.
  const auto gradient = [&](Site site, int64_t cols) {
    const bool heads = c.qk_norm && site != Site::V;
    return heads ? arena.matrix(type, tokens, cols, kind) : roomy(arena, layer, {site}, type, tokens, cols);
  };
  const View dq = gradient(Site::Q, c.q_size());
  const View dk = gradient(Site::K, c.kv_size());
  const View dv = gradient(Site::V, c.kv_size());
  AttentionBackward op{};
  op.q = a.q;
  op.k = a.k;
  op.v = a.v;
  op.y = a.attention;
  op.dy = dattention;
  op.lse = a.lse;
  op.cu_seqlens = kept.staged.cu_seqlens;
  op.sequences = batch.sequences;
  op.heads = c.num_heads;
  op.kv_heads = c.num_kv_heads;
  op.head_dim = c.head_dim;
  op.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
  op.dq = dq;
  op.dk = dk;
  op.dv = dv;
  ops_.attention_backward(exec, op);
  rotate(exec, kept.staged, dq, c.num_heads, true);
  rotate(exec, kept.staged, dk, c.num_kv_heads, true);
  if (c.qk_norm) {
    const auto head_norm = [&](View d, View raw, const View& weight, const float* rstd, View dweight) {
      RmsNormBackward norm{};
      norm.dy = heads_as_rows(d, c.head_dim);
      norm.x = heads_as_rows(raw, c.head_dim);
      norm.weight = weight.f32();
      norm.rstd = rstd;
      norm.dx = norm.dy;
      norm.accumulate = false;
      norm.dweight = dweight.f32();
      ops_.rmsnorm_backward(exec, norm);
    };
    head_norm(dq, a.q_raw, w.q_norm, a.q_rstd, dw != nullptr ? dw->q_norm : View());
    head_norm(dk, a.k_raw, w.k_norm, a.k_rstd, dw != nullptr ? dw->k_norm : View());
  }
  const View dx = lowest ? View() : dnorm;
  apply_backward(exec, layer, Site::Q, dq, a.norm1, u(Site::Q), dx, false, dropout, gradients);
  apply_backward(exec, layer, Site::K, dk, a.norm1, u(Site::K), dx, true, dropout, gradients);
  apply_backward(exec, layer, Site::V, dv, a.norm1, u(Site::V), dx, true, dropout, gradients);
  if (!lowest) norm_backward(a.input, w.input_norm, a.rstd1, dw != nullptr ? dw->input_norm : View());
}

void Decoder::backward(Exec& exec, const PackedBatch& batch, Activations& kept, View dhidden,
                       Gradients& gradients) const {
  if (lowest_ >= config_.num_layers) return;
  Arena& arena = *exec.arena;
  ArenaScope scope(arena);
  constexpr MemoryKind kind = MemoryKind::Activations;
  View dresidual = arena.matrix(kStream, batch.tokens, config_.hidden_size, kind);
  {
    ArenaScope rows(arena);
    const View doutput =
        batch.rows == nullptr ? dresidual : arena.matrix(kStream, batch.row_count, config_.hidden_size, kind);
    RmsNormBackward op{};
    op.dy = dhidden;
    op.x = kept.final_input;
    op.weight = weights_.norm.f32();
    op.rstd = kept.final_rstd;
    op.dx = doutput;
    op.accumulate = false;
    op.dweight = everything_ ? gradients.full.norm.f32() : nullptr;
    ops_.rmsnorm_backward(exec, op);
    if (batch.rows != nullptr) ops_.scatter_rows(exec, ScatterRows{doutput, kept.staged.rows, dresidual});
  }
  for (int64_t l = config_.num_layers - 1; l >= lowest_; --l) {
    check_abort(exec);
    layer_backward(exec, batch, l, kept, dresidual, gradients);
  }
  if (everything_)
    ops_.embedding_backward(exec, EmbeddingBackward{kept.staged.ids, dresidual, gradients.full.embed});
}

}  // namespace fintune
