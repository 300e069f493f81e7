// AdamW and the global norm, see ops/optimizer.h. All tensors in one launch: a block has a piece of one
// tensor and finds it in a table.
#include <cmath>
#include <vector>

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

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// The entry of a table whose blocks hold this one: entries begin at `first_block`, rising. Empty ones begin
// where the next does and are never found.
template <typename Entry>
GPU_FN const Entry& entry_of_block(const Entry* table, int count) {
  int low = 0, high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (table[middle].first_block <= gpu::block_x() ? low : high) = middle;
  }
  return table[low];
}

constexpr int64_t kUpdates = kThreads * 16;  // elements of a block

struct Parameters {
  AdamWTensor tensor;
  int64_t first_block;
  float decay;
  bool wide, fours;
};

struct Constants {
  float grad_scale, weight1, beta2, weight2, root2, step_size, eps;
};

// Elements j .. j + 3 of p, of which n exist, in its copy. fours: all four lie in one row, at a multiple of 8
// bytes.
GPU_FN void store_copy(const View& copy, bool fours, int64_t j, int64_t n, const float (&p)[4]) {
  const uint32_t cols = static_cast<uint32_t>(copy.cols);
  uint32_t row = static_cast<uint32_t>(j) / cols, column = static_cast<uint32_t>(j) % cols;
  if (fours) {
    const int64_t at = static_cast<int64_t>(row) * copy.ld + column;
    if (copy.dtype == DType::BF16) {
      store_pack(static_cast<bf16*>(copy.data) + at, 4, true, p);
    } else {
      store_pack(static_cast<f16*>(copy.data) + at, 4, true, p);
    }
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    if (e < n) store_value(copy.data, static_cast<int64_t>(row) * copy.ld + column, copy.dtype, p[e]);
    if (++column == cols) {
      column = 0;
      ++row;
    }
  }
}

bool by_fours(const View& copy) {
  return copy.dtype != DType::F32 && copy.cols % 4 == 0 && copy.ld % 4 == 0 &&
         reinterpret_cast<uintptr_t>(copy.data) % 8 == 0;
}

GPU_KERNEL(kThreads, 4)
void update(const Parameters* table, int count, Constants k) {
  const Parameters& entry = entry_of_block(table, count);
  const AdamWTensor tensor = entry.tensor;
  const float decay = entry.decay;
  const bool wide = entry.wide, copied = tensor.copy.data != nullptr;
  const int64_t first = (gpu::block_x() - entry.first_block) * kUpdates;
  const int64_t last = gpu::min(first + kUpdates, tensor.n);
#pragma unroll 2
  for (int64_t j = first + gpu::thread() * 4; j < last; j += kThreads * 4) {
    float p[4], g[4], m[4], v[4];
    load4(tensor.p + j, last - j, wide, p);
    load4(tensor.g + j, last - j, wide, g);
    load4(tensor.m + j, last - j, wide, m);
    load4(tensor.v + j, last - j, wide, v);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float grad = g[e] * k.grad_scale;
      m[e] = m[e] + k.weight1 * (grad - m[e]);
      v[e] = v[e] * k.beta2 + k.weight2 * (grad * grad);
      p[e] = p[e] * decay - k.step_size * (m[e] / (gpu::sqrt(v[e]) / k.root2 + k.eps));
    }
    store4(tensor.m + j, last - j, wide, m);
    store4(tensor.v + j, last - j, wide, v);
    store4(tensor.p + j, last - j, wide, p);
    // Read again each time: registers are what there is least of.
    if (copied) store_copy(entry.tensor.copy, entry.fours, j, last - j, p);
  }
}

constexpr int64_t kSquares = kThreads * 64;  // elements that a block sums

// Rows one behind the other; a contiguous matrix is one row.
struct Gradients {
  const float* data;
  int64_t first_block, count, cols, ld;
};

// Over a block, in a fixed order: every warp as a tree, then the warps one by one. Thread 0 has the result.
GPU_FN double block_sum(double v) {
  double* const sums = gpu::shared<double>();
  v = gpu::warp_sum(v);
  if (gpu::lane() == 0) sums[gpu::warp()] = v;
  GPU_BARRIER();
  v = sums[0];
  for (int w = 1; w < kWarps; ++w) v += sums[w];
  return v;
}

GPU_KERNEL(kThreads, 4)
void sum_squares(const Gradients* table, int count, double* parts) {
  const Gradients entry = entry_of_block(table, count);
  const int64_t first = (gpu::block_x() - entry.first_block) * kSquares;
  const int64_t last = gpu::min(first + kSquares, entry.count);
  double sum = 0;
#pragma unroll 4
  for (int64_t i = first + gpu::thread(); i < last; i += kThreads) {
    const int64_t at = entry.ld == entry.cols ? i : i / entry.cols * entry.ld + i % entry.cols;
    const double x = entry.data[at];
    sum += x * x;
  }
  sum = block_sum(sum);
  if (gpu::thread() == 0) parts[gpu::block_x()] = sum;
}

GPU_KERNEL(kThreads, 1)
void sum_parts(const double* parts, int64_t count, double* total) {
  double sum = 0;
  for (int64_t i = gpu::thread(); i < count; i += kThreads) sum += parts[i];
  sum = block_sum(sum);
  if (gpu::thread() == 0) *total = sum;
}

}  // namespace

// The order of operations is that of torch.optim.AdamW: constants in double, each rounded once to f32.
void adamw(Exec& exec, const AdamW& op) {
  check(op);
  std::vector<Parameters> table;
  int64_t blocks = 0;
  for (int64_t i = 0; i < op.count; ++i) {
    const AdamWTensor& t = op.tensors[i];
    const bool wide = gpu::aligned16(t.p, 0, 4) && gpu::aligned16(t.g, 0, 4) && gpu::aligned16(t.m, 0, 4) &&
                      gpu::aligned16(t.v, 0, 4);
    table.push_back({t, blocks, static_cast<float>(1.0 - op.lr * static_cast<double>(t.weight_decay)), wide,
                     by_fours(t.copy)});
    blocks += blocks_of(t.n, kUpdates);
  }
  const double correction1 = 1.0 - std::pow(op.beta1, static_cast<double>(op.step));
  const double correction2 = 1.0 - std::pow(op.beta2, static_cast<double>(op.step));
  ArenaScope scope(*exec.arena);
  const Parameters* const entries = to_device(exec, table.data(), op.count);
  launch(exec, "adamw", update, grid_of(blocks), kThreads, 0, entries, static_cast<int>(op.count),
         Constants{op.grad_scale, static_cast<float>(1.0 - op.beta1), static_cast<float>(op.beta2),
                   static_cast<float>(1.0 - op.beta2), static_cast<float>(std::sqrt(correction2)),
                   static_cast<float>(op.lr / correction1), static_cast<float>(op.eps)});
}

void global_norm(Exec& exec, const GlobalNorm& op) {
  check(op);
  std::vector<Gradients> table;
  int64_t blocks = 0;
  for (int64_t i = 0; i < op.count; ++i) {
    const View& v = op.gradients[i];
    table.push_back({v.f32(), blocks, v.count(), v.cols, v.ld});
    blocks += blocks_of(v.count(), kSquares);
  }
  ArenaScope scope(*exec.arena);
  const Gradients* const entries = to_device(exec, table.data(), op.count);
  double* const parts = static_cast<double*>(
      exec.arena->alloc(static_cast<size_t>(blocks + 1) * sizeof(double), MemoryKind::Workspace));
  launch(exec, "sum_squares", sum_squares, grid_of(blocks), kThreads, kWarps * sizeof(double), entries,
         static_cast<int>(op.count), parts);
  launch(exec, "sum_parts", sum_parts, Grid{}, kThreads, kWarps * sizeof(double), parts, blocks,
         parts + blocks);
  if (exec.dry) return;
  double total = 0;
  exec.device->download(&total, parts + blocks, sizeof(double));
  *op.norm = std::sqrt(total);
}

}  // namespace cuda
}  // namespace fintune
