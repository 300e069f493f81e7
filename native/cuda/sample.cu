// Drawing tokens, see ops/sample.h. A block has a row: it finds thresholds and the token by narrowing down
// (sample_select.cuh), in the order of steps of the CPU. Sums are exact in multiples of 2^-44, so that they
// differ from the CPU's by less than its own weights do.
#include <vector>

#include "core/philox.h"
#include "cuda/gpu.h"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/sample_select.cuh"

namespace fintune {
namespace cuda {
namespace {

struct Task {
  SamplingOptions options;
  int64_t position;
  int64_t first_seen, seen_count;
};

struct Result {
  int32_t token;
  SampleStatus status;
  float logprob;
};

struct SampleArgs {
  Rows<float> logits;
  int vocab;
  const Task* tasks;
  const int32_t* seen;
  float* scores_before;  // of `seen`
  Result* results;
  Rows<float> distributions;
};

// A token that was seen twice is penalised once. Every thread has the ids that are its own modulo the number
// of threads, and reads all their scores before it writes one.
GPU_FN void penalise(const SampleArgs& a, const Task& task, float* logits) {
  const float p = task.options.repetition_penalty;
  const int32_t* const seen = a.seen + task.first_seen;
  float* const before = a.scores_before + task.first_seen;
  const auto own = [&](int32_t id) { return id % kSampleThreads == gpu::thread(); };
  for (int64_t i = 0; i < task.seen_count; ++i) {
    if (own(seen[i])) before[i] = logits[seen[i]];
  }
  for (int64_t i = 0; i < task.seen_count; ++i) {
    if (own(seen[i])) logits[seen[i]] = before[i] > 0 ? before[i] / p : before[i] * p;
  }
  GPU_BARRIER();
}

struct Best {
  float score;
  int32_t id;
  bool bad;  // NaN or +inf was seen
};

GPU_FN Best better(const Best& a, const Best& b) {
  const bool second = b.score > a.score || (b.score == a.score && b.id < a.id);
  return Best{second ? b.score : a.score, second ? b.id : a.id, a.bad || b.bad};
}

// The smallest id among the best; leaves the logits divided by the temperature, unless it is 0.
GPU_FN Best find_best(const Source& row, SampleShared& shared, float temperature) {
  const float infinity = word_as_float(0x7F800000u);
  Best best{-infinity, 0x7FFFFFFF, false};
  for_warp(row, gpu::warp(), [&](const float(&v)[4], int i, int n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (e < n) best = better(best, Best{v[e], i + e, !(v[e] < infinity)});
    }
    if (temperature == 0 || temperature == 1) return;
    const float scaled[4] = {v[0] / temperature, v[1] / temperature, v[2] / temperature, v[3] / temperature};
    store4(row.scores + i, n, row.wide, scaled);
  });
  for (int distance = 16; distance > 0; distance /= 2) {
    const float score = gpu::shuffle_xor(best.score, distance);
    const int32_t id = gpu::shuffle_xor(best.id, distance);
    best = better(best, Best{score, id, false});
  }
  const uint32_t bad = gpu::ballot(best.bad);
  if (gpu::lane() == 0) {
    shared.best[gpu::warp()] = best.score;
    shared.best_id[gpu::warp()] = best.id;
    shared.bad[gpu::warp()] = bad != 0;
  }
  GPU_BARRIER();
  best = Best{shared.best[0], shared.best_id[0], shared.bad[0] != 0};
  for (int w = 1; w < kSampleWarps; ++w) {
    best = better(best, Best{shared.best[w], shared.best_id[w], shared.bad[w] != 0});
  }
  best.bad = best.bad || best.score == -infinity;
  return best;
}

// Rises with the score, -0 just below 0.
GPU_FN uint32_t score_key(float score) {
  const uint32_t word = float_as_word(score);
  return word & 0x80000000u ? ~word : word | 0x80000000u;
}
GPU_FN float key_score(uint32_t key) { return word_as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key); }

// Unnormalised probabilities, 1 for the best, of the scores from `threshold` on; what a weight amounts to in
// whole numbers, and a key that rises with it. Weights below 2^-44 have no mass, those below 2^-46 the lowest
// key.
struct Weights {
  float top, threshold;
  GPU_FN float weight(float score) const { return score < threshold ? 0.0f : gpu::exp(score - top); }
  GPU_FN static uint32_t key(float weight) {
    const uint32_t word = float_as_word(weight), lowest = 0x28800000u;
    return word < lowest ? 0 : (word - lowest) << 3;
  }
  GPU_FN static float weight_of_key(uint32_t key) { return word_as_float((key >> 3) + 0x28800000u); }
  GPU_FN static Mass mass(float weight) { return static_cast<Mass>(weight * 0x1p44f); }
};

// The least number of units that is at least `fraction` of the total, less one: sums greater than it reach
// that fraction.
GPU_FN Mass just_below(float fraction, Mass total) {
  const double limit = static_cast<double>(fraction) * static_cast<double>(total);
  Mass units = static_cast<Mass>(limit);
  if (static_cast<double>(units) < limit) ++units;
  return gpu::min(units, total) - 1;
}

// A uniform double in [0, 1) with 53 bits, of the total.
GPU_FN Mass draw(const Task& task, Mass total) {
  const uint64_t stream = task.options.stream, seed = task.options.seed;
  const uint64_t at = static_cast<uint64_t>(task.position);
  const auto bits = philox4x32({static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32),
                                static_cast<uint32_t>(at), static_cast<uint32_t>(at >> 32)},
                               {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const double u =
      (static_cast<double>(bits[0] >> 5) * 67108864.0 + static_cast<double>(bits[1] >> 6)) * 0x1p-53;
  return gpu::min(static_cast<Mass>(u * static_cast<double>(total)), total - 1);
}

// Tokens that are kept: weight at least `least`, and among those with the weight `cut` the ids up to
// `cut_id`, none below.
struct Kept {
  float least, cut;
  int32_t cut_id;
  Mass total;
  GPU_FN bool operator()(float weight, int32_t id) const {
    return weight >= least && (weight > cut || (weight == cut && id <= cut_id));
  }
};

// The id of the element at which the sum passes the cut's bound: equal ones follow each other by their ids.
GPU_FN int32_t id_at(const Source& s, SampleShared& shared, const Weights& w, const Cut& cut) {
  const Mass each = Weights::mass(Weights::weight_of_key(cut.key));
  const Mass before = (cut.bound - cut.above) / each;
  const Place place = find_in_order(
      s, shared, [&](float score) -> Mass { return Weights::key(w.weight(score)) == cut.key ? 1 : 0; },
      [&](Mass) { return before; });
  return s.id(place.index);
}

template <typename Bound>
GPU_FN Cut find_weight(Source& s, SampleShared& shared, const Weights& w, Bound&& bound) {
  return find_cut(
      s, shared, [&](float score) { return Weights::key(w.weight(score)); },
      [&](float score) { return Weights::mass(w.weight(score)); }, bound);
}

GPU_FN Kept keep_top_p(Source& s, SampleShared& shared, const Weights& w, const SamplingOptions& o) {
  const Cut cut = find_weight(s, shared, w, [&](Mass total) { return just_below(o.top_p, total); });
  Kept kept{o.min_p, Weights::weight_of_key(cut.key), id_at(s, shared, w, cut), 0};
  const Mass each = Weights::mass(kept.cut);
  kept.total = cut.above + ((cut.bound - cut.above) / each + 1) * each;
  if (kept.least > kept.cut) {
    // Only the mass is of interest.
    kept.total = find_in_order(
                     s, shared,
                     [&](float score) -> Mass {
                       const float weight = w.weight(score);
                       return weight >= kept.least ? Weights::mass(weight) : 0;
                     },
                     [](Mass) { return 0; })
                     .total;
  }
  return kept;
}

GPU_KERNEL(kSampleThreads, 1) void draw_rows(SampleArgs a) {
  SampleShared& shared = *gpu::shared<SampleShared>();
  const Task& task = a.tasks[gpu::block_x()];
  const SamplingOptions o = task.options;
  Result& result = a.results[gpu::block_x()];
  float* const logits = a.logits.row(gpu::block_x());
  if (task.seen_count > 0) penalise(a, task, logits);
  const Source row{logits, nullptr, a.vocab, a.logits.wide};
  const Best best = find_best(row, shared, o.temperature);
  const float infinity = word_as_float(0x7F800000u);
  Weights w{o.temperature == 0 ? 0.0f : best.score / o.temperature, -infinity};
  const bool cold = !(w.top < infinity && w.top > -infinity);
  if (best.bad || cold) {
    if (gpu::thread() == 0) result = {0, best.bad ? SampleStatus::NoBest : SampleStatus::TooCold, 0.0f};
    return;
  }
  Kept kept{1, 1, best.id, Mass{1} << 44};  // greedy: the best alone
  int32_t token = best.id;
  float weight = 1;
  if (o.temperature > 0) {
    Source s = row;
    if (o.top_k > 0 && o.top_k < a.vocab) {
      const Cut cut = find_cut(
          s, shared, score_key, [](float) -> Mass { return 1; },
          [&](Mass) { return static_cast<Mass>(o.top_k - 1); });
      w.threshold = key_score(cut.key);
    }
    if (o.top_p < 1) {
      kept = keep_top_p(s, shared, w, o);
      Cut cut = find_weight(s, shared, w, [&](Mass) { return draw(task, kept.total); });
      token = id_at(s, shared, w, cut);
      weight = Weights::weight_of_key(cut.key);
    } else {
      kept = Kept{o.min_p, 0, 0x7FFFFFFF, 0};
      const Place place = find_in_order(
          s, shared,
          [&](float score) -> Mass {
            const float x = w.weight(score);
            return x >= kept.least ? Weights::mass(x) : 0;
          },
          [&](Mass total) { return draw(task, total); });
      kept.total = place.total;
      token = s.id(place.index);
      weight = w.weight(s.scores[place.index]);
    }
  }
  const double total = static_cast<double>(kept.total) * kMassUnit;
  if (gpu::thread() == 0) {
    const float p = static_cast<float>(static_cast<double>(weight) / total);
    result = {token, SampleStatus::Drawn, gpu::log(p)};
  }
  if (!a.distributions) return;
  float* const distribution = a.distributions.row(gpu::block_x());
  for_warp(row, gpu::warp(), [&](const float(&v)[4], int i, int n) {
    float p[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float x = o.temperature > 0 ? w.weight(v[e]) : v[e] == best.score ? 1.0f : 0.0f;
      p[e] = kept(x, i + e) ? static_cast<float>(static_cast<double>(x) / total) : 0.0f;
    }
    store4(distribution + i, n, a.distributions.wide, p);
  });
}

// Room for n ids, rounded up so that a batch whose sequences grow does not ask for a larger arena at every
// token.
size_t rounded_up(size_t n) {
  size_t room = 4096;
  while (room < n) room *= 2;
  return room;
}

}  // namespace

void sample(Exec& exec, const Sample& op) {
  check_sample(op, exec.dry);
  const int64_t rows = op.logits.rows, vocab = op.logits.cols;
  require(vocab <= kMostVocab, "sample: on CUDA a vocabulary has at most ", kMostVocab, " tokens, found ",
          vocab);
  std::vector<Task> tasks;
  int64_t seen_count = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const SampleRow& row = op.rows[r];
    const int64_t count = row.options.repetition_penalty == 1 ? 0 : row.seen_count;
    tasks.push_back({row.options, row.position, seen_count, count});
    seen_count += count;
  }
  std::vector<int32_t> seen(rounded_up(static_cast<size_t>(seen_count)));
  for (int64_t r = 0; r < rows && !exec.dry; ++r) {
    const Task& task = tasks[static_cast<size_t>(r)];
    std::copy(op.rows[r].seen, op.rows[r].seen + task.seen_count, seen.begin() + task.first_seen);
  }
  ArenaScope scope(*exec.arena);
  const Task* const device_tasks = to_device(exec, tasks.data(), rows);
  int32_t* const device_seen =
      static_cast<int32_t*>(exec.arena->alloc(seen.size() * sizeof(int32_t), MemoryKind::Workspace));
  if (!exec.dry && seen_count > 0) {
    exec.device->upload(device_seen, seen.data(), static_cast<size_t>(seen_count) * sizeof(int32_t));
  }
  float* const before = exec.arena->floats(static_cast<int64_t>(seen.size()), MemoryKind::Workspace);
  Result* const device_results = static_cast<Result*>(
      exec.arena->alloc(static_cast<size_t>(rows) * sizeof(Result), MemoryKind::Workspace));
  launch(exec, "sample", draw_rows, grid_of(rows), kSampleThreads, sizeof(SampleShared),
         SampleArgs{rows_of<float>(op.logits), static_cast<int>(vocab), device_tasks, device_seen, before,
                    device_results, rows_of<float>(op.distributions)});
  if (exec.dry || rows == 0) return;
  std::vector<Result> results(static_cast<size_t>(rows));
  exec.device->download(results.data(), device_results, results.size() * sizeof(Result));
  for (int64_t r = 0; r < rows; ++r) {
    op.tokens[r] = results[static_cast<size_t>(r)].token;
    if (op.logprobs) op.logprobs[r] = results[static_cast<size_t>(r)].logprob;
  }
  check_drawn(op, [&](int64_t r) { return results[static_cast<size_t>(r)].status; });
}

}  // namespace cuda
}  // namespace fintune
