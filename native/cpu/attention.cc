// Packed causal attention, forward and backward, see ops/attention.h.
//
// Tiles of 64 queries x 64 keys, counted from the start of the sequence. Scores are kept transposed (a row
// per key, a lane per query): then the softmax over keys runs down the lanes without a horizontal step, and
// only Q (once per block of queries) has to be transposed, never K or V. On the diagonal a panel skips what
// the mask would zero.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/isa.h"
#include "cpu/rows.h"
#include "cpu/tile.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {
namespace {

constexpr int64_t kTile = 64;
// Backward: a sequence up to this length is one task per key head (5 products a tile). A longer one is cut
// into tasks that own queries and tasks that own keys, which recompute the scores (7 products), so that more
// threads find work.
constexpr int64_t kWholeSequence = 2048;
constexpr int64_t kKeyTiles = 4;  // of one task that owns keys

struct Shape {
  const int32_t* cu_seqlens;
  int64_t sequences, heads, kv_heads, head_dim;
  int64_t group() const { return heads / kv_heads; }
  int64_t width() const { return round_to_vectors(head_dim); }
  int64_t start(int64_t s) const { return cu_seqlens[s]; }
  int64_t length(int64_t s) const { return cu_seqlens[s + 1] - cu_seqlens[s]; }
};

template <typename Op>
Shape check(const Op& op, const char* where) {
  require(op.head_dim > 0 && op.kv_heads > 0 && op.heads > 0 && op.heads % op.kv_heads == 0, where,
          ": expected heads to be a multiple of kv_heads, found ", op.heads, " and ", op.kv_heads,
          ", head_dim ", op.head_dim);
  check_activation(op.q, "attention.q");
  check_shape(op.q, op.q.rows, op.heads * op.head_dim, "attention.q");
  for (const View* v : {&op.k, &op.v}) {
    check_shape(*v, op.q.rows, op.kv_heads * op.head_dim, "attention.k, attention.v");
    check_dtype(*v, op.q.dtype, "attention.k, attention.v");
  }
  check_like(op.y, op.q, "attention.y");
  return Shape{op.cu_seqlens, op.sequences, op.heads, op.kv_heads, op.head_dim};
}

void check_lengths(const Shape& shape, int64_t tokens) {
  require(shape.sequences >= 0 && shape.cu_seqlens[0] == 0 && shape.cu_seqlens[shape.sequences] == tokens,
          "attention: expected cu_seqlens from 0 to ", tokens, ", found ", shape.cu_seqlens[0], " to ",
          shape.cu_seqlens[std::max<int64_t>(0, shape.sequences)]);
  for (int64_t s = 0; s < shape.sequences; ++s) {
    require(shape.length(s) >= 0, "attention: cu_seqlens falls at sequence ", s);
  }
}

// What one call of a thread works on. Sorted by falling cost, so that no long task starts last.
struct Task {
  int64_t sequence, kv_head;
  int64_t q_first, q_last, k_first, k_last;  // tiles
  bool want_q, want_kv;
  int64_t cost;
};

void sort_by_cost(std::vector<Task>& tasks) {
  std::stable_sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) { return a.cost > b.cost; });
}

// Hands out a worker's scratch memory.
struct Scratch {
  float* next;
  float* take(int64_t n) {
    float* p = next;
    next += (n + 15) / 16 * 16;
    return p;
  }
  static size_t bytes(int64_t floats, int64_t pieces) {
    return static_cast<size_t>(floats + 16 * pieces) * sizeof(float);
  }
};

// Rows of the mask within a vector of queries [i, i + kWidth) of a diagonal tile: keys below i are seen by
// all lanes, keys i + 1 .. i + kWidth - 1 by the lanes after them, later ones by none.
struct Visible {
  int64_t all, some, zeroed;
};
Visible visible(bool diagonal, int64_t i, int64_t keys) {
  if (!diagonal) return {keys, keys, keys};
  const int64_t some = std::min(keys, i + kWidth);
  // A product's panel may reach this many rows below the diagonal.
  return {std::min(keys, i + 1), some, std::min(keys, some + kPanelRows)};
}

// The softmax of one tile: scores -> exp(scores - max) in place, maximum and sum of each query carried on;
// correction[i] = what earlier sums and outputs are to be multiplied with.
void softmax_tile(float* scores, int64_t keys, int64_t queries, bool diagonal, float* maximum, float* sum,
                  float* correction) {
  const Vec lowest = set1(-std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < queries; i += kWidth) {
    float* column = scores + i;
    const Visible rows = visible(diagonal, i, keys);
    const Vec before = load(maximum + i);
    Vec now = before;
    for (int64_t j = 0; j < rows.all; ++j) now = max(now, load(column + j * kTile));
    for (int64_t j = rows.all; j < rows.some; ++j) {
      const Vec s = first_n(lowest, static_cast<int>(j - i), load(column + j * kTile));
      store(column + j * kTile, s);
      now = max(now, s);
    }
    const Vec factor = exp(before - now);
    Vec total = load(sum + i) * factor;
    for (int64_t j = 0; j < rows.some; ++j) {
      const Vec p = exp(load(column + j * kTile) - now);
      store(column + j * kTile, p);
      total = total + p;
    }
    for (int64_t j = rows.some; j < rows.zeroed; ++j) store(column + j * kTile, zero());
    store(maximum + i, now);
    store(sum + i, total);
    store(correction + i, factor);
  }
}

int64_t forward_floats(const Shape& s) {
  return kTile * (s.group() * (2 * s.width() + 2) + 2 * s.width() + kTile + 1);
}

// All heads of one group, one tile of queries.
template <typename T>
void forward_task(const AttentionForward& op, const Shape& shape, const Task& task, float* memory) {
  const int64_t dim = shape.head_dim, width = shape.width(), group = shape.group(), vectors = width / kWidth;
  const int64_t start = shape.start(task.sequence), length = shape.length(task.sequence);
  const int64_t q0 = task.q_first * kTile, queries = std::min(kTile, length - q0);
  const int64_t query_vectors = (queries + kWidth - 1) / kWidth;
  Scratch scratch{memory};
  float* q_transposed = scratch.take(group * width * kTile);
  float* out = scratch.take(group * kTile * width);
  float* maximum = scratch.take(group * kTile);
  float* sum = scratch.take(group * kTile);
  float* correction = scratch.take(kTile);
  float* keys_tile = scratch.take(kTile * width);
  float* values_tile = scratch.take(kTile * width);
  float* scores = scratch.take(kTile * kTile);

  std::fill(maximum, maximum + group * kTile, -std::numeric_limits<float>::infinity());
  std::fill(sum, sum + group * kTile, 0.0f);
  for (int64_t r = 0; r < group; ++r) {
    const T* q = row<T>(op.q, start + q0) + (task.kv_head * group + r) * dim;
    load_tile(q, op.q.ld, queries, dim, op.scale, keys_tile, width);
    transpose_tile(keys_tile, width, queries, dim, q_transposed + r * width * kTile, kTile);
  }
  for (int64_t tile = 0; tile <= task.q_first; ++tile) {
    const bool diagonal = tile == task.q_first;
    const int64_t k0 = tile * kTile, keys = std::min(kTile, length - k0);
    load_tile(row<T>(op.k, start + k0) + task.kv_head * dim, op.k.ld, keys, dim, 1.0f, keys_tile, width);
    load_tile(row<T>(op.v, start + k0) + task.kv_head * dim, op.v.ld, keys, dim, 1.0f, values_tile, width);
    for (int64_t r = 0; r < group; ++r) {
      multiply_tile<false>(keys, keys_tile, width, q_transposed + r * width * kTile, kTile, scores, kTile,
                           false, [&](int64_t j, int64_t) {
                             return PanelRange{diagonal ? j / kWidth : 0, query_vectors, 0, dim};
                           });
      softmax_tile(scores, keys, queries, diagonal, maximum + r * kTile, sum + r * kTile, correction);
      float* o = out + r * kTile * width;
      if (tile > 0) {
        for (int64_t i = 0; i < queries; ++i) {
          const Vec factor = set1(correction[i]);
          for (int64_t c = 0; c < width; c += kWidth)
            store(o + i * width + c, load(o + i * width + c) * factor);
        }
      }
      multiply_tile<true>(queries, scores, kTile, values_tile, width, o, width, tile > 0,
                          [&](int64_t i, int64_t n) {
                            return PanelRange{0, vectors, 0, diagonal ? std::min(keys, i + n) : keys};
                          });
    }
  }
  for (int64_t r = 0; r < group; ++r) {
    const int64_t head = task.kv_head * group + r;
    for (int64_t i = 0; i < queries; ++i) {
      const float total = sum[r * kTile + i];
      const Vec inverse = set1(1.0f / total);
      const float* o = out + (r * kTile + i) * width;
      T* y = row<T>(op.y, start + q0 + i) + head * dim;
      for_vectors(dim,
                  [&](int64_t c, auto whole) { store_part(y + c, load(o + c) * inverse, whole, dim - c); });
      if (op.lse) op.lse[(start + q0 + i) * shape.heads + head] = maximum[r * kTile + i] + std::log(total);
    }
  }
}

int64_t backward_floats(const Shape& s, int64_t keys) {
  return 2 * keys * s.width() + kTile * (7 * s.width() + 2 * kTile + 2);
}

// The gradient of one group of heads over a rectangle of tiles, below the diagonal of which nothing is done.
template <typename T>
void backward_task(const AttentionBackward& op, const Shape& shape, const Task& task, float* memory) {
  const int64_t dim = shape.head_dim, width = shape.width(), group = shape.group(), vectors = width / kWidth;
  const int64_t start = shape.start(task.sequence), length = shape.length(task.sequence);
  const int64_t key_first = task.k_first * kTile, key_last = std::min(length, task.k_last * kTile);
  Scratch scratch{memory};
  const int64_t owned = task.want_kv ? (key_last - key_first) * width : 0;
  float* dk = scratch.take(owned);
  float* dv = scratch.take(owned);
  float* q_tile = scratch.take(kTile * width);
  float* q_transposed = scratch.take(width * kTile);
  float* dy_tile = scratch.take(kTile * width);
  float* dy_transposed = scratch.take(width * kTile);
  float* dq = scratch.take(kTile * width);
  float* keys_tile = scratch.take(kTile * width);
  float* values_tile = scratch.take(kTile * width);
  float* p = scratch.take(kTile * kTile);
  float* ds = scratch.take(kTile * kTile);
  float* lse = scratch.take(kTile);
  float* delta = scratch.take(kTile);
  std::fill(dk, dk + owned, 0.0f);
  std::fill(dv, dv + owned, 0.0f);

  for (int64_t r = 0; r < group; ++r) {
    const int64_t head = task.kv_head * group + r;
    for (int64_t qt = std::max(task.q_first, task.k_first); qt < task.q_last; ++qt) {
      const int64_t q0 = qt * kTile, queries = std::min(kTile, length - q0);
      const int64_t query_vectors = (queries + kWidth - 1) / kWidth;
      load_tile(row<T>(op.q, start + q0) + head * dim, op.q.ld, queries, dim, op.scale, q_tile, width);
      load_tile(row<T>(op.dy, start + q0) + head * dim, op.dy.ld, queries, dim, 1.0f, dy_tile, width);
      transpose_tile(q_tile, width, queries, dim, q_transposed, kTile);
      transpose_tile(dy_tile, width, queries, dim, dy_transposed, kTile);
      std::fill(lse, lse + kTile, 0.0f);
      std::fill(delta, delta + kTile, 0.0f);
      for (int64_t i = 0; i < queries; ++i) {
        const T* y = row<T>(op.y, start + q0 + i) + head * dim;
        Vec dot = zero();
        for_vectors(dim, [&](int64_t c, auto whole) {
          dot = fma(load_part(y + c, whole, dim - c), load(dy_tile + i * width + c), dot);
        });
        delta[i] = reduce_add(dot);
        lse[i] = op.lse[(start + q0 + i) * shape.heads + head];
      }
      bool first = true;
      for (int64_t kt = task.k_first; kt < std::min(task.k_last, qt + 1); ++kt) {
        const bool diagonal = kt == qt;
        const int64_t k0 = kt * kTile, keys = std::min(kTile, length - k0);
        load_tile(row<T>(op.k, start + k0) + task.kv_head * dim, op.k.ld, keys, dim, 1.0f, keys_tile, width);
        load_tile(row<T>(op.v, start + k0) + task.kv_head * dim, op.v.ld, keys, dim, 1.0f, values_tile,
                  width);
        const auto seen = [&](int64_t j, int64_t) {
          return PanelRange{diagonal ? j / kWidth : 0, query_vectors, 0, dim};
        };
        multiply_tile<false>(keys, keys_tile, width, q_transposed, kTile, p, kTile, false, seen);
        multiply_tile<false>(keys, values_tile, width, dy_transposed, kTile, ds, kTile, false, seen);
        for (int64_t i = 0; i < queries; i += kWidth) {
          const Visible rows = visible(diagonal, i, keys);
          const Vec l = load(lse + i), d = load(delta + i);
          for (int64_t j = 0; j < rows.some; ++j) {
            float* pj = p + j * kTile + i;
            float* dsj = ds + j * kTile + i;
            Vec probability = exp(load(pj) - l);
            Vec gradient = probability * (load(dsj) - d);
            if (j >= rows.all) {
              probability = first_n(zero(), static_cast<int>(j - i), probability);
              gradient = first_n(zero(), static_cast<int>(j - i), gradient);
            }
            store(pj, probability);
            store(dsj, gradient);
          }
          for (int64_t j = rows.some; j < rows.zeroed; ++j) {
            store(p + j * kTile + i, zero());
            store(ds + j * kTile + i, zero());
          }
        }
        if (task.want_kv) {
          const auto later = [&](int64_t j, int64_t) {
            return PanelRange{0, vectors, diagonal ? j : 0, queries};
          };
          multiply_tile<false>(keys, p, kTile, dy_tile, width, dv + (k0 - key_first) * width, width, true,
                               later);
          multiply_tile<false>(keys, ds, kTile, q_tile, width, dk + (k0 - key_first) * width, width, true,
                               later);
        }
        if (task.want_q) {
          multiply_tile<true>(queries, ds, kTile, keys_tile, width, dq, width, !first,
                              [&](int64_t i, int64_t n) {
                                return PanelRange{0, vectors, 0, diagonal ? std::min(keys, i + n) : keys};
                              });
        }
        first = false;
      }
      if (task.want_q) {
        const Vec scale = set1(op.scale);
        for (int64_t i = 0; i < queries; ++i) {
          T* to = row<T>(op.dq, start + q0 + i) + head * dim;
          for_vectors(dim, [&](int64_t c, auto whole) {
            store_part(to + c, load(dq + i * width + c) * scale, whole, dim - c);
          });
        }
      }
    }
  }
  if (!task.want_kv) return;
  for (int64_t j = key_first; j < key_last; ++j) {
    const float* dkj = dk + (j - key_first) * width;
    const float* dvj = dv + (j - key_first) * width;
    T* to_k = row<T>(op.dk, start + j) + task.kv_head * dim;
    T* to_v = row<T>(op.dv, start + j) + task.kv_head * dim;
    for_vectors(dim, [&](int64_t c, auto whole) {
      store_part(to_k + c, load(dkj + c), whole, dim - c);
      store_part(to_v + c, load(dvj + c), whole, dim - c);
    });
  }
}

std::vector<Task> forward_tasks(const Shape& shape, const int32_t* wanted_from) {
  std::vector<Task> tasks;
  for (int64_t s = 0; s < shape.sequences; ++s) {
    const int64_t tiles = (shape.length(s) + kTile - 1) / kTile;
    for (int64_t g = 0; g < shape.kv_heads; ++g) {
      for (int64_t t = wanted_from == nullptr ? 0 : wanted_from[s] / kTile; t < tiles; ++t)
        tasks.push_back({s, g, t, t + 1, 0, t + 1, false, false, t + 1});
    }
  }
  sort_by_cost(tasks);
  return tasks;
}

std::vector<Task> backward_tasks(const Shape& shape) {
  std::vector<Task> tasks;
  for (int64_t s = 0; s < shape.sequences; ++s) {
    const int64_t length = shape.length(s), tiles = (length + kTile - 1) / kTile;
    if (length == 0) continue;
    for (int64_t g = 0; g < shape.kv_heads; ++g) {
      if (length <= kWholeSequence) {
        tasks.push_back({s, g, 0, tiles, 0, tiles, true, true, 5 * tiles * (tiles + 1) / 2});
        continue;
      }
      for (int64_t t = 0; t < tiles; ++t)
        tasks.push_back({s, g, t, t + 1, 0, t + 1, true, false, 3 * (t + 1)});
      for (int64_t k = 0; k < tiles; k += kKeyTiles) {
        const int64_t last = std::min(tiles, k + kKeyTiles);
        tasks.push_back({s, g, k, tiles, k, last, false, true, 4 * (last - k) * (tiles - k)});
      }
    }
  }
  sort_by_cost(tasks);
  return tasks;
}

}  // namespace

void attention_forward(Exec& exec, const AttentionForward& op) {
  const Shape shape = check(op, "attention_forward");
  if (exec.dry) return;
  check_lengths(shape, op.q.rows);
  for (int64_t s = 0; s < shape.sequences && op.wanted_from != nullptr; ++s) {
    require(op.wanted_from[s] >= 0, "attention_forward: wanted_from[", s, "] is ", op.wanted_from[s],
            ", expected 0 or more");
  }
  const std::vector<Task> tasks = forward_tasks(shape, op.wanted_from);
  const size_t bytes = Scratch::bytes(forward_floats(shape), 8);
  with_activation_type(op.q.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    exec.threads->parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t i, int worker) {
      forward_task<T>(op, shape, tasks[static_cast<size_t>(i)],
                      static_cast<float*>(exec.threads->scratch(worker, bytes)));
    });
  });
}

void attention_backward(Exec& exec, const AttentionBackward& op) {
  const Shape shape = check(op, "attention_backward");
  check_like(op.dy, op.q, "attention.dy");
  check_like(op.dq, op.q, "attention.dq");
  check_like(op.dk, op.k, "attention.dk");
  check_like(op.dv, op.v, "attention.dv");
  if (exec.dry) return;
  check_lengths(shape, op.q.rows);
  const std::vector<Task> tasks = backward_tasks(shape);
  with_activation_type(op.q.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    exec.threads->parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t i, int worker) {
      const Task& task = tasks[static_cast<size_t>(i)];
      const int64_t keys = task.want_kv ? (task.k_last - task.k_first) * kTile : 0;
      const size_t bytes = Scratch::bytes(backward_floats(shape, keys), 13);
      backward_task<T>(op, shape, task, static_cast<float*>(exec.threads->scratch(worker, bytes)));
    });
  });
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
