// Kernels whose traffic is known by hand, against what the executor counts for them.
#include "selftest.h"
#include "simt/traffic.h"

namespace selftest {
namespace {

// What one launch moves.
template <class... P, class... A>
simt::KernelTraffic traffic_of(void (*kernel)(P...), int threads, size_t shared_bytes, A&&... arguments) {
  executor().count_traffic(true);
  launch(kernel, {}, threads, shared_bytes, std::forward<A>(arguments)...);
  const std::vector<simt::KernelTraffic> all = executor().traffic()->report(true);
  executor().count_traffic(false);
  expect(all.size() == 1 && all[0].launches == 1, "one launch of one kernel, found ", all.size());
  return all[0];
}

void expect_cost(const char* what, simt::Cost found, int64_t taken, int64_t least) {
  expect(found.taken == taken && found.least == least, what, ": ", found.taken, " of at least ", found.least,
         ", expected ", taken, " of ", least);
}

GPU_KERNEL(32, 1) void stride_kernel(int stride) {
  float* const x = gpu::shared<float>();
  x[gpu::lane() * stride] = 1.0f;
}

CASE(
    "a warp that writes shared memory in steps of 1, 2, 8, 32 and 33 words takes 1, 2, 8, 32 and 1 "
    "wavefronts") {
  for (const int stride : {1, 2, 8, 32, 33}) {
    const simt::KernelTraffic t = traffic_of(stride_kernel, 32, 33 * 32 * 4, stride);
    expect_cost("wavefronts", t.shared, stride == 33 ? 1 : stride, 1);
    expect_cost("sectors", t.global, 0, 0);
    expect(t.lines.size() == (stride == 1 || stride == 33 ? 0 : 1), "lines that take more: ", t.lines.size());
    if (t.lines.empty()) continue;
    expect(t.lines[0].shared && t.lines[0].write && t.lines[0].line.rfind("traffic.cu:", 0) == 0, "line ",
           t.lines[0].line);
  }
}

// One word for all lanes, then four words for each: eight lanes at a time.
GPU_KERNEL(32, 1) void widths_kernel(int stride) {
  float* const x = gpu::shared<float>();
  gpu::store16(x + gpu::lane() * stride, gpu::Vec16{});
  GPU_WARP_SYNC();
  const float first = x[0];
  if (first != 0.0f) gpu::trap();
}

CASE("16 bytes a lane take four wavefronts side by side, more where eight lanes share banks") {
  expect_cost("side by side", traffic_of(widths_kernel, 32, 16384, 4).shared, 4 + 1, 4 + 1);
  expect_cost("every eighth word", traffic_of(widths_kernel, 32, 16384, 8).shared, 8 + 1, 4 + 1);
  expect_cost("every 32nd word", traffic_of(widths_kernel, 32, 16384, 32).shared, 32 + 1, 4 + 1);
  expect_cost("padded", traffic_of(widths_kernel, 32, 16384, 36).shared, 4 + 1, 4 + 1);
}

// A square of 32 x 32 is written in rows and read in columns.
GPU_KERNEL(32, 1) void transpose_kernel(const float* from, float* to, int pitch) {
  float* const x = gpu::shared<float>();
  for (int row = 0; row < 32; ++row) x[row * pitch + gpu::lane()] = from[row * 32 + gpu::lane()];
  GPU_WARP_SYNC();
  for (int row = 0; row < 32; ++row) to[row * 32 + gpu::lane()] = x[gpu::lane() * pitch + row];
}

CASE("a transposition needs a column of padding") {
  const Memory<float> from(1024), to(1024);
  const auto moved = [&](int pitch) {
    return traffic_of(transpose_kernel, 32, 33 * 32 * 4, from.get(), to.get(), pitch);
  };
  expect_cost("without", moved(32).shared, 32 + 32 * 32, 64);
  expect_cost("with", moved(33).shared, 64, 64);
  const simt::KernelTraffic t = moved(33);
  expect_cost("sectors", t.global, 2 * 128, 2 * 128);
  expect(t.bytes_read == 4096 && t.different_read == 4096, "bytes read: ", t.bytes_read);
  expect(t.bytes_written == 4096 && t.different_written == 4096, "bytes written: ", t.bytes_written);
}

// Rows of 8 values of 16 bits, `pitch` values apart, for ldmatrix.
GPU_KERNEL(32, 1) void matrices_kernel(int pitch, int swizzled) {
  uint16_t* const m = gpu::shared<uint16_t>();
  const int l = gpu::lane(), chunk = swizzled != 0 ? l % 8 : 0;
  uint16_t* const row = m + l * pitch + 8 * chunk;
  gpu::store16(row, gpu::Vec16{});
  GPU_WARP_SYNC();
  uint32_t r[4], half[2];
  gpu::ldmatrix_x4(r, row);
  gpu::ldmatrix_x2_trans(half, row);
}

CASE("ldmatrix takes a wavefront a matrix, eight where its rows lie 128 bytes apart and are not swizzled") {
  const int stores = 4, matrices = 4 + 2;
  const auto moved = [&](int pitch, int swizzled) {
    return traffic_of(matrices_kernel, 32, 32 * 128, pitch, swizzled).shared;
  };
  expect_cost("side by side", moved(8, 0), stores + matrices, stores + matrices);
  expect_cost("128 bytes apart", moved(64, 0), 8 * (stores + matrices), stores + matrices);
  expect_cost("swizzled", moved(64, 1), stores + matrices, stores + matrices);
  expect_cost("32 bytes apart", moved(16, 0), 2 * (stores + matrices), stores + matrices);
}

GPU_KERNEL(32, 1) void read_kernel(const float* from, float* to, int first, int stride) {
  to[gpu::thread()] = from[first + gpu::lane() * stride];
}

CASE("a warp that reads global memory beside the sectors' edges, or in steps, takes more of them") {
  const Memory<float> from(2048), to(32);
  const auto sectors = [&](int first, int stride) {
    const simt::KernelTraffic t = traffic_of(read_kernel, 32, 0, from.get(), to.get(), first, stride);
    const int64_t bytes = stride == 0 ? 4 : 128;
    expect(t.bytes_read == bytes && t.different_read == bytes, "bytes read: ", t.bytes_read);
    return simt::Cost{t.global.taken - 4, t.global.least - 4};  // less those of the write
  };
  expect_cost("side by side", sectors(0, 1), 4, 4);
  expect_cost("a word later", sectors(1, 1), 5, 4);
  expect_cost("every second word", sectors(0, 2), 8, 4);
  expect_cost("a sector apart", sectors(0, 8), 32, 4);
  expect_cost("one word for all", sectors(5, 0), 1, 1);
}

// Lanes that pass a place less often are idle in the rest: lane l reads l + 1 words.
GPU_KERNEL(32, 1) void triangle_kernel(const float* from, float* to) {
  float sum = 0;
  for (int i = 0; i <= gpu::lane(); ++i) sum += from[32 * i + gpu::lane()];
  to[gpu::lane()] = sum;
}

CASE("the n-th passes of all lanes are one instruction, and what is read again counts again") {
  const Memory<float> from(1024), to(64);
  const simt::KernelTraffic t = traffic_of(triangle_kernel, 32, 0, from.get(), to.get());
  expect(t.bytes_read == 4 * 32 * 33 / 2 && t.different_read == t.bytes_read, "bytes read: ", t.bytes_read);
  int64_t taken = 0, least = 0;
  for (int i = 0; i < 32; ++i) {
    taken += 4 - i / 8;
    least += (4 * (32 - i) + 31) / 32;
  }
  expect_cost("sectors", t.global, taken + 4, least + 4);
  const simt::KernelTraffic twice = traffic_of(read_kernel, 64, 0, from.get(), to.get(), 0, 1);
  expect(twice.bytes_read == 256 && twice.different_read == 128, "two warps read ", twice.bytes_read);
}

GPU_KERNEL(32, 1) void copy_kernel(const float* from, int pitch) {
  float* const x = gpu::shared<float>();
  gpu::cp_async_16(x + gpu::lane() * pitch, from + 4 * gpu::lane(), gpu::lane() < 16);
  gpu::cp_async_commit();
  GPU_ASYNC_WAIT(0);
}

CASE("copies in the background read global memory where they are valid, and write shared memory always") {
  const Memory<float> from(64);
  for (const int pitch : {4, 32}) {
    const simt::KernelTraffic t = traffic_of(copy_kernel, 32, 32 * 128, from.get(), pitch);
    expect_cost("wavefronts", t.shared, pitch, 4);
    expect_cost("sectors", t.global, 8, 8);
    expect(t.bytes_read == 256 && t.bytes_written == 0, "bytes read: ", t.bytes_read);
  }
}

}  // namespace
}  // namespace selftest
