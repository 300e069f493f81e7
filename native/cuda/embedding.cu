// Token embedding, see ops/embedding.h. Ids are checked by those who upload them; here one that is out of
// range gives a row of NaN forward and is passed over backward.
#include "cuda/gpu.h"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/packs.cuh"
#include "cuda/rows.cuh"
#include "cuda/values.cuh"
#include "ops/row_checks.h"

namespace fintune {
namespace cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

template <typename W, typename T>
struct GatherArgs {
  const int32_t* ids;
  Rows<W> weight;
  Rows<T> y;
  int64_t vocab;
  int cols;
};

// A block a token.
template <typename W, typename T>
GPU_KERNEL(kThreads, 8)
void gather(GatherArgs<W, T> a) {
  const int64_t id = a.ids[gpu::block_x()];
  const bool known = id >= 0 && id < a.vocab;
  constexpr int n = kPack<W, T>;
  for (int j = gpu::thread() * n; j < a.cols; j += kThreads * n) {
    float v[n];
    if (known) {
      load_pack(a.weight.row(id) + j, a.cols - j, a.weight.wide, v);
    } else {
#pragma unroll
      for (int e = 0; e < n; ++e) v[e] = word_as_float(0x7FC00000u);
    }
    store_pack(a.y.row(gpu::block_x()) + j, a.cols - j, a.y.wide, v);
  }
}

template <typename T>
struct AddArgs {
  const int32_t* ids;
  Rows<T> dy;
  Rows<float> dweight;
  int64_t tokens, vocab;
  int cols;
};

constexpr int kScan = 4 * kThreads;  // ids that a block looks at together

struct AddShared {
  int earlier[kWarps];
  int counts[kScan / 32];  // of the matches among 32 ids
  int64_t matches[kScan];  // their tokens, rising
};

// Whether `id` is among ids[0 .. n): this warp's share of them.
GPU_FN bool any_in_share(const int32_t* ids, int64_t n, int32_t id) {
  for (int64_t i = gpu::warp() * 128; i < n; i += kScan) {
    bool found = false;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int64_t at = i + 32 * k + gpu::lane();
      if (at < n) found = found || ids[at] == id;
    }
    if (gpu::ballot(found) != 0) return true;
  }
  return false;
}

GPU_FN int count_bits(uint32_t mask) {
  int n = 0;
  for (; mask != 0; mask &= mask - 1) ++n;
  return n;
}

// Writes those of tokens first .. first + kScan - 1 that have this id to s.matches, and returns their number.
GPU_FN int find_matches(const int32_t* ids, int64_t first, int64_t tokens, int32_t id, AddShared& s) {
  uint32_t votes[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int64_t at = first + (gpu::warp() * 4 + k) * 32 + gpu::lane();
    votes[k] = gpu::ballot(at < tokens && ids[at] == id);
    if (gpu::lane() == 0) s.counts[gpu::warp() * 4 + k] = count_bits(votes[k]);
  }
  GPU_BARRIER();
  int total = 0, before = 0;
  for (int i = 0; i < kScan / 32; ++i) {
    if (i == gpu::warp() * 4) before = total;
    total += s.counts[i];
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const uint32_t below = votes[k] & ((1u << gpu::lane()) - 1);
    if (votes[k] >> gpu::lane() & 1) {
      s.matches[before + count_bits(below)] = first + (gpu::warp() * 4 + k) * 32 + gpu::lane();
    }
    before += count_bits(votes[k]);
  }
  GPU_BARRIER();
  return total;
}

// A block a token: the first with its id adds up the rows of all, in rising order; the others leave. The
// search costs T^2 comparisons by 32 lanes at once, nothing beside a step's products.
template <typename T>
GPU_KERNEL(kThreads, 8)
void add_rows(AddArgs<T> a) {
  AddShared& s = *gpu::shared<AddShared>();
  const int64_t own = gpu::block_x();
  const int32_t id = a.ids[own];
  if (id < 0 || id >= a.vocab) return;
  const bool earlier = any_in_share(a.ids, own, id);
  if (gpu::lane() == 0) s.earlier[gpu::warp()] = earlier;
  GPU_BARRIER();
  for (int w = 0; w < kWarps; ++w) {
    if (s.earlier[w]) return;
  }
  constexpr int n = kPack<float, T>;
  float* const to = a.dweight.row(id);
  for (int64_t first = own; first < a.tokens; first += kScan) {
    const int matches = find_matches(a.ids, first, a.tokens, id, s);
    for (int j = gpu::thread() * n; matches > 0 && j < a.cols; j += kThreads * n) {
      float sum[n];
      load_pack(to + j, a.cols - j, a.dweight.wide, sum);
#pragma unroll 4
      for (int i = 0; i < matches; ++i) {
        float d[n];
        load_pack(a.dy.row(s.matches[i]) + j, a.cols - j, a.dy.wide, d);
#pragma unroll
        for (int e = 0; e < n; ++e) sum[e] += d[e];
      }
      store_pack(to + j, a.cols - j, a.dweight.wide, sum);
    }
  }
}

}  // namespace

void embedding_forward(Exec& exec, const EmbeddingForward& op) {
  check(op);
  with_float_type(op.weight.dtype, [&](auto* weight_tag) {
    with_float_type(op.y.dtype, [&](auto* tag) {
      using W = std::remove_pointer_t<decltype(weight_tag)>;
      using T = std::remove_pointer_t<decltype(tag)>;
      launch(exec, "embedding_forward", gather<W, T>, grid_of(op.y.rows), kThreads, 0,
             GatherArgs<W, T>{op.ids, rows_of<W>(op.weight), rows_of<T>(op.y), op.weight.rows,
                              static_cast<int>(op.y.cols)});
    });
  });
}

void embedding_backward(Exec& exec, const EmbeddingBackward& op) {
  check(op);
  with_float_type(op.dy.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    launch(exec, "embedding_backward", add_rows<T>, grid_of(op.dy.rows), kThreads, sizeof(AddShared),
           AddArgs<T>{op.ids, rows_of<T>(op.dy), rows_of<float>(op.dweight), op.dy.rows, op.dweight.rows,
                      static_cast<int>(op.dy.cols)});
  });
}

}  // namespace cuda
}  // namespace fintune
