// Copies by TMA, laid out by the pictures of the CUDA guide ("Using TMA to transfer multi-dimensional
// arrays") apart from the executor's own formulas; mbarriers in a ring of slots; and what must be said about
// wrong use.
#include "cuda/tma.h"
#include "cuda/wgmma.h"
#include "selftest.h"

namespace selftest {
namespace {

constexpr int kThreads = 64, kRows = 8, kBox = kRows * 128, kShared = 4096;

// A matrix of numbered elements in the device's memory, in rows of ld.
struct Numbers {
  Numbers(int rows_, int columns_, int ld_)
      : rows(rows_), columns(columns_), ld(ld_), memory(std::vector<uint16_t>(count(rows_, ld_))) {
    std::vector<uint16_t> values(count(rows, ld), 0xFFFF);
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < columns; ++c) values[static_cast<size_t>(r * ld + c)] = at(r, c);
    }
    device().upload(memory.get(), values.data(), 2 * values.size());
  }
  static size_t count(int rows, int ld) { return static_cast<size_t>(rows * ld); }
  // 0 beyond the matrix.
  uint16_t at(int r, int c) const {
    return r < 0 || r >= rows || c < 0 || c >= columns ? 0 : static_cast<uint16_t>(1 + r * columns + c);
  }
  cuda::TensorMap map(int box_rows) const {
    Exec exec;
    exec.device = &device();
    return cuda::tensor_map(exec, {memory.get(), rows, columns, ld}, box_rows);
  }
  int rows, columns, ld;
  Memory<uint16_t> memory;
};

struct OnHopper {
  OnHopper() { executor().capability = 90; }
  ~OnHopper() { executor().capability = 80; }
};

GPU_KERNEL(32, 1)
void box_kernel(GPU_GRID_CONSTANT cuda::TensorMap map, int rows, int column, int row, uint16_t* out) {
  const int base = gpu::aligned_offset(1024), bytes = rows * 128;
  uint64_t* const barrier = gpu::shared<uint64_t>(base + bytes);
  if (gpu::lane() == 0) gpu::mbarrier_init(barrier, 1);
  GPU_PROXY_FENCE();
  GPU_BARRIER();
  GPU_MBARRIER_ANNOUNCE(barrier, bytes);
  if (gpu::lane() == 0) gpu::copy_box(gpu::shared<char>(base), map, column, row, barrier);
  GPU_MBARRIER_WAIT(barrier, 0);
  for (int i = gpu::lane(); i < bytes / 2; i += 32) out[i] = *gpu::shared<uint16_t>(base + 2 * i);
}

CASE("TMA brings boxes swizzled, and zeros from beyond the matrix") {
  const OnHopper hopper;
  const Numbers matrix(50, 160, 200);
  constexpr int kBoxRows = 40;
  for (const auto& [column, row] :
       {std::pair{0, 0}, {96, 10}, {128, 20}, {-8, -3}, {37, 48}, {160, 0}, {0, 50}}) {
    for_schedules(2, [&, column = column, row = row] {
      Memory<uint16_t> out(kBoxRows * 64);
      launch(box_kernel, {}, 32, kBoxRows * 128 + 2048, matrix.map(kBoxRows), kBoxRows, column, row,
             out.get());
      const std::vector<uint16_t> got = out.values();
      for (int r = 0; r < kBoxRows; ++r) {
        for (int c = 0; c < 64; ++c) {
          const int chunk = (c / 8) ^ (r % 8);
          const uint16_t value = got[static_cast<size_t>(64 * r + 8 * chunk + c % 8)];
          expect(value == matrix.at(row + r, column + c), "box at (", row, ", ", column, "), element (", r,
                 ", ", c, "): ", value);
        }
      }
    });
  }
}
CASE("a recorded launch keeps its tensor map") {
  const OnHopper hopper;
  const Numbers matrix(8, 64, 64);
  Memory<uint16_t> out(kRows * 64);
  const auto recording = device().record(
      [&] { launch(box_kernel, {}, 32, kBox + 2048, matrix.map(kRows), kRows, 0, 0, out.get()); });
  device().fill(out.get(), 0, 2 * kRows * 64);
  recording->replay();
  expect(out.values()[0] == 1 && out.values()[63] == 8 * 7 + 8, "the box of the replay");
}
CASE("tensor maps that no driver makes") {
  const OnHopper hopper;
  const auto refused = [](int rows, int ld, int box_rows) {
    const Numbers matrix(8, 64, 64);
    Exec exec;
    exec.device = &device();
    try {
      cuda::tensor_map(exec, {matrix.memory.get(), rows, 64, ld}, box_rows);
    } catch (const Error& e) {
      return e.code() == ErrorCode::Device;
    }
    return false;
  };
  expect(refused(8, 68, 8), "a stride of 136 bytes");
  expect(refused(0, 64, 8), "no rows");
  expect(refused(8, 64, 257), "a box of 257 rows");
  expect(!refused(8, 64, 256), "a box of 256 rows");
}

enum class Fault {
  None,
  NoAnnounce,
  AnnouncedTooMuch,
  WrongParityOfEmpty,
  NoWaitForFull,
  NoWaitForEmpty,
  NoArrival,
  TwoArrivals,
  NoWaitAtEnd,
  NoFenceAfterWrites,
  NoFenceAfterInit,
  NoSyncAfterInit,
  NoInit,
  TwoInits,
  WriteOverBarrier,
  CopyOverBarrier,
  WriteUnderCopy,
  Unaligned,
  LanesDiffer,
  FewerRegisters,
  OddRegisters,
};

constexpr int kSlots = 2, kTiles = 5;

// Warp 0 brings the tiles of a matrix of 64 columns through two slots, warp 1 adds up their columns.
GPU_KERNEL(kThreads, 1) void ring_kernel(GPU_GRID_CONSTANT cuda::TensorMap map, Fault fault, int* out) {
  const int base = gpu::aligned_offset(1024), barriers = base + kSlots * kBox;
  const auto is = [&](Fault f) { return fault == f; };
  const auto full = [&](int j) { return gpu::shared<uint64_t>(barriers + 8 * (j % kSlots)); };
  const auto empty = [&](int j) { return gpu::shared<uint64_t>(barriers + 8 * (kSlots + j % kSlots)); };
  const auto slot = [&](int j) { return base + j % kSlots * kBox; };
  if (gpu::warp() == 0) {
    if (gpu::lane() == 0 && !is(Fault::NoInit)) {
      for (int j = 0; j < kSlots; ++j) {
        gpu::mbarrier_init(full(j), 1);
        gpu::mbarrier_init(empty(j), 1);
      }
      if (is(Fault::TwoInits)) gpu::mbarrier_init(full(0), 1);
    }
    if (is(Fault::NoFenceAfterWrites)) *gpu::shared<int>(slot(0) + 4 * gpu::lane()) = 0;
    if (!is(Fault::NoFenceAfterInit) && !is(Fault::NoFenceAfterWrites)) GPU_PROXY_FENCE();
    if (is(Fault::NoFenceAfterWrites)) GPU_WARP_SYNC();
  }
  if (!is(Fault::NoSyncAfterInit)) GPU_BARRIER();
  if (is(Fault::WriteOverBarrier) && gpu::thread() == 0) *full(0) = 0;
  if (is(Fault::FewerRegisters)) gpu::take_registers<24>();
  if (is(Fault::OddRegisters)) gpu::give_registers<44>();
  if (gpu::warp() == 0) {
    for (int j = 0; j < kTiles; ++j) {
      const int parity = j / kSlots & 1;
      if (!is(Fault::NoWaitForEmpty)) {
        GPU_MBARRIER_WAIT(empty(j), is(Fault::WrongParityOfEmpty) ? parity : parity ^ 1);
      } else if (j >= kSlots) {
        GPU_MBARRIER_WAIT(full(j), parity ^ 1);  // the copy before has come, but nobody may have read it
      }
      if (is(Fault::NoAnnounce)) {
        GPU_MBARRIER_ARRIVE(full(j));
      } else {
        GPU_MBARRIER_ANNOUNCE(is(Fault::LanesDiffer) && gpu::lane() == 9 ? empty(j) : full(j),
                              is(Fault::AnnouncedTooMuch) ? 2 * kBox : kBox);
      }
      if (is(Fault::TwoArrivals)) GPU_MBARRIER_ARRIVE(full(j));
      const int to = is(Fault::CopyOverBarrier) ? barriers : slot(j) + (is(Fault::Unaligned) ? 16 : 0);
      if (gpu::lane() == 0) gpu::copy_box(gpu::shared<char>(to), map, 0, j * kRows, full(j));
      if (is(Fault::WriteUnderCopy)) GPU_WARP_SYNC();
      if (is(Fault::WriteUnderCopy)) *gpu::shared<int>(slot(j) + 4 * gpu::lane()) = 0;
    }
    return;
  }
  int sums[2] = {0, 0};
  for (int j = 0; j < kTiles; ++j) {
    if (is(Fault::NoWaitAtEnd) && j == kTiles - 1) break;
    if (!is(Fault::NoWaitForFull)) GPU_MBARRIER_WAIT(full(j), j / kSlots & 1);
    for (int r = 0; r < kRows; ++r) {
      const int chunk = gpu::lane() / 4 ^ r % 8;
      const uint32_t pair = *gpu::shared<uint32_t>(slot(j) + r * 128 + 16 * chunk + gpu::lane() % 4 * 4);
      sums[0] += static_cast<int>(pair & 0xFFFF);
      sums[1] += static_cast<int>(pair >> 16);
    }
    if (!is(Fault::NoArrival)) GPU_MBARRIER_ARRIVE(empty(j));
  }
  for (int i = 0; i < 2; ++i) out[2 * gpu::lane() + i] = sums[i];
}

void run_ring(Fault fault) {
  const Numbers matrix(kTiles * kRows - 3, 64, 72);
  Memory<int> out(64);
  launch(ring_kernel, {}, kThreads, kShared, matrix.map(kRows), fault, out.get());
  const std::vector<int> sums = out.values();
  for (int c = 0; c < 64; ++c) {
    int sum = 0;
    for (int r = 0; r < matrix.rows; ++r) sum += matrix.at(r, c);
    expect(sums[static_cast<size_t>(c)] == sum, "column ", c, ": ", sums[static_cast<size_t>(c)],
           ", expected ", sum);
  }
}

void expect_ring_fault(Fault fault, std::vector<std::string> parts) {
  const OnHopper hopper;
  parts.push_back("kernel kernel, block (");
  expect_fault([&] { run_ring(fault); }, parts);
  run_ring(Fault::None);
}

CASE("a ring of slots, with 20 schedules") {
  const OnHopper hopper;
  for_schedules(20, [] { run_ring(Fault::None); });
}
CASE("fault: a copy whose bytes are not announced") {
  expect_ring_fault(Fault::NoAnnounce, {"the copy in tma.cu:",
                                        "brings 1024 bytes to an mbarrier to which 0 more are announced"});
}
CASE("fault: more bytes announced than copied") {
  expect_ring_fault(
      Fault::AnnouncedTooMuch,
      {"no warp can go on: ", "while its phase 0 lacks 0 of 1 arrivals and 1024 bytes in tma.cu:"});
}
CASE("fault: a wait for the wrong phase") {
  expect_ring_fault(Fault::WrongParityOfEmpty,
                    {"no warp can go on: warp 0 waits at an mbarrier at byte ",
                     " of shared memory for its phase of parity 0, while its phase 0 lacks 1 of 1 arrivals"});
}
CASE("fault: no wait for a copy") {
  expect_ring_fault(Fault::NoWaitForFull, {"reads ", " of shared memory", " in tma.cu:"});
}
CASE("fault: no wait until a slot is empty") {
  expect_ring_fault(Fault::NoWaitForEmpty, {" of shared memory", " in tma.cu:"});
}
CASE("fault: a slot that nobody says is empty") {
  expect_ring_fault(Fault::NoArrival, {"no warp can go on: ", "lacks 1 of 1 arrivals and 0 bytes"});
}
CASE("fault: more arrivals than a phase counts") {
  expect_ring_fault(Fault::TwoArrivals,
                    {"arrives in tma.cu:", "at an mbarrier whose 1 arrivals have all come"});
}
CASE("fault: the kernel ends before a copy does") {
  expect_ring_fault(Fault::NoWaitAtEnd, {"is the last to end"});
}
CASE("fault: a copy over what a thread wrote, without a fence between the proxies") {
  expect_ring_fault(Fault::NoFenceAfterWrites, {"the copy in tma.cu:", "with no fence between the proxies"});
}
CASE("fault: an mbarrier that copies use, without a fence behind its initialisation") {
  expect_ring_fault(Fault::NoFenceAfterInit,
                    {"tells the mbarrier at byte ", "with no fence between the proxies"});
}
CASE("fault: an mbarrier that others use, without a sync behind its initialisation") {
  expect_ring_fault(Fault::NoSyncAfterInit, {"mbarrier at byte ", "initialise"});
}
CASE("fault: an mbarrier that nobody initialises") {
  expect_ring_fault(Fault::NoInit, {"comes to an mbarrier at byte ", "and nobody has initialised it"});
}
CASE("fault: an mbarrier that is initialised twice") {
  expect_ring_fault(Fault::TwoInits, {"thread 0: initialises an mbarrier twice, in tma.cu:"});
}
CASE("fault: a write over an mbarrier") {
  expect_ring_fault(Fault::WriteOverBarrier,
                    {"mbarrier at byte ", "over which a thread has written in tma.cu:"});
}
CASE("fault: a copy over an mbarrier") {
  expect_ring_fault(Fault::CopyOverBarrier, {"the copy in tma.cu:", "goes over an mbarrier"});
}
CASE("fault: a write to where a copy is under way") {
  expect_ring_fault(Fault::WriteUnderCopy, {"writes byte ", "which the copy in tma.cu:", "has not waited"});
}
CASE("fault: a copy to an address that no line begins at") {
  expect_ring_fault(Fault::Unaligned, {"goes to an address that is no multiple of 128"});
}
CASE("fault: lanes that arrive at different mbarriers") {
  expect_ring_fault(Fault::LanesDiffer, {"comes to an arrival in tma.cu:", ", thread 0 of its warp with ("});
}
CASE("fault: fewer registers where more are taken") {
  expect_ring_fault(Fault::FewerRegisters, {"takes 24 registers of 248 in tma.cu:"});
}
CASE("fault: a number of registers that there is not") {
  expect_ring_fault(Fault::OddRegisters, {"gives 44 registers of 248 in tma.cu:"});
}

GPU_KERNEL(512, 1) void registers_kernel(bool enough, bool together) {
  if (gpu::warp() < 4) {
    if (together || gpu::warp() > 0) gpu::give_registers<32>();
  } else if (enough) {
    gpu::take_registers<160>();
  } else {
    gpu::take_registers<168>();
  }
}
CASE("fault: warpgroups that take more registers than there are") {
  const OnHopper hopper;
  const auto run = [](bool enough, bool together) { launch(registers_kernel, {}, 512, 0, enough, together); };
  expect_fault([&] { run(false, true); }, {"took 68608 registers of 65536"});
  expect_fault([&] { run(true, false); }, {"warps of warpgroup 0 came to different numbers of registers"});
  for_schedules(2, [&] { run(true, true); });
}
CASE("an sm_80 has no mbarriers, an sm_100 no such setmaxnreg") {
  expect_fault([&] { run_ring(Fault::None); },
               {"an mbarrier in tma.cu:", "needs sm_90, the device is sm_80"});
  executor().capability = 100;
  run_ring(Fault::None);
  expect_fault([&] { launch(registers_kernel, {}, 512, 0, true, true); },
               {"needs sm_90a, the device is sm_100"});
  executor().capability = 80;
}

}  // namespace
}  // namespace selftest
