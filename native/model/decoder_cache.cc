// The decoder over a key/value cache: where a batch's tokens lie in its pages, and attention to them.
#include <vector>

#include "model/decoder_parts.h"
#include "model/staging.h"

namespace fintune {
namespace {

// n numbers that `fill` makes on the host, where ops read them.
template <typename Fill>
const int32_t* computed(Exec& exec, int64_t n, Fill&& fill) {
  const size_t bytes = static_cast<size_t>(n) * sizeof(int32_t);
  void* const place = exec.arena->alloc(bytes, MemoryKind::Workspace);
  if (!exec.dry) {
    std::vector<int32_t> values;
    values.reserve(static_cast<size_t>(n));
    fill(values);
    require(static_cast<int64_t>(values.size()) == n, "a batch says it has ", n,
            " tokens with their context, ", "found ", values.size());
    exec.device->upload(place, values.data(), bytes);
  }
  return static_cast<const int32_t*>(place);
}

}  // namespace

void decoder::stage_cache(Exec& exec, const PackedBatch& batch, const KvCacheView& cache, StagedBatch& on) {
  const auto pool_row = [&](int64_t s, int64_t position) {
    require(position < cache.max_pages * cache.page_tokens, "the cache of sequence ", s, " holds ",
            cache.max_pages * cache.page_tokens, " tokens, found position ", position);
    const int64_t page = cache.page_table[s * cache.max_pages + position / cache.page_tokens];
    return static_cast<int32_t>(page * cache.page_tokens + position % cache.page_tokens);
  };
  // fn(sequence, its first token, the one after its last, the position of its first).
  const auto for_sequences = [&](auto&& fn) {
    for (int64_t s = 0; s < batch.sequences; ++s) {
      const int32_t first = batch.cu_seqlens[s], last = batch.cu_seqlens[s + 1];
      fn(s, first, last, first < last ? batch.positions[first] : 0);
    }
  };
  on.store_rows = computed(exec, batch.tokens, [&](std::vector<int32_t>& rows) {
    for_sequences([&](int64_t s, int32_t first, int32_t last, int32_t) {
      for (int32_t t = first; t < last; ++t) rows.push_back(pool_row(s, batch.positions[t]));
    });
  });
  if (batch.context <= batch.tokens) return;
  on.context_rows = computed(exec, batch.context, [&](std::vector<int32_t>& rows) {
    for_sequences([&](int64_t s, int32_t first, int32_t last, int32_t past) {
      for (int32_t i = 0; i < past + last - first; ++i) rows.push_back(pool_row(s, i));
    });
  });
  on.own_rows = computed(exec, batch.tokens, [&](std::vector<int32_t>& rows) {
    int32_t before = 0;
    for_sequences([&](int64_t, int32_t first, int32_t last, int32_t past) {
      before += past;
      for (int32_t t = first; t < last; ++t) rows.push_back(before + t);
    });
  });
  on.context_starts = computed(exec, batch.sequences + 1, [&](std::vector<int32_t>& starts) {
    int32_t before = 0;
    starts.push_back(0);
    for_sequences([&](int64_t, int32_t, int32_t last, int32_t past) {
      before += past;
      starts.push_back(before + last);
    });
  });
  on.prefixes = computed(exec, batch.sequences, [&](std::vector<int32_t>& prefixes) {
    for_sequences([&](int64_t, int32_t, int32_t, int32_t past) { prefixes.push_back(past); });
  });
}

// Each new token against the pages of its sequence.
void Decoder::attend_cache(Exec& exec, const StagedBatch& staged, int64_t layer, const LayerActivations& a,
                           const KvCacheView& cache) const {
  AttentionDecode op{};
  op.q = a.q;
  op.keys = cache.keys(layer);
  op.values = cache.values(layer);
  op.page_table = staged.page_table;
  op.max_pages = cache.max_pages;
  op.page_tokens = cache.page_tokens;
  op.lengths = staged.lengths;
  op.heads = config_.num_heads;
  op.kv_heads = config_.num_kv_heads;
  op.head_dim = config_.head_dim;
  op.scale = scale();
  op.y = a.attention;
  ops_.attention_decode(exec, op);
}

// New tokens against their shared prefixes and themselves: the very op that whole sequences go through, on
// all keys of the context, with zeros for the queries of the prefixes. So the bits are those of a prefill
// without sharing (AttentionForward: a row does not depend on the queries before it).
void Decoder::attend_context(Exec& exec, const PackedBatch& batch, const StagedBatch& staged, int64_t layer,
                             const LayerActivations& a, const KvCacheView& cache) const {
  constexpr MemoryKind kind = MemoryKind::Workspace;
  const ArenaScope scope(*exec.arena);
  LayerActivations all;
  const auto room = [&](const View& like) {
    return exec.arena->matrix(like.dtype, batch.context, like.cols, kind);
  };
  all.q = room(a.q);
  all.k = room(a.k);
  all.v = room(a.v);
  all.attention = room(a.attention);
  ops_.scatter_rows(exec, ScatterRows{a.q, staged.own_rows, all.q});
  ops_.gather_rows(exec, GatherRows{cache.keys(layer), staged.context_rows, all.k});
  ops_.gather_rows(exec, GatherRows{cache.values(layer), staged.context_rows, all.v});
  attend(exec, staged.context_starts, batch.sequences, all, staged.prefixes);
  ops_.gather_rows(exec, GatherRows{all.attention, staged.own_rows, a.attention});
}

}  // namespace fintune
