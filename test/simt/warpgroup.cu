// Products of warpgroups: operands laid out by the tables of the PTX ISA ("Register Fragments and Shared
// Memory Matrix Layouts"), apart from the executor's own formulas, and what it must say about wrong use.
#include "cuda/wgmma.h"
#include "selftest.h"

namespace selftest {
namespace {

constexpr int kColumns = 128, kThreads = 128;

struct Matrices {
  float a[64][16], b[16][kColumns], c[64][kColumns], d[64][kColumns];
};

// How an operand lies: lines of `chunks` times 16 bytes, of which the chunks change places, 8 lines an atom.
// `swizzle` is the descriptor's code. Lines lie along the depth, or along the columns.
struct Place {
  int chunks, swizzle;
  bool along_columns;
};

// The byte of the element (line, column or depth) from the operand's start, by the pictures of the ISA:
// within an atom rows are 16 * chunks bytes, and where there are four (two) chunks it takes two (four) rows
// to change places. Atoms `stride` apart down the lines; `leading` apart across where a line has more than
// one.
GPU_FN int byte_of(const Place& p, int line, int element, int leading, int stride) {
  const int atom = line / 8 * stride + element / (8 * p.chunks) * leading;
  const int chunk = element / 8 % p.chunks;
  const int mixed = chunk ^ (line % 8 * p.chunks / 8);
  return atom + line % 8 * 16 * p.chunks + 16 * mixed + 2 * (element % 8);
}

// Steps of 16 of the depth: operands begin `skip` steps into the line (128 bytes) or so many lines on.
template <class T>
GPU_KERNEL(kThreads, 1)
void product_kernel(Matrices* m, Place a_place, Place b_place, bool a_in_registers, int skip) {
  const int t = gpu::thread(), l = gpu::lane(), base = gpu::aligned_offset(1024);
  constexpr int kA = 0, kB = 16384;
  // Without swizzle, columns and lines change the roles of the two offsets; see Place for the rest.
  const int a_leading = a_place.chunks == 1 ? 1024 : 16,
            a_stride = a_place.chunks == 1 ? 128 : 128 * a_place.chunks;
  const int lines = b_place.along_columns ? 16 * (skip + 1) : kColumns;
  const int atom = 128 * b_place.chunks;
  const int stride = atom, leading = lines / 8 * atom;
  for (int i = t; i < 64 * 16; i += kThreads) {
    const int at =
        byte_of(a_place, i / 16, 16 * (a_place.chunks == 1 ? 0 : skip) + i % 16, a_leading, a_stride);
    *gpu::shared<uint16_t>(base + kA + at) = from_float<T>(m->a[i / 16][i % 16]).bits;
  }
  for (int i = t; i < 16 * kColumns; i += kThreads) {
    const int k = i / kColumns, n = i % kColumns;
    const int at = b_place.along_columns
                       ? byte_of(b_place, 16 * skip + k, n, leading, stride)
                       : byte_of(b_place, n, 16 * (b_place.chunks == 1 ? 0 : skip) + k, leading, stride);
    *gpu::shared<uint16_t>(base + kB + at) = from_float<T>(m->b[k][n]).bits;
  }
  float c[kColumns / 8][4];
  uint32_t a[1][4];
  for (int i = 0; i < kColumns / 2; ++i) {
    c[i / 4][i % 4] = m->c[16 * gpu::warp() + l / 4 + (i % 4 < 2 ? 0 : 8)][i / 4 * 8 + 2 * (l % 4) + i % 2];
  }
  for (int i = 0; i < 4; ++i) {
    const float* row = m->a[16 * gpu::warp() + l / 4 + (i % 2 == 0 ? 0 : 8)] + 2 * (l % 4) + (i < 2 ? 0 : 8);
    a[0][i] = static_cast<uint32_t>(from_float<T>(row[0]).bits) |
              static_cast<uint32_t>(from_float<T>(row[1]).bits) << 16;
  }
  GPU_PROXY_FENCE();
  GPU_BARRIER();
  const auto descriptor = [&](int byte, const Place& p, int lead, int down) {
    const uint64_t start = gpu::shared_address(gpu::shared<char>(base + byte)) >> 4;
    return start | static_cast<uint64_t>(lead >> 4) << 16 | static_cast<uint64_t>(down >> 4) << 32 |
           static_cast<uint64_t>(p.swizzle) << 62;
  };
  const int depth = 32 * skip;
  const uint64_t da = descriptor(kA + (a_place.chunks == 1 ? 0 : depth), a_place, a_leading, a_stride);
  uint64_t db = descriptor(kB + (b_place.chunks == 1 ? 0 : depth), b_place, leading, stride);
  if (b_place.along_columns) {
    const int start = kB + 2 * skip * atom;
    // Without swizzle `stride` is from 8 columns to the next, `leading` from 8 of the depth to the next.
    db = b_place.chunks == 1 ? descriptor(start, b_place, stride, leading)
                             : descriptor(start, b_place, leading, stride);
  }
  gpu::pin(c);
  GPU_WGMMA_FENCE();
  if (a_in_registers) {
    gpu::wgmma_transposed<T, kColumns>(c, a[0], db);
  } else {
    gpu::wgmma_shared<T, kColumns>(c, da, db, true);
  }
  gpu::wgmma_commit();
  GPU_WGMMA_WAIT(0);
  for (int i = 0; i < kColumns / 2; ++i) {
    m->d[16 * gpu::warp() + l / 4 + (i % 4 < 2 ? 0 : 8)][i / 4 * 8 + 2 * (l % 4) + i % 2] = c[i / 4][i % 4];
  }
}

template <class T>
void check_product(Place a, Place b, bool a_in_registers, int skip) {
  Matrices m;
  unsigned state = 7;
  const auto draw = [&] {
    return static_cast<float>(static_cast<int>((state = state * 1664525u + 1013904223u) >> 27) - 16);
  };
  for (auto& row : m.a)
    for (float& x : row) x = draw();
  for (auto& row : m.b)
    for (float& x : row) x = draw();
  for (auto& row : m.c)
    for (float& x : row) x = draw();
  executor().capability = 90;
  for_schedules(1, [&] {
    Memory<Matrices> memory(std::vector<Matrices>{m});
    launch(product_kernel<T>, {}, kThreads, 65536, memory.get(), a, b, a_in_registers, skip);
    const std::vector<Matrices> all = memory.values();
    const Matrices& got = all[0];
    for (int r = 0; r < 64; ++r) {
      for (int n = 0; n < kColumns; ++n) {
        float sum = m.c[r][n];
        for (int k = 0; k < 16; ++k) sum += m.a[r][k] * m.b[k][n];
        expect(got.d[r][n] == sum, "row ", r, ", column ", n, ": ", got.d[r][n], ", expected ", sum, "; ",
               b.chunks, " chunks, ", skip, " steps on");
      }
    }
  });
  executor().capability = 80;
}

constexpr Place kPlaces[] = {{8, 1, false}, {4, 2, false}, {2, 3, false}, {1, 0, false}};

CASE("wgmma reads operands by lines of the depth in each swizzle, exactly on integers") {
  for (const Place& p : kPlaces) {
    for (int skip = 0; skip < (p.chunks > 1 ? p.chunks / 2 : 1); ++skip)
      check_product<bf16>(p, p, false, skip);
  }
  check_product<f16>(kPlaces[0], kPlaces[0], false, 3);
  check_product<f16>(kPlaces[0], kPlaces[3], false, 0);
}
CASE("wgmma reads operands by lines of the columns in each swizzle, the other from registers") {
  for (Place p : kPlaces) {
    p.along_columns = true;
    for (int skip = 0; skip < 2; ++skip) check_product<bf16>(p, p, true, skip);
  }
  check_product<f16>({8, 1, true}, {8, 1, true}, true, 2);
}

enum class Fault {
  None,
  NoFence,
  ChangedSinceFence,
  ChangedOperand,
  ChangedAccumulator,
  NoProxyFence,
  ProxyFenceOfOthers,
  WriteUnderProduct,
  WriteBehindWait,
  NoWait,
  OtherDescriptors,
  OtherProducts,
  ThreeWarps,
  Beyond,
  Meaningless,
};

GPU_KERNEL(kThreads, 1) void faulty_kernel(Fault fault, float* out) {
  const int t = gpu::thread(), base = gpu::aligned_offset(1024);
  constexpr int kB = 8192, kBytes = 24576;
  for (int at = 16 * t; at < kBytes; at += 16 * kThreads)
    gpu::store16(gpu::shared<char>(base + at), gpu::Vec16{});
  if (fault != Fault::NoProxyFence && (fault != Fault::ProxyFenceOfOthers || gpu::warp() != 2))
    GPU_PROXY_FENCE();
  GPU_BARRIER();
  float c[8][4] = {};
  uint32_t a[1][4] = {};
  uint64_t da = gpu::swizzled_operand(gpu::shared<char>(base), 16, 1024);
  uint64_t db = gpu::swizzled_operand(gpu::shared<char>(base + kB), 16, 1024);
  if (fault == Fault::OtherDescriptors && t == 77) db += 2;
  if (fault == Fault::Beyond) db += 65536 / 16;
  if (fault == Fault::Meaningless) db |= uint64_t{1} << 47;
  if (fault == Fault::ThreeWarps && gpu::warp() == 3) return;
  if (fault != Fault::NoFence) GPU_WGMMA_FENCE();
  gpu::wgmma_shared<bf16, 64>(c, da, db, fault != Fault::OtherProducts || gpu::warp() > 0);
  gpu::wgmma_transposed<bf16, 64>(c, a[0], db);
  gpu::wgmma_commit();
  if (fault == Fault::ChangedOperand && t == 5) a[0][3] = 1;
  if (fault == Fault::ChangedAccumulator && t == 6) c[7][3] = 1;
  if (fault == Fault::WriteUnderProduct) *gpu::shared<float>(base + kB + 4 * t) = 1;
  if (fault != Fault::NoWait) GPU_WGMMA_WAIT(0);
  if (fault == Fault::WriteBehindWait) *gpu::shared<float>(base + kB + 4 * (127 - t)) = 1;
  if (fault == Fault::ChangedSinceFence) {
    c[0][1] += 1;
    gpu::wgmma_shared<bf16, 64>(c, da, db, true);
    gpu::wgmma_commit();
    GPU_WGMMA_WAIT(0);
  }
  out[t] = c[0][0];
}

void expect_found(Fault fault, std::vector<std::string> parts) {
  executor().capability = 90;
  const auto run = [](Fault f) {
    Memory<float> out(kThreads);
    launch(faulty_kernel, {}, kThreads, 40960, f, out.get());
    for (float x : out.values()) expect(x == 0, "a product of zeros: ", x);
  };
  parts.push_back("kernel kernel, block (");
  expect_fault([&] { run(fault); }, parts);
  run(Fault::None);
  executor().capability = 80;
}

CASE("fault: wgmma without a fence before it") {
  expect_found(Fault::NoFence, {"takes accumulators that were changed since the last wgmma.fence"});
}
CASE("fault: accumulators change between two products without a fence") {
  expect_found(Fault::ChangedSinceFence, {"takes accumulators that were changed since the last wgmma.fence"});
}
CASE("fault: operands change while wgmma is under way") {
  expect_found(Fault::ChangedOperand, {"thread 5: changes operands of the wgmma in warpgroup.cu:"});
}
CASE("fault: shared memory without a fence between the proxies") {
  expect_found(Fault::NoProxyFence, {"wgmma in warpgroup.cu:", "with no fence between the proxies"});
}
CASE("fault: one warp's shared memory without a fence between the proxies") {
  // Others' fences came before the barrier, and so before this warp's writes were theirs.
  expect_found(Fault::ProxyFenceOfOthers, {"wgmma in warpgroup.cu:", "with no fence between the proxies"});
}
CASE("fault: a write to what wgmma reads, before the wait") {
  expect_found(Fault::WriteUnderProduct, {"while a wgmma that reads it is under way"});
}
CASE("fault: the kernel ends before wgmma does") {
  expect_found(Fault::NoWait, {"ends while its wgmma in warpgroup.cu:", " is under way: wait for it"});
}
CASE("fault: descriptors that differ within a warpgroup") {
  expect_found(Fault::OtherDescriptors,
               {"thread 77: comes to wgmma in warpgroup.cu:", "with other descriptors"});
}
CASE("fault: products that differ within a warpgroup") {
  expect_found(Fault::OtherProducts, {"comes to wgmma in warpgroup.cu:", "of its warpgroup to another in"});
}
CASE("fault: a warpgroup of three warps") {
  expect_found(Fault::ThreeWarps,
               {"no warp can go on: warp 0 waits at wgmma in warpgroup.cu:", "warp 3 has left"});
}
CASE("fault: an operand beyond shared memory") {
  expect_found(Fault::Beyond, {"wgmma in warpgroup.cu:", " of shared memory, which has 40960"});
}
CASE("fault: a descriptor with bits that mean nothing") {
  expect_found(Fault::Meaningless, {"has a descriptor with bits that mean nothing here"});
}
CASE("fault: a write behind one warp's wait, which orders no others") {
  expect_found(Fault::WriteBehindWait, {"of shared memory in warpgroup.cu:"});
}
CASE("accumulators that change while wgmma is under way are found where it is") {
  executor().capability = 90;
  executor().async_mode = simt::AsyncMode::Late;
  Memory<float> out(kThreads);
  std::string message;
  try {
    launch(faulty_kernel, {}, kThreads, 40960, Fault::ChangedAccumulator, out.get());
  } catch (const Error& e) {
    message = e.what();
  }
  executor().async_mode = simt::AsyncMode::Random;
  executor().capability = 80;
  expect(message.find("thread 6: changes accumulators of the wgmma in warpgroup.cu:") != std::string::npos,
         message);
}
CASE("an sm_80 and an sm_100 have no wgmma") {
  for (int capability : {80, 100}) {
    executor().capability = capability;
    Memory<float> out(kThreads);
    expect_fault([&] { launch(faulty_kernel, {}, kThreads, 40960, Fault::None, out.get()); },
                 {"needs sm_90a, the device is sm_"});
  }
  executor().capability = 80;
}

}  // namespace
}  // namespace selftest
