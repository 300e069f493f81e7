// Attention of single queries against their caches, see AttentionDecode in ops/attention.h.
#include <algorithm>
#include <limits>

#include "cpu/isa.h"
#include "cpu/rows.h"
#include "cpu/tile.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {
namespace {

// Keys between two corrections of the running maximum: fixed, so that a row's bits depend on its own cache
// only.
constexpr int64_t kKeys = 128;

// Scores of `group` queries (f32, width apart) against one key.
template <typename C>
FINTUNE_INLINE void score_key(const float* queries, int64_t group, int64_t width, const C* key, int64_t dim,
                              float* scores) {
  for (int64_t r = 0; r < group; ++r) {
    const float* q = queries + r * width;
    Vec dot = zero();
    for_vectors(
        dim, [&](int64_t c, auto whole) { dot = fma(load(q + c), load_part(key + c, whole, dim - c), dot); });
    scores[r * kKeys] = reduce_add(dot);
  }
}

// All queries of one group against one cache.
template <typename T, typename C>
void decode_task(const AttentionDecode& op, int64_t t, int64_t g, float* memory) {
  const int64_t dim = op.head_dim, group = op.heads / op.kv_heads, width = round_to_vectors(dim),
                length = op.lengths[t], ld = op.keys.ld, mask = op.page_tokens - 1;
  float* queries = memory;
  float* out = queries + group * width;
  float* scores = out + group * width;
  const C* keys = op.keys.as<C>() + g * dim;
  const C* values = op.values.as<C>() + g * dim;
  const int32_t* pages = op.page_table + t * op.max_pages;
  // Key j, and how many of the keys from j on lie behind one another before `last`.
  const auto place = [&](int64_t j) {
    return (pages[j / op.page_tokens] * op.page_tokens + (j & mask)) * ld;
  };
  const auto run = [&](int64_t j, int64_t last) { return std::min(last - j, op.page_tokens - (j & mask)); };
  load_tile(row<T>(op.q, t) + g * group * dim, dim, group, dim, op.scale, queries, width);
  std::fill(out, out + group * width, 0.0f);
  float* maximum = scores + group * kKeys;
  float* sum = maximum + group;
  std::fill(maximum, maximum + group, -std::numeric_limits<float>::infinity());
  std::fill(sum, sum + group, 0.0f);

  for (int64_t first = 0; first < length; first += kKeys) {
    const int64_t n = std::min(kKeys, length - first);
    for (int64_t j = 0; j < n; ++j)
      score_key(queries, group, width, keys + place(first + j), dim, scores + j);
    for (int64_t r = 0; r < group; ++r) {
      float* s = scores + r * kKeys;
      Vec top = set1(maximum[r]);
      const Vec lowest = set1(-std::numeric_limits<float>::infinity());
      for_vectors(n, [&](int64_t j, auto whole) {
        const Vec x = load_part(s + j, whole, n - j);
        top = max(top, whole ? x : first_n(x, static_cast<int>(n - j), lowest));
      });
      const float now = reduce_max(top);
      Vec total = zero();
      for_vectors(n, [&](int64_t j, auto whole) {
        Vec p = exp(load_part(s + j, whole, n - j) - set1(now));
        if (!whole) p = first_n(p, static_cast<int>(n - j), zero());
        store_part(s + j, p, whole, n - j);
        total = total + p;
      });
      float factor[kWidth];
      store(factor, exp(set1(maximum[r] - now)));
      sum[r] = sum[r] * factor[0] + reduce_add(total);
      maximum[r] = now;
      float* o = out + r * width;
      for_vectors(dim, [&](int64_t c, auto whole) {
        Vec y = load(o + c) * set1(factor[0]);
        for (int64_t j = 0; j < n;) {
          const C* v = values + place(first + j) + c;
          const int64_t end = j + run(first + j, first + n);
          for (; j < end; ++j, v += ld) y = fma(set1(s[j]), load_part(v, whole, dim - c), y);
        }
        store(o + c, y);
      });
    }
  }
  for (int64_t r = 0; r < group; ++r) {
    T* y = row<T>(op.y, t) + (g * group + r) * dim;
    const Vec inverse = set1(1.0f / sum[r]);
    for_vectors(dim, [&](int64_t c, auto whole) {
      store_part(y + c, load(out + r * width + c) * inverse, whole, dim - c);
    });
  }
}

}  // namespace

void attention_decode(Exec& exec, const AttentionDecode& op) {
  check_decode(op);
  check_activation(op.q, "attention_decode.q");
  check_shape(op.q, op.q.rows, op.heads * op.head_dim, "attention_decode.q");
  check_like(op.y, op.q, "attention_decode.y");
  require(op.keys.dtype == DType::F32 || op.keys.dtype == DType::BF16,
          "attention_decode: caches are f32 or bf16, found ", dtype_name(op.keys.dtype));
  if (exec.dry) return;
  for (int64_t t = 0; t < op.q.rows; ++t) {
    const int64_t length = op.lengths[t];
    require(length >= 1 && length <= op.max_pages * op.page_tokens, "attention_decode: row ", t,
            " has length ", length, ", expected 1 .. ", op.max_pages * op.page_tokens);
    for (int64_t p = 0; p * op.page_tokens < length; ++p) {
      const int64_t page = op.page_table[t * op.max_pages + p], pages = op.keys.rows / op.page_tokens;
      require(page >= 0 && page < pages, "attention_decode: page ", p, " of row ", t, " is ", page,
              ", expected 0 .. ", pages - 1);
    }
  }
  const int64_t group = op.heads / op.kv_heads;
  const size_t bytes =
      static_cast<size_t>(group * (2 * round_to_vectors(op.head_dim) + kKeys + 2)) * sizeof(float);
  with_activation_type(op.q.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    exec.threads->parallel_for(op.q.rows * op.kv_heads, [&](int64_t task, int worker) {
      float* memory = static_cast<float*>(exec.threads->scratch(worker, bytes));
      const int64_t t = task / op.kv_heads, g = task % op.kv_heads;
      if (op.keys.dtype == DType::F32) {
        decode_task<T, float>(op, t, g, memory);
      } else {
        decode_task<T, bf16>(op, t, g, memory);
      }
    });
  });
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
