// Packed causal attention with grouped keys (Dao et al. 2022, FlashAttention; Ainslie et al. 2023, GQA).
#pragma once

#include "core/error.h"
#include "ops/legend.h"

namespace fintune {

// For query head h with key head g = h / (H/G), within each sequence, j <= i:
//   s_ij = scale q_i . k_j,   y_i = sum_j softmax_j(s_ij) v_j,   lse_i = log sum_j exp(s_ij).
// q, y [T, H*K], k, v [T, G*K] activation (views with ld; y must not alias q, k, v); lse [T, H] f32,
// optional. Online softmax over tiles: no [T, T] array. A row's bits depend only on its own sequence; and
// where row i of a sequence is a multiple of 32, those of row i and after do not depend on the queries of the
// rows before (so that the keys of a shared prefix serve without its queries).
struct AttentionForward {
  View q, k, v;
  const int32_t* cu_seqlens;
  int64_t sequences;  // N
  int64_t heads, kv_heads, head_dim;
  float scale;
  View y;
  float* lse;
  // [N], optional: rows of each sequence before this one are not wanted; a backend may leave their y and lse
  // unwritten.
  const int32_t* wanted_from = nullptr;
};
// P_ij = exp(s_ij - lse_i), D_i = dy_i . y_i, dS_ij = P_ij (dy_i . v_j - D_i):
//   dq_i = scale sum_j dS_ij k_j,   dk_j = scale sum_i dS_ij q_i,   dv_j = sum_i P_ij dy_i  (sums over the
//   heads of a group).
// dq [T, H*K], dk, dv [T, G*K] activation, overwritten; may alias none of the inputs.
struct AttentionBackward {
  View q, k, v, y, dy;
  const float* lse;
  const int32_t* cu_seqlens;
  int64_t sequences;
  int64_t heads, kv_heads, head_dim;
  float scale;
  View dq, dk, dv;
};
// Decoding: each of the T rows of q is one query of its own sequence against that sequence's pages of a pool
// (Kwon et al. 2023, PagedAttention).
//   keys, values: the pool of one layer, [pages * page_tokens, G*K], dtypes and ld equal. Key j of row t is
//   row page_table[t, j / page_tokens] * page_tokens + j % page_tokens of it; page_table [T, max_pages],
//   of which row t's first ceil(lengths[t] / page_tokens) entries are read; page_tokens a power of two and a
//   multiple of 16; 1 <= lengths[t] <= max_pages * page_tokens keys are seen.
// The keys are split at fixed places counted from a sequence's start, so that a row's bits depend on nothing
// but its own query, keys and values: not on the batch, not on where the pages lie, not on their size.
struct AttentionDecode {
  View q;
  View keys, values;
  const int32_t* page_table;
  int64_t max_pages, page_tokens;
  const int32_t* lengths;
  int64_t heads, kv_heads, head_dim;
  float scale;
  View y;
};

// What both backends refuse; Argument.
inline void check_decode(const AttentionDecode& op) {
  require(op.head_dim > 0 && op.kv_heads > 0 && op.heads > 0 && op.heads % op.kv_heads == 0,
          "attention_decode: expected heads to be a multiple of kv_heads, found ", op.heads, " and ",
          op.kv_heads);
  require(op.page_tokens >= 16 && (op.page_tokens & (op.page_tokens - 1)) == 0,
          "attention_decode: expected pages of 16, 32, 64, ... tokens, found ", op.page_tokens);
  for (const View* v : {&op.keys, &op.values}) {
    require(v->cols == op.kv_heads * op.head_dim && v->rows % op.page_tokens == 0 &&
                v->dtype == op.keys.dtype && v->ld == op.keys.ld && v->ld >= v->cols,
            "attention_decode.keys, .values: expected whole pages of ", op.page_tokens, " rows of ",
            op.kv_heads * op.head_dim, " ", dtype_name(op.keys.dtype), " with a leading dimension of ",
            op.keys.ld, ", found ", v->rows, " rows of ", v->cols, " ", dtype_name(v->dtype), " with ",
            v->ld);
  }
}

}  // namespace fintune
