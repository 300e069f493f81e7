// What is right passes with every schedule: the executor knows what barriers, named barriers, warp syncs and
// waits for copies order. And schedules differ by seed only.
#include <algorithm>
#include <set>

#include "selftest.h"

namespace selftest {
namespace {

GPU_KERNEL(128, 1) void reverse_kernel(const int* in, int* out) {
  int* s = gpu::shared<int>();
  const int t = gpu::thread();
  s[t] = in[t];
  GPU_BARRIER();
  out[t] = s[127 - t];
  GPU_BARRIER();
  s[t] = 2 * in[t];
  GPU_BARRIER();
  out[t] += s[(t + 1) % 128];
}

CASE("a barrier orders all threads of a block") {
  std::vector<int> in(128);
  for (int i = 0; i < 128; ++i) in[i] = i * i;
  for_schedules(10, [&] {
    Memory<int> from(in), to(128);
    launch(reverse_kernel, {}, 128, 512, from.get(), to.get());
    const std::vector<int> got = to.values();
    for (int t = 0; t < 128; ++t) expect(got[t] == in[127 - t] + 2 * in[(t + 1) % 128], "thread ", t);
  });
}

// Warps 0 and 1 work for each other and hand the result to warps 2 and 3, three times.
GPU_KERNEL(128, 1) void hand_over_kernel(int* out) {
  int* s = gpu::shared<int>();
  const int t = gpu::thread();
  for (int stage = 0; stage < 3; ++stage) {
    if (t < 64) {
      s[t] = stage * 100 + t;
      GPU_NAMED_BARRIER(2, 64);
      s[64 + t] = s[63 - t];
      GPU_NAMED_BARRIER(1, 128);
    } else {
      GPU_NAMED_BARRIER(1, 128);
      out[stage * 64 + t - 64] = s[t];
    }
    GPU_NAMED_BARRIER(3, 128);
  }
}

CASE("named barriers order the warps that take part, also by way of others") {
  for_schedules(10, [] {
    Memory<int> out(3 * 64);
    launch(hand_over_kernel, {}, 128, 512, out.get());
    const std::vector<int> got = out.values();
    for (int i = 0; i < 3 * 64; ++i) expect(got[i] == i / 64 * 100 + 63 - i % 64, "value ", i);
  });
}

// Global memory of a block is ordered by its barriers too.
GPU_KERNEL(64, 1) void neighbours_kernel(int* out) {
  uint16_t* s = gpu::shared<uint16_t>() + gpu::warp() * 32;
  int* own = out + gpu::block_x() * 64;
  const int l = gpu::lane(), t = gpu::thread();
  s[l] = static_cast<uint16_t>(l + gpu::block_x());
  GPU_WARP_SYNC();
  own[t] = s[l ^ 1];
  GPU_WARP_SYNC();
  s[l ^ 1] = 7;
  GPU_BARRIER();
  const int other = own[63 - t];
  GPU_BARRIER();
  own[t] = other + s[l ^ 1];
}

CASE("a warp sync orders the lanes; the halves of a word may belong to different lanes") {
  for_schedules(10, [] {
    Memory<int> out(128);
    launch(neighbours_kernel, {2, 1, 1}, 64, 128, out.get());
    const std::vector<int> got = out.values();
    for (int i = 0; i < 128; ++i) {
      const int lane = (63 - i % 64) % 32;
      expect(got[i] == (lane ^ 1) + i / 64 + 7, "value ", i, ": ", got[i]);
    }
  });
}

// A ring of three stages of copies; the source is changed behind their back by nobody.
GPU_KERNEL(64, 1) void ring_kernel(const float* in, float* out, int steps, int valid) {
  float* ring = gpu::shared<float>();
  const int t = gpu::thread();
  float sum = 0;
  for (int i = 0; i < 2; ++i) {
    if (i < steps) gpu::cp_async_16(ring + i * 256 + 4 * t, in + i * 256 + 4 * t, i * 256 + 4 * t < valid);
    gpu::cp_async_commit();
  }
  for (int i = 0; i < steps; ++i) {
    GPU_ASYNC_WAIT(1);
    GPU_BARRIER();
    const int next = i + 2;
    if (next < steps) {
      const bool there = next * 256 + 4 * t < valid;
      gpu::cp_async_16(ring + next % 3 * 256 + 4 * t, there ? in + next * 256 + 4 * t : nullptr, there);
    }
    gpu::cp_async_commit();
    for (int j = 0; j < 4; ++j) sum += ring[i % 3 * 256 + (4 * t + 64 * j + j) % 256];
  }
  out[t] = sum;
}

CASE("copies in the background are there after the wait, zeros where not valid") {
  for (int steps : {1, 2, 5}) {
    const int n = steps * 256, valid = n - 100;
    std::vector<float> in(static_cast<size_t>(valid));
    for (int i = 0; i < valid; ++i) in[i] = static_cast<float>(i + 1);
    for_schedules(10, [&] {
      Memory<float> from(in), to(64);
      launch(ring_kernel, {}, 64, 3 * 1024, from.get(), to.get(), steps, valid);
      const std::vector<float> got = to.values();
      for (int t = 0; t < 64; ++t) {
        float sum = 0;
        for (int i = 0; i < steps; ++i) {
          for (int j = 0; j < 4; ++j) {
            const int at = i * 256 + (4 * t + 64 * j + j) % 256;
            sum += at < valid ? in[at] : 0;
          }
        }
        expect(got[t] == sum, steps, " steps, thread ", t, ": ", got[t], ", expected ", sum);
      }
    });
  }
}

// The thread overwrites what it copies from between issue and wait: what it gets says when the copy landed.
GPU_KERNEL(32, 1) void landing_kernel(float* in, float* out) {
  float* s = gpu::shared<float>();
  const int t = gpu::thread();
  gpu::cp_async_16(s + 4 * t, in + 4 * t, true);
  gpu::cp_async_commit();
  GPU_WARP_SYNC();
  GPU_WARP_SYNC();
  in[4 * t] = 1;
  GPU_ASYNC_WAIT(0);
  out[t] = s[4 * t];
}

int landed_late(simt::AsyncMode mode, uint64_t seed) {
  executor().async_mode = mode;
  executor().set_seed(seed);
  Memory<float> in(std::vector<float>(128, 0.0f)), out(32);
  launch(landing_kernel, {}, 32, 512, in.get(), out.get());
  int late = 0;
  for (float x : out.values()) late += x == 1;
  executor().async_mode = simt::AsyncMode::Random;
  return late;
}

CASE("copies land at once, at the wait, or at a random point between") {
  int early = 0, late = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    expect(landed_late(simt::AsyncMode::Early, seed) == 0, "early");
    expect(landed_late(simt::AsyncMode::Late, seed) == 32, "late");
    const int n = landed_late(simt::AsyncMode::Random, seed);
    late += n;
    early += 32 - n;
  }
  expect(late > 100 && early > 100, "random: ", early, " early and ", late, " late");
}

GPU_KERNEL(64, 1) void trace_kernel() {
  note(gpu::block_x() * 1000 + gpu::thread());
  GPU_BARRIER();
  note(gpu::block_x() * 1000 + 500 + gpu::thread());
}

std::vector<int> trace(uint64_t seed) {
  executor().set_seed(seed);
  take_notes();
  launch(trace_kernel, {4, 1, 1}, 64, 0);
  return take_notes();
}

CASE("a seed gives one schedule, different seeds different ones; blocks, warps and lanes come in any order") {
  std::set<std::vector<int>> all;
  std::set<int> first_blocks, first_threads;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<int> a = trace(seed);
    expect(a == trace(seed), "seed ", seed, " gave two schedules");
    std::vector<int> sorted = a;
    std::sort(sorted.begin(), sorted.end());
    expect(sorted.size() == 4 * 128 && std::set<int>(a.begin(), a.end()).size() == a.size(),
           "not all ran once");
    all.insert(a);
    first_blocks.insert(a[0] / 1000);
    first_threads.insert(a[0] % 1000);
  }
  expect(all.size() == 20, "only ", all.size(), " schedules of 20");
  expect(first_blocks.size() == 4, "blocks begin with ", first_blocks.size(), " of 4");
  expect(first_threads.size() > 10, "threads begin with ", first_threads.size());
}

}  // namespace
}  // namespace selftest
