// AdamW and the global norm, see ops/optimizer.h.
#include <cmath>
#include <vector>

#include "cpu/isa.h"
#include "cpu/rows.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {
namespace {

constexpr int64_t kBlock = 16384;

// A run of elements within one tensor.
struct Piece {
  int64_t tensor, first, count;
};

// Elements first .. of p in its copy.
void store_copy(const View& copy, const float* p, int64_t first, int64_t count) {
  with_float_type(copy.dtype, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    for (int64_t j = first; j < first + count; ++j) {
      copy.as<T>()[j / copy.cols * copy.ld + j % copy.cols] = from_float<T>(p[j]);
    }
  });
}

}  // namespace

// The order of operations is that of torch.optim.AdamW: constants in double, each rounded once to f32.
void adamw(Exec& exec, const AdamW& op) {
  check(op);
  if (exec.dry) return;
  const double correction1 = 1.0 - std::pow(op.beta1, static_cast<double>(op.step));
  const double correction2 = 1.0 - std::pow(op.beta2, static_cast<double>(op.step));
  const Vec step_size = set1(static_cast<float>(op.lr / correction1));
  const Vec root2 = set1(static_cast<float>(std::sqrt(correction2)));
  const Vec eps = set1(static_cast<float>(op.eps));
  const Vec weight1 = set1(static_cast<float>(1.0 - op.beta1));
  const Vec beta2 = set1(static_cast<float>(op.beta2));
  const Vec weight2 = set1(static_cast<float>(1.0 - op.beta2));
  const Vec grad_scale = set1(op.grad_scale);
  std::vector<Piece> pieces;
  for (int64_t i = 0; i < op.count; ++i) {
    for (int64_t first = 0; first < op.tensors[i].n; first += kBlock) {
      pieces.push_back({i, first, std::min(kBlock, op.tensors[i].n - first)});
    }
  }
  exec.threads->parallel_for(static_cast<int64_t>(pieces.size()), [&](int64_t task, int) {
    const Piece& piece = pieces[static_cast<size_t>(task)];
    const AdamWTensor& tensor = op.tensors[piece.tensor];
    float* p = tensor.p + piece.first;
    const float* g = tensor.g + piece.first;
    float* m = tensor.m + piece.first;
    float* v = tensor.v + piece.first;
    const Vec decay = set1(static_cast<float>(1.0 - op.lr * static_cast<double>(tensor.weight_decay)));
    for_vectors(piece.count, [&](int64_t j, auto whole) {
      const int64_t n = piece.count - j;
      const Vec grad = load_part(g + j, whole, n) * grad_scale;
      const Vec old_m = load_part(m + j, whole, n);
      const Vec new_m = old_m + weight1 * (grad - old_m);
      const Vec new_v = load_part(v + j, whole, n) * beta2 + weight2 * (grad * grad);
      const Vec denominator = sqrt(new_v) / root2 + eps;
      const Vec decayed = load_part(p + j, whole, n) * decay;
      store_part(m + j, new_m, whole, n);
      store_part(v + j, new_v, whole, n);
      store_part(p + j, decayed - step_size * (new_m / denominator), whole, n);
    });
    if (tensor.copy) store_copy(tensor.copy, tensor.p, piece.first, piece.count);
  });
}

void global_norm(Exec& exec, const GlobalNorm& op) {
  check(op);
  if (exec.dry) return;
  struct Run {
    const float* data;
    int64_t count;
  };
  std::vector<Run> runs;
  for (int64_t i = 0; i < op.count; ++i) {
    const View& v = op.gradients[i];
    const bool contiguous = v.ld == v.cols;
    const int64_t length = contiguous ? v.count() : v.cols;
    for (int64_t r = 0; r < (contiguous ? 1 : v.rows); ++r) {
      for (int64_t first = 0; first < length; first += kBlock) {
        runs.push_back({row<float>(v, r) + first, std::min(kBlock, length - first)});
      }
    }
  }
  std::vector<double> sums(runs.size());
  exec.threads->parallel_for(static_cast<int64_t>(runs.size()), [&](int64_t task, int) {
    const Run& run = runs[static_cast<size_t>(task)];
    double lanes[8] = {};
    int64_t i = 0;
    for (; i + 8 <= run.count; i += 8) {
      for (int l = 0; l < 8; ++l)
        lanes[l] += static_cast<double>(run.data[i + l]) * static_cast<double>(run.data[i + l]);
    }
    for (int l = 0; i < run.count; ++i, ++l)
      lanes[l] += static_cast<double>(run.data[i]) * static_cast<double>(run.data[i]);
    double sum = 0;
    for (double lane : lanes) sum += lane;
    sums[static_cast<size_t>(task)] = sum;
  });
  double total = 0;
  for (double sum : sums) total += sum;
  *op.norm = std::sqrt(total);
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
