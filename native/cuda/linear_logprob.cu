// The head: logits of some rows at a time, their statistics, and from them the gradient in place.
#include <algorithm>

#include "cuda/gemm.h"
#include "cuda/gemm_stage.h"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/values.cuh"
#include "ops/linear_checks.h"

namespace fintune {
namespace cuda {

namespace {

// Rows whose logits are held at a time: enough that the weight is read seldom, bounded in memory.
constexpr int64_t kLogitBytes = int64_t{5} << 28;
constexpr int64_t kMinRows = 128, kMaxRows = 4096;

// A GPU of 40 GB or more has room for kLogitBytes; a smaller one gives a 32nd of its memory.
int64_t chunk_rows(const Exec& exec, int64_t rows, int64_t vocab) {
  const int64_t total = static_cast<int64_t>(exec.device->memory_total());
  const int64_t bytes = total == 0 ? kLogitBytes : std::min(kLogitBytes, total / 32);
  const int64_t n = bytes / (4 * std::max<int64_t>(vocab, 1)) / kMinRows * kMinRows;
  return std::min(rows, std::clamp(n, kMinRows, kMaxRows));
}

constexpr int kMaxThreads = 512;
constexpr int kGroups = 4;  // of four neighbours that a thread holds at a time
constexpr int kStatistics = 3;

int threads_for(int64_t vocab) { return vocab < 8192 ? 128 : kMaxThreads; }

struct LogprobRows {
  float* z;
  int64_t ld, vocab;
  const int32_t* targets;
  float* logprob;
  float* entropy;
  const float* weights;  // null: no gradient
  float* logits;         // a copy of z, or null
  int64_t ld_logits;
  DType gradient_type;
  bool z_wide;
};

// Of some elements of a row: their largest z, and the sums of e = exp(z - max) and of e (z - max).
struct Softmax {
  float max, sum, weighted;
};

// The statistics under another maximum, not below the own one.
GPU_FN void move_to(Softmax& s, float max) {
  const float down = s.max - max;
  // Of no elements at all.
  if (s.max == -INFINITY) {
    s = Softmax{max, 0, 0};
    return;
  }
  const float factor = gpu::exp(down);
  s.weighted = factor * gpu::fma(s.sum, down, s.weighted);
  s.sum *= factor;
  s.max = max;
}

GPU_FN void merge(Softmax& s, Softmax other) {
  const float max = gpu::max(s.max, other.max);
  if (max == -INFINITY) return;
  move_to(s, max);
  move_to(other, max);
  s.sum += other.sum;
  s.weighted += other.weighted;
}

// v = z[i .. i + 3], -inf beyond the last.
GPU_FN void load4(const float* z, int64_t i, int64_t n, bool wide, float (&v)[4]) {
  if (wide && i + 4 <= n) {
    const gpu::Vec16 raw = gpu::load16(z + i);
#pragma unroll
    for (int e = 0; e < 4; ++e) v[e] = word_as_float(raw.w[e]);
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e) v[e] = i + e < n ? z[i + e] : -INFINITY;
  }
}

// Four neighbours enter the statistics of their thread.
GPU_FN void add4(Softmax& s, const float (&v)[4]) {
  const float max = gpu::max(gpu::max(gpu::max(v[0], v[1]), gpu::max(v[2], v[3])), s.max);
  if (max == -INFINITY) return;
  if (max != s.max) move_to(s, max);
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const float below = v[e] - max, x = gpu::exp(below);
    s.sum += x;
    if (x > 0) s.weighted = gpu::fma(x, below, s.weighted);
  }
}

// Writes four gradients as `type`, at element i of a row that z's row becomes; up to `end` elements.
GPU_FN void store4(float* z, DType type, int64_t i, int64_t end, const float (&v)[4]) {
  if (i >= end) return;
  if (type == DType::F32) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (i + e < end) z[i + e] = v[e];
    }
    return;
  }
  const uint32_t low = type == DType::BF16 ? gpu::pack2<bf16>(v[0], v[1]) : gpu::pack2<f16>(v[0], v[1]);
  const uint32_t high = type == DType::BF16 ? gpu::pack2<bf16>(v[2], v[3]) : gpu::pack2<f16>(v[2], v[3]);
  *reinterpret_cast<uint64_t*>(reinterpret_cast<uint16_t*>(z) + i) = low | static_cast<uint64_t>(high) << 32;
}

// A block makes a row. Thread t of n holds elements 4 (t + n j) .. + 3 of it, j = 0, 1, ...; the threads of
// a warp are merged by an exchange tree, the warps in order.
GPU_KERNEL(kMaxThreads, 2) void logprob_rows(LogprobRows p) {
  float* const warps = gpu::shared<float>();  // [warps][kStatistics]
  const int threads = gpu::threads();
  const int64_t held = 4 * kGroups * threads;  // elements of the row that the block holds at a time
  const int64_t t = gpu::block_x();
  float* const z = p.z + t * p.ld;
  const int target = p.targets[t];
  const bool known = target >= 0 && target < p.vocab;
  const float score = known ? z[target] : NAN;
  Softmax s{-INFINITY, 0, 0};
  for (int64_t first = 4 * gpu::thread(); first < p.vocab; first += held) {
    float v[kGroups][4];
#pragma unroll
    for (int j = 0; j < kGroups; ++j) load4(z, first + 4 * j * threads, p.vocab, p.z_wide, v[j]);
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      add4(s, v[j]);
      if (p.logits == nullptr) continue;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t at = first + 4 * j * threads + e;
        if (at < p.vocab) p.logits[t * p.ld_logits + at] = v[j][e];
      }
    }
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    Softmax other;
    other.max = gpu::shuffle_xor(s.max, distance);
    other.sum = gpu::shuffle_xor(s.sum, distance);
    other.weighted = gpu::shuffle_xor(s.weighted, distance);
    merge(s, other);
  }
  if (gpu::lane() == 0) {
    warps[gpu::warp() * kStatistics] = s.max;
    warps[gpu::warp() * kStatistics + 1] = s.sum;
    warps[gpu::warp() * kStatistics + 2] = s.weighted;
  }
  GPU_BARRIER();
  s = Softmax{warps[0], warps[1], warps[2]};
  for (int w = 1; w < threads / 32; ++w) {
    merge(s, Softmax{warps[w * kStatistics], warps[w * kStatistics + 1], warps[w * kStatistics + 2]});
  }
  const float log_sum = gpu::log(s.sum);
  if (gpu::thread() == 0) {
    if (p.logprob != nullptr) p.logprob[t] = (score - s.max) - log_sum;
    if (p.entropy != nullptr) p.entropy[t] = log_sum - s.weighted / s.sum;
  }
  if (p.weights == nullptr) return;

  const float weight = p.weights[t], factor = -weight / s.sum;
  // A row of 16-bit gradients takes the place of the first half of its f32 logits, zeros up to a multiple
  // of 8.
  const int64_t end = p.gradient_type == DType::F32 ? p.vocab : round_up_8(p.vocab);
  for (int64_t sweep = 0; sweep < p.vocab; sweep += held) {
    float v[kGroups][4];
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      load4(z, sweep + 4 * (gpu::thread() + j * threads), p.vocab, p.z_wide, v[j]);
    }
    // What is written lies below what later sweeps read, but not below what this one does.
    GPU_BARRIER();
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      const int64_t first = sweep + 4 * (gpu::thread() + j * threads);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float own = first + e == target ? weight : 0.0f;
        v[j][e] = gpu::fma(factor, gpu::exp(v[j][e] - s.max), own);
      }
      store4(z, p.gradient_type, first, end, v[j]);
    }
  }
}

}  // namespace

void linear_logprob(Exec& exec, const LinearLogprob& in) {
  check(in);
  const int64_t rows = in.hidden.rows, vocab = in.weight.rows;
  const bool gradient = in.dhidden || in.dweight;
  const bool in_place = in.logits && !gradient;  // no workspace: the logits are wanted as they are
  const int64_t chunk = chunk_rows(exec, rows, vocab);
  ArenaScope scope(*exec.arena);
  // Shared by all chunks, where it must be rounded at all.
  Stage stage;
  const Factor weight = exec.rowwise && !in.dhidden ? Factor{in.weight} : stage.add(exec, Factor{in.weight});
  stage.run(exec);
  View space;
  if (!in_place) {
    space = exec.arena->matrix(DType::F32, chunk, round_up_8(vocab), MemoryKind::Logits);
    space.cols = vocab;
  }

  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t n = std::min(rows - first, chunk);
    const View z = in_place ? in.logits.slice(first, n) : space.slice(0, n);
    ArenaScope of_chunk(*exec.arena);
    const Factor hidden = exec.rowwise && !in.dweight ? Factor{in.hidden.slice(first, n)}
                                                      : stage.add(exec, Factor{in.hidden.slice(first, n)});
    stage.run(exec);
    Factor columns = weight;
    columns.transposed = true;
    const Product forward{hidden, columns};
    (exec.rowwise ? gemm_rowwise : gemm)(exec, Gemm{&forward, 1, z});

    LogprobRows p{};
    p.z = z.f32();
    p.ld = z.ld;
    p.vocab = vocab;
    p.targets = in.targets + first;
    p.logprob = in.logprob != nullptr ? in.logprob + first : nullptr;
    p.entropy = in.entropy != nullptr ? in.entropy + first : nullptr;
    p.weights = gradient ? in.weights + first : nullptr;
    if (in.logits && !in_place) {
      p.logits = in.logits.f32() + first * in.logits.ld;
      p.ld_logits = in.logits.ld;
    }
    p.gradient_type = exec.compute;
    p.z_wide = gpu::aligned16(z.data, z.ld, sizeof(float));
    launch(exec, "logprob_rows", logprob_rows, Grid{static_cast<int>(n)}, threads_for(vocab),
           kMaxThreads / 32 * kStatistics * sizeof(float), p);
    if (!gradient) continue;

    Factor dz{z, false, true};
    if (exec.compute != DType::F32) {
      dz.view.dtype = exec.compute;
      dz.view.ld = 2 * z.ld;
    }
    if (in.dweight) {  // before dhidden, which may lie where hidden does
      const Product product{Factor{dz.view, true, true}, hidden};
      gemm(exec, Gemm{&product, 1, in.dweight, true});
    }
    if (in.dhidden) {
      const Product product{dz, weight};
      gemm(exec, Gemm{&product, 1, in.dhidden.slice(first, n)});
    }
  }
}

}  // namespace cuda
}  // namespace fintune
