// Drawing tokens, see ops/sample.h. A row is one thread's work: its result cannot depend on the batch.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "core/philox.h"
#include "cpu/isa.h"
#include "cpu/rows.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {
namespace {

// Tokens that a distribution keeps: ids with unnormalised probabilities.
struct Kept {
  int32_t* ids;
  float* weights;
  int64_t count;
};

// Memory of one worker, [V] each.
struct Workspace {
  int32_t* ids;
  float* weights;
  float* spare;
  uint64_t* keys;
};

Workspace take_workspace(Arena& arena, int64_t vocab) {
  const size_t n = static_cast<size_t>(vocab);
  return {static_cast<int32_t*>(arena.alloc(n * 4, MemoryKind::Workspace)),
          arena.floats(vocab, MemoryKind::Workspace), arena.floats(vocab, MemoryKind::Workspace),
          static_cast<uint64_t*>(arena.alloc(n * 8, MemoryKind::Workspace))};
}

// A token that was seen twice is penalised once: the scores are kept in `before` [V] as they were.
void penalise(const SampleRow& row, float* logits, float* before) {
  const float p = row.options.repetition_penalty;
  if (p == 1) return;
  for (int64_t i = 0; i < row.seen_count; ++i) before[row.seen[i]] = logits[row.seen[i]];
  for (int64_t i = 0; i < row.seen_count; ++i) {
    const float x = before[row.seen[i]];
    logits[row.seen[i]] = x > 0 ? x / p : x * p;
  }
}

// The smallest id among the best; -1 where there is no best: NaN, +inf, or nothing above -inf.
int32_t best_token(const float* logits, int64_t vocab) {
  Vec top = set1(-std::numeric_limits<float>::infinity());
  Vec poison = zero();  // 0 * x is NaN for NaN and infinities; -inf alone is a legal way to forbid a token
  for_vectors(vocab, [&](int64_t j, auto whole) {
    const Vec x = load_part(logits + j, whole, vocab - j);
    top = max(
        top,
        whole ? x : first_n(x, static_cast<int>(vocab - j), set1(-std::numeric_limits<float>::infinity())));
    poison = poison + zero() * max(set1(-1.0f), x);
  });
  const float best = reduce_max(top);
  if (!(reduce_add(poison) == 0) || !std::isfinite(best)) return -1;
  return static_cast<int32_t>(std::find(logits, logits + vocab, best) - logits);
}

double total_weight(const Kept& kept) {
  double sum = 0;
  for (int64_t i = 0; i < kept.count; ++i) sum += kept.weights[i];
  return sum;
}

// Rises as the weight falls, and with the id among equals: a weight is not negative, so its bits order as it
// does.
uint64_t rank_key(int32_t id, float weight) {
  uint32_t bits;
  std::memcpy(&bits, &weight, 4);
  return (static_cast<uint64_t>(~bits) << 32) | static_cast<uint32_t>(id);
}

// Keeps a token while the probability before it, in falling order, is below top_p. Sorts only as far as
// needed.
void keep_top_p(Kept& kept, float top_p, uint64_t* keys) {
  const double limit = static_cast<double>(top_p) * total_weight(kept);
  for (int64_t i = 0; i < kept.count; ++i) keys[i] = rank_key(kept.ids[i], kept.weights[i]);
  double before = 0;
  int64_t sorted = 0, count = 0;
  while (count < kept.count && (count == 0 || before < limit)) {
    if (count == sorted) {
      sorted = std::min(kept.count, std::max<int64_t>(256, sorted * 4));
      if (sorted < kept.count) std::nth_element(keys + count, keys + sorted, keys + kept.count);
      std::sort(keys + count, keys + sorted);
    }
    const uint32_t bits = ~static_cast<uint32_t>(keys[count] >> 32);
    kept.ids[count] = static_cast<int32_t>(keys[count] & 0xFFFFFFFFu);
    std::memcpy(&kept.weights[count], &bits, 4);
    before += kept.weights[count];
    ++count;
  }
  kept.count = count;
}

// A uniform double in [0, 1) with 53 bits.
double draw(const SamplingOptions& o, int64_t position) {
  const uint64_t at = static_cast<uint64_t>(position);
  const auto bits = philox4x32({static_cast<uint32_t>(o.stream), static_cast<uint32_t>(o.stream >> 32),
                                static_cast<uint32_t>(at), static_cast<uint32_t>(at >> 32)},
                               {static_cast<uint32_t>(o.seed), static_cast<uint32_t>(o.seed >> 32)});
  return (static_cast<double>(bits[0] >> 5) * 67108864.0 + static_cast<double>(bits[1] >> 6)) * 0x1p-53;
}

// token, logprob and distribution (optional [V]) are the results.
SampleStatus draw_row(const SampleRow& row, float* logits, int64_t vocab, const Workspace& work,
                      int32_t* token, float* logprob, float* distribution) {
  const SamplingOptions& o = row.options;
  penalise(row, logits, work.spare);
  const int32_t best = best_token(logits, vocab);
  if (best < 0) return SampleStatus::NoBest;
  if (o.temperature == 0) {
    *token = best;
    *logprob = 0;
    if (distribution) {
      std::fill(distribution, distribution + vocab, 0.0f);
      distribution[best] = 1;
    }
    return SampleStatus::Drawn;
  }
  // The best is kept apart: a tiny temperature must not turn it into inf - inf.
  const float top = logits[best] / o.temperature;
  if (!std::isfinite(top)) return SampleStatus::TooCold;
  const Vec divisor = set1(o.temperature);
  for_vectors(vocab, [&](int64_t j, auto whole) {
    store_part(logits + j, load_part(logits + j, whole, vocab - j) / divisor, whole, vocab - j);
  });

  float threshold = -std::numeric_limits<float>::infinity();
  if (o.top_k > 0 && o.top_k < vocab) {
    std::copy(logits, logits + vocab, work.spare);
    std::nth_element(work.spare, work.spare + o.top_k - 1, work.spare + vocab, std::greater<float>());
    threshold = work.spare[o.top_k - 1];
  }
  Kept kept{work.ids, work.weights, 0};
  for (int64_t j = 0; j < vocab; ++j) {
    if (logits[j] < threshold) continue;
    kept.ids[kept.count] = static_cast<int32_t>(j);
    kept.weights[kept.count] = logits[j];
    ++kept.count;
  }
  const Vec highest = set1(top);
  for_vectors(kept.count, [&](int64_t j, auto whole) {
    const int64_t n = kept.count - j;
    store_part(kept.weights + j, exp(load_part(kept.weights + j, whole, n) - highest), whole, n);
  });
  if (o.top_p < 1) keep_top_p(kept, o.top_p, work.keys);
  if (o.min_p > 0) {
    // The best has weight exp(0) = 1.
    int64_t count = 0;
    for (int64_t i = 0; i < kept.count; ++i) {
      if (kept.weights[i] < o.min_p) continue;
      kept.ids[count] = kept.ids[i];
      kept.weights[count++] = kept.weights[i];
    }
    kept.count = count;
  }

  const double total = total_weight(kept);
  const double target = draw(o, row.position) * total;
  double below = 0;
  int64_t drawn = -1;
  for (int64_t i = 0; i < kept.count; ++i) {
    if (kept.weights[i] == 0) continue;
    drawn = i;
    below += kept.weights[i];
    if (below > target) break;
  }
  *token = kept.ids[drawn];
  *logprob = static_cast<float>(std::log(static_cast<double>(kept.weights[drawn]) / total));
  if (distribution) {
    std::fill(distribution, distribution + vocab, 0.0f);
    for (int64_t i = 0; i < kept.count; ++i) {
      distribution[kept.ids[i]] = static_cast<float>(static_cast<double>(kept.weights[i]) / total);
    }
  }
  return SampleStatus::Drawn;
}

}  // namespace

void sample(Exec& exec, const Sample& op) {
  check_sample(op, exec.dry);
  const int64_t rows = op.logits.rows, vocab = op.logits.cols;
  ArenaScope scope(*exec.arena);
  std::vector<Workspace> workspaces;
  for (int worker = 0; worker < exec.threads->size(); ++worker) {
    workspaces.push_back(take_workspace(*exec.arena, vocab));
  }
  if (exec.dry) return;
  std::vector<SampleStatus> statuses(static_cast<size_t>(rows));
  exec.threads->parallel_for(rows, [&](int64_t r, int worker) {
    float logprob = 0;
    float* distribution = op.distributions ? row<float>(op.distributions, r) : nullptr;
    statuses[static_cast<size_t>(r)] =
        draw_row(op.rows[r], row<float>(op.logits, r), vocab, workspaces[static_cast<size_t>(worker)],
                 op.tokens + r, &logprob, distribution);
    if (op.logprobs) op.logprobs[r] = logprob;
  });
  check_drawn(op, [&](int64_t r) { return statuses[static_cast<size_t>(r)]; });
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
