// How a block searches a row of scores: the element at which sums of weights, in falling order or in the
// order of ids, pass a bound. Nothing is sorted and nothing depends on the order of additions: weights are
// whole numbers, multiples of 2^-44.
#pragma once

#include "cuda/rows.cuh"
#include "cuda/values.cuh"

namespace fintune {
namespace cuda {

constexpr int kSampleThreads = 512;
constexpr int kSampleWarps = kSampleThreads / 32;
constexpr int kBuckets = 8, kBucketBits = 3;
constexpr int kList = 2048;  // elements that are copied to shared memory once no others matter

// A bucket's word of one thread: number of elements above bit 54, their mass below.
constexpr int kCountShift = 54;
// Most elements of one thread, so that their number takes 10 bits and their mass 54.
constexpr int kMostOfThread = 1020;
constexpr int64_t kMostVocab = int64_t{kMostOfThread} * kSampleThreads;

using Mass = uint64_t;
constexpr double kMassUnit = 0x1p-44;

struct SampleShared {
  uint64_t words[kBuckets][kSampleThreads];
  float list_scores[kList];
  int32_t list_ids[kList];
  Mass bucket_mass[kBuckets], warp_mass[kSampleWarps];
  int bucket_count[kBuckets], warp_count[kSampleWarps];
  float best[kSampleWarps];
  int32_t best_id[kSampleWarps];
  int bad[kSampleWarps];
  uint32_t found_key;
  int found;
};

// What is searched, in rising order of ids: the whole row, or what was copied to the list.
struct Source {
  float* scores;
  const int32_t* ids;  // null: 0, 1, 2, ...
  int count;
  bool wide;
  GPU_FN int32_t id(int i) const { return ids == nullptr ? i : ids[i]; }
};

// Each warp has a run of the source; 128 elements at a time, four neighbours a lane. body(v, i, n): the
// first n of v are the elements i .. i + n - 1, n may be 0 or less. All lanes come together.
template <typename Body>
GPU_FN void for_warp(const Source& s, int warp, Body&& body) {
  const int run = (s.count + kSampleWarps * 128 - 1) / (kSampleWarps * 128) * 128;
  const int last = gpu::min((warp + 1) * run, s.count);
  int i = warp * run + gpu::lane() * 4;
  float next[4];
  load4(s.scores + i, last - i, s.wide, next);
  for (int first = warp * run; first < last; first += 128, i += 128) {
    const float v[4] = {next[0], next[1], next[2], next[3]};
    load4(s.scores + i + 128, last - i - 128, s.wide, next);  // while the body works
    body(v, i, last - i);
  }
}

// body(score, i) for all elements of this thread.
template <typename Body>
GPU_FN void for_each(const Source& s, Body&& body) {
  for_warp(s, gpu::warp(), [&](const float(&v)[4], int i, int n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (e < n) body(v[e], i + e);
    }
  });
}

// The sum over the lanes up to this one.
template <typename T>
GPU_FN T warp_prefix(T v) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const T lower = gpu::shuffle_up(v, distance);
    if (gpu::lane() >= distance) v += lower;
  }
  return v;
}

// Copies the elements that keep(score) wants to the list, at most kList, and goes on with them.
template <typename Keep>
GPU_FN void shorten(Source& s, SampleShared& shared, Keep&& keep) {
  int mine = 0;
  for_each(s, [&](float score, int) { mine += keep(score) ? 1 : 0; });
  mine = gpu::warp_sum(mine);
  if (gpu::lane() == 0) shared.warp_count[gpu::warp()] = mine;
  GPU_BARRIER();
  int next = 0, total = 0;
  for (int w = 0; w < kSampleWarps; ++w) {
    if (w < gpu::warp()) next += shared.warp_count[w];
    total += shared.warp_count[w];
  }
  for_warp(s, gpu::warp(), [&](const float(&v)[4], int i, int n) {
    int wanted = 0;
#pragma unroll
    for (int e = 0; e < 4; ++e) wanted += e < n && keep(v[e]) ? 1 : 0;
    const int up_to = warp_prefix(wanted);
    int at = next + up_to - wanted;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (e < n && keep(v[e])) {
        shared.list_scores[at] = v[e];
        shared.list_ids[at] = s.id(i + e);
        ++at;
      }
    }
    next += gpu::shuffle(up_to, 31);
  });
  GPU_BARRIER();
  s = Source{shared.list_scores, shared.list_ids, total, true};
}

// Where sums in falling order of keys pass a bound.
struct Cut {
  uint32_t key;  // of the element that does it
  Mass above;    // of all elements with higher keys
  Mass bound;
};

// The sum of the words of each bucket over all threads.
GPU_FN void sum_buckets(SampleShared& shared) {
  GPU_BARRIER();
  if (gpu::warp() < kBuckets) {
    int count = 0;
    Mass mass = 0;
    for (int i = gpu::lane(); i < kSampleThreads; i += 32) {
      const uint64_t word = shared.words[gpu::warp()][i];
      count += static_cast<int>(word >> kCountShift);
      mass += word & ((uint64_t{1} << kCountShift) - 1);
    }
    count = gpu::warp_sum(count);
    mass = gpu::warp_sum(mass);
    if (gpu::lane() == 0) {
      shared.bucket_count[gpu::warp()] = count;
      shared.bucket_mass[gpu::warp()] = mass;
    }
  }
  GPU_BARRIER();
}

// The first element, in falling order of key(score), at which the sum of mass(score) (the same for equal
// keys) is greater than bound(sum of all), which must be less than the sum of all. Narrows the range of keys
// down by kBuckets a step.
template <typename Key, typename MassOf, typename Bound>
GPU_FN Cut find_cut(Source& s, SampleShared& shared, Key&& key, MassOf&& mass, Bound&& bound) {
  Cut cut{0, 0, 0};
  int higher = 0;  // elements above the range
  for (int shift = 32 - kBucketBits;; shift = gpu::max(shift - kBucketBits, 0)) {
    for (int b = 0; b < kBuckets; ++b) shared.words[b][gpu::thread()] = 0;
    for_each(s, [&](float score, int) {
      const uint32_t k = key(score), bucket = (k - cut.key) >> shift;
      if (k >= cut.key && bucket < kBuckets) {
        shared.words[bucket][gpu::thread()] += (uint64_t{1} << kCountShift) + mass(score);
      }
    });
    sum_buckets(shared);
    if (shift == 32 - kBucketBits) {
      Mass total = 0;
      for (int b = 0; b < kBuckets; ++b) total += shared.bucket_mass[b];
      cut.bound = bound(total);
    }
    int b = kBuckets - 1;
    for (; b > 0 && cut.above + shared.bucket_mass[b] <= cut.bound; --b) {
      cut.above += shared.bucket_mass[b];
      higher += shared.bucket_count[b];
    }
    const int within = shared.bucket_count[b];
    cut.key += static_cast<uint32_t>(b) << shift;
    if (shift == 0) return cut;
    if (within == 1) {
      for_each(s, [&](float score, int) {
        const uint32_t k = key(score);
        if (k >= cut.key && (k - cut.key) >> shift == 0) shared.found_key = k;
      });
      GPU_BARRIER();
      cut.key = shared.found_key;
      return cut;
    }
    if (s.ids == nullptr && higher + within <= kList) {
      shorten(s, shared, [&](float score) { return key(score) >= cut.key; });
    }
  }
}

// Where sums in the order of ids pass a bound.
struct Place {
  int index;  // of the source
  Mass total;
};

// The first element, in rising order of ids, at which the sum of mass(score) is greater than bound(sum of
// all), which must be less than the sum of all.
template <typename MassOf, typename Bound>
GPU_FN Place find_in_order(const Source& s, SampleShared& shared, MassOf&& mass, Bound&& bound) {
  Mass mine = 0;
  for_each(s, [&](float score, int) { mine += mass(score); });
  mine = gpu::warp_sum(mine);
  if (gpu::lane() == 0) shared.warp_mass[gpu::warp()] = mine;
  GPU_BARRIER();
  Mass total = 0;
  for (int w = 0; w < kSampleWarps; ++w) total += shared.warp_mass[w];
  Mass left = bound(total);
  int warp = 0;
  for (; shared.warp_mass[warp] <= left; ++warp) left -= shared.warp_mass[warp];
  if (warp == gpu::warp()) {
    bool passed = false;
    for_warp(s, warp, [&](const float(&v)[4], int i, int n) {
      Mass own = 0;
#pragma unroll
      for (int e = 0; e < 4; ++e) own += e < n ? mass(v[e]) : 0;
      const Mass up_to = warp_prefix(own);
      if (!passed && up_to > left && up_to - own <= left) {
        Mass sum = up_to - own;
        for (int e = 0; e < 4 && sum <= left; ++e) {
          sum += mass(v[e]);
          if (sum > left) shared.found = i + e;
        }
      }
      const Mass all = gpu::shuffle(up_to, 31);
      passed = passed || all > left;
      left -= passed ? 0 : all;
    });
  }
  GPU_BARRIER();
  return Place{shared.found, total};
}

}  // namespace cuda
}  // namespace fintune
