// Kernels that are wrong, each in one way, and what the executor must say about them.
#include "selftest.h"

namespace selftest {
namespace {

enum class Fault {
  None,
  MissingBarrier,
  MissingWarpSync,
  WriteWrite,
  WriteAfterRead,
  NamedBarrierOfOthers,
  GlobalRace,
  BlockRace,
  ReadBeyondBuffer,
  WriteBeyondBuffer,
  ReadBeforeBuffer,
  HostMemory,
  BeyondShared,
  BeyondSharedByCopy,
  Uninitialised,
  UninitialisedRow,
  Unaligned,
  RowsWithoutSync,
  TwoPlaces,
  TwoMeetings,
  Left,
  LeftBeforeBarrier,
  TwoBarriers,
  Deadlock,
  NoWait,
  WriteUnderCopy,
  CopyOfOthers,
  CopyAtEnd,
  CopyOverRead,
  Endless,
};

struct Parameters {
  Fault fault;
  int* buffer;  // 64 values
  int* host;
};

GPU_KERNEL(64, 1) void faulty_kernel(Parameters p) {
  int* s = gpu::shared<int>();  // 64 values
  const int t = gpu::thread(), l = gpu::lane();
  uint32_t rows[4];
  switch (p.fault) {
    case Fault::None:
      break;
    case Fault::MissingBarrier:
      s[t] = 0;
      GPU_BARRIER();
      s[t] = t;
      p.buffer[t] = s[63 - t];
      break;
    case Fault::MissingWarpSync:
      s[t] = 0;
      GPU_BARRIER();
      s[t] = t;
      p.buffer[t] = s[t ^ 1];
      break;
    case Fault::WriteWrite:
      s[0] = t;
      break;
    case Fault::WriteAfterRead:
      s[t] = t;
      GPU_BARRIER();
      p.buffer[t] = s[63 - t];
      s[t] = 0;
      break;
    case Fault::NamedBarrierOfOthers:
      s[t] = 0;
      GPU_BARRIER();
      s[t] = t;
      GPU_NAMED_BARRIER(1 + gpu::warp(), 32);
      p.buffer[t] = s[63 - t];
      break;
    case Fault::GlobalRace:
      p.buffer[t / 2] = t;
      break;
    case Fault::BlockRace:
      if (t == 0) p.buffer[gpu::block_x() / 2] = t;
      break;
    case Fault::ReadBeyondBuffer:
      p.buffer[t] = p.buffer[t + (t == 63 ? 1 : 0)];
      break;
    case Fault::WriteBeyondBuffer:
      p.buffer[t + 1] = 0;
      break;
    case Fault::ReadBeforeBuffer:
      if (t == 0) p.buffer[0] = p.buffer[-1];
      break;
    case Fault::HostMemory:
      if (t == 0) *p.host = 1;
      break;
    case Fault::BeyondShared:
      s[t + 1] = 0;
      break;
    case Fault::BeyondSharedByCopy:
      if (t == 0) gpu::store16(s + 61 + 3, gpu::Vec16{});
      break;
    case Fault::Uninitialised:
      if (t > 0) s[t] = t;
      GPU_BARRIER();
      p.buffer[t] = s[t];
      break;
    case Fault::UninitialisedRow:
      if (t != 5) s[t] = t;
      GPU_BARRIER();
      gpu::ldmatrix_x4(rows, s + l % 16 * 4);
      break;
    case Fault::Unaligned:
      if (t == 0) *reinterpret_cast<int*>(reinterpret_cast<char*>(p.buffer) + 2) = 1;
      break;
    case Fault::RowsWithoutSync:
      s[t] = t;
      gpu::ldmatrix_x4(rows, s + gpu::warp() * 32 + l % 8 * 4);
      break;
    case Fault::TwoPlaces:
      if (l < 16) {
        GPU_WARP_SYNC();
      } else {
        GPU_WARP_SYNC();
      }
      break;
    case Fault::TwoMeetings:
      if (l == 3) {
        gpu::ballot(true);
      } else {
        gpu::shuffle_xor(l, 1);
      }
      break;
    case Fault::Left:
      if (l == 7) return;
      GPU_WARP_SYNC();
      break;
    case Fault::LeftBeforeBarrier:
      if (gpu::warp() == 1) return;
      GPU_BARRIER();
      break;
    case Fault::TwoBarriers:
      if (gpu::warp() == 0) {
        GPU_BARRIER();
      } else {
        GPU_BARRIER();
      }
      break;
    case Fault::Deadlock:
      GPU_NAMED_BARRIER(1 + gpu::warp(), 64);
      break;
    case Fault::NoWait:
      gpu::cp_async_16(s + t / 4 * 4, p.buffer + t / 4 * 4, t % 4 == 0);
      p.buffer[t] = s[t];
      break;
    case Fault::WriteUnderCopy:
      if (t < 16) gpu::cp_async_16(s + 4 * t, p.buffer + 4 * t, true);
      gpu::cp_async_commit();
      if (t < 16) s[4 * t] = 0;
      GPU_ASYNC_WAIT(0);
      break;
    case Fault::CopyOfOthers:
      s[t] = 0;
      GPU_BARRIER();
      if (t < 16) gpu::cp_async_16(s + 4 * t, nullptr, false);
      gpu::cp_async_commit();
      GPU_ASYNC_WAIT(0);
      p.buffer[t] = s[t];
      break;
    case Fault::CopyAtEnd:
      if (t < 16) gpu::cp_async_16(s + 4 * t, p.buffer + 4 * t, true);
      GPU_ASYNC_WAIT(0);
      break;
    case Fault::CopyOverRead:
      s[t] = t;
      GPU_BARRIER();
      p.buffer[t] = s[63 - t];
      if (t < 16) gpu::cp_async_16(s + 4 * t, nullptr, false);
      gpu::cp_async_commit();
      GPU_ASYNC_WAIT(0);
      break;
    case Fault::Endless:
      while (p.buffer[t] >= 0) GPU_WARP_SYNC();
      break;
  }
}

void run(Fault fault) {
  Memory<int> buffer(std::vector<int>(64, 1));
  int host = 0;
  launch(faulty_kernel, {2, 1, 1}, 64, 256, Parameters{fault, buffer.get(), &host});
}

// A fault must be found with every schedule and in every mode, and the executor must be usable after it.
void expect_found(Fault fault, std::vector<std::string> parts) {
  parts.push_back("kernel kernel, block (");
  expect_fault([&] { run(fault); }, parts);
  run(Fault::None);
}

CASE("fault: a barrier is missing") {
  expect_found(Fault::MissingBarrier, {"race: ", "of shared memory in faults.cu:", "with no sync between"});
}
CASE("fault: a warp sync is missing") {
  expect_found(Fault::MissingWarpSync, {"race: ", "of shared memory in faults.cu:"});
}
CASE("fault: two threads write the same") {
  expect_found(Fault::WriteWrite, {"race: writes byte 0 of shared memory", "writes it in faults.cu:"});
}
CASE("fault: a write comes after another thread's read, unordered") {
  expect_found(Fault::WriteAfterRead, {"race: ", "of shared memory in faults.cu:"});
}
CASE("fault: a named barrier leaves out the warp that reads") {
  expect_found(Fault::NamedBarrierOfOthers, {"race: ", "of shared memory in faults.cu:"});
}
CASE("fault: two threads write the same word of global memory") {
  expect_found(Fault::GlobalRace, {"race: writes byte ", " of a buffer of 256 in faults.cu:"});
}
CASE("fault: two blocks write the same word of global memory") {
  expect_found(Fault::BlockRace, {"race: writes byte 0 of a buffer of 256", "thread 0 of another block"});
}
CASE("fault: a read beyond the end of a buffer") {
  expect_found(Fault::ReadBeyondBuffer,
               {"thread 63: reads 4 bytes at byte 256 of a buffer of 256", "faults.cu:"});
}
CASE("fault: a write beyond the end of a buffer") {
  expect_found(Fault::WriteBeyondBuffer, {"thread 63: writes 4 bytes at byte 256 of a buffer of 256"});
}
CASE("fault: a read before the start of a buffer") {
  expect_found(Fault::ReadBeforeBuffer, {"reads 4 bytes, 4 before a buffer of 256"});
}
CASE("fault: a pointer of the host") {
  expect_found(Fault::HostMemory, {"writes 4 bytes at 0x", "which is no memory of the device"});
}
CASE("fault: a write beyond shared memory") {
  expect_found(Fault::BeyondShared,
               {"thread 63: writes 4 bytes at byte 256 of shared memory, which has 256"});
}
CASE("fault: 16 bytes beyond shared memory") {
  expect_found(Fault::BeyondSharedByCopy, {"writes 16 bytes at byte 256 of shared memory, which has 256"});
}
CASE("fault: shared memory that nobody has written") {
  expect_found(Fault::Uninitialised, {"thread 0: reads shared memory that nobody has written, at byte 0"});
}
CASE("fault: ldmatrix of a row that nobody has written whole") {
  expect_found(Fault::UninitialisedRow, {"reads shared memory that nobody has written, at byte 20"});
}
CASE("fault: an address that is not aligned") {
  expect_found(Fault::Unaligned, {"writes 4 bytes at an address that is no multiple of 4"});
}
CASE("fault: ldmatrix of rows that were written by lanes without a warp sync") {
  expect_found(Fault::RowsWithoutSync, {"race: reads byte ", "of shared memory in faults.cu:"});
}
CASE("fault: lanes of a warp meet at two places") {
  expect_found(Fault::TwoPlaces, {"waits at a warp sync in faults.cu:", " of its warp waits at a warp sync"});
}
CASE("fault: lanes of a warp meet at two collectives") {
  expect_found(Fault::TwoMeetings, {"waits at a ballot in faults.cu:", "waits at a shuffle in faults.cu:"});
}
CASE("fault: a lane leaves while the others of its warp meet") {
  expect_found(Fault::Left,
               {"has left the kernel while thread ", " of its warp waits at a warp sync in faults.cu:"});
}
CASE("fault: a warp leaves while others wait at a barrier") {
  expect_found(Fault::LeftBeforeBarrier,
               {"no warp can go on: warp 0 waits at a barrier in faults.cu:", "warp 1 has left"});
}
CASE("fault: warps wait at two barriers of the block") {
  expect_found(Fault::TwoBarriers, {"waits at a barrier in faults.cu:", " waits at one in faults.cu:"});
}
CASE("fault: a deadlock") {
  expect_found(Fault::Deadlock,
               {"no warp can go on: warp 0 waits at a named barrier 1 of 64 threads in faults.cu:",
                "warp 1 waits at a named barrier 2 of 64 threads"});
}
CASE("fault: a read before the wait for the copy") {
  expect_found(Fault::NoWait, {"while the copy of thread ", " is under way"});
}
CASE("fault: a write under a copy") {
  expect_found(Fault::WriteUnderCopy, {"writes byte ", "while the copy of thread ", " is under way"});
}
CASE("fault: a copy that another thread has waited for, without a barrier") {
  expect_found(Fault::CopyOfOthers, {"race: ", " of shared memory in faults.cu:"});
}
CASE("fault: the kernel ends while a copy is under way") {
  expect_found(Fault::CopyAtEnd, {"ends while its copy of faults.cu:", " is under way"});
}
CASE("fault: a copy over what other threads still read") {
  expect_found(Fault::CopyOverRead, {"race: ", " of shared memory in faults.cu:"});
}
CASE("fault: a kernel that never ends") {
  executor().max_steps = 100000;
  expect_found(Fault::Endless, {"does not end: 100000 accesses and meetings"});
  executor().max_steps = simt::Executor::kMaxSteps;
}

template <int kKind>
GPU_KERNEL(32, 1)
void modern_kernel(float* out) {
  float* s = gpu::shared<float>();
  if (kKind == 0) gpu::cp_async_16(s, nullptr, false);
  if (kKind == 1) GPU_ASYNC_WAIT(0);
  float c[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  if (kKind == 2) gpu::mma_m16n8k16<bf16>(c, a, b);
  const uint32_t half_a[2] = {}, half_b[1] = {};
  if (kKind == 3) gpu::mma_m16n8k8(c, half_a, half_b);
  out[gpu::thread()] = c[0];
}

CASE("sm_75 has neither cp.async nor the wider mma") {
  Memory<float> out(32);
  executor().capability = 75;
  expect_fault([&] { launch(modern_kernel<0>, {}, 32, 16, out.get()); },
               {"cp.async in faults.cu:", "needs sm_80, the device is sm_75"});
  expect_fault([&] { launch(modern_kernel<1>, {}, 32, 16, out.get()); },
               {"wait in faults.cu:", "needs sm_80"});
  expect_fault([&] { launch(modern_kernel<2>, {}, 32, 16, out.get()); },
               {"m16n8k16 in faults.cu:", "needs sm_80"});
  launch(modern_kernel<3>, {}, 32, 16, out.get());
  expect_fault([&] { launch(modern_kernel<3>, {}, 32, 64 * 1024 + 1, out.get()); },
               {"cannot be launched", "sm_75 has 65536"});
  executor().capability = 80;
  launch(modern_kernel<3>, {}, 32, 163 * 1024, out.get());
}

CASE("a launch that no GPU would take is refused") {
  Memory<float> out(32);
  for (int threads : {0, 33, 1056}) {
    expect_fault([&] { launch(modern_kernel<3>, {}, threads, 16, out.get()); },
                 {"kernel kernel cannot be launched"});
  }
  expect_fault([&] { launch(modern_kernel<3>, {1, 65536, 1}, 32, 16, out.get()); }, {"65536"});
}

CASE("memory is poisoned at allocation and checked at copies") {
  Memory<float> m(100);
  for (float x : m.values()) expect(x != x, "a number in new memory");
  float x[2] = {1, 2};
  expect_fault([&] { device().upload(m.get() + 99, x, 8); },
               {"upload of 8 bytes beyond the memory of the device"});
  expect_fault([&] { device().download(x, m.get() - 1, 8); }, {"download of 8 bytes beyond"});
  device().upload(m.get() + 98, x, 8);
  expect(m.values()[99] == 2, "uploaded");
}

}  // namespace
}  // namespace selftest
