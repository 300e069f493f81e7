// Cases about CudaDevice and the CUDA backend's door on a runtime without GPUs (fake_runtime.h).
// test/cuda/device.test.ts compiles and runs them one by one.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "core/error.h"
#include "cuda/device.h"
#include "cuda/dispatch.h"
#include "cuda/errors.h"
#include "cuda/gemm_library.h"
#include "cuda/ops.h"
#include "cuda/tensor_map.h"
#include "fake_runtime.h"

// Kernels are not part of this program.
const fintune::OpTable& fintune::cuda::table() {
  static const OpTable none{};
  return none;
}

using namespace fintune;

namespace {

constexpr size_t kMiB = size_t{1} << 20;

const fake::Machine kOne = {13000, cudaSuccess, {{"Fake H100", 90, 256 * kMiB}}};
const fake::Machine kTwo = {
    13000, cudaSuccess, {{"Fake H100", 90, 256 * kMiB}, {"Fake V100", 70, 16 * kMiB}}};

void expect(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

// fn must throw this code, with all parts in the message.
void expect_error(ErrorCode code, const std::vector<std::string>& parts, const std::function<void()>& fn) {
  try {
    fn();
  } catch (const Error& e) {
    expect(e.code() == code, std::string("wrong code: ") + e.what());
    for (const std::string& part : parts) {
      expect(std::string(e.what()).find(part) != std::string::npos,
             "\"" + part + "\" is not in: " + e.what());
    }
    return;
  }
  throw std::runtime_error("nothing was thrown, expected: " + parts[0]);
}

cuda::CudaDevice& open() {
  fake::set_machine(kOne);
  return static_cast<cuda::CudaDevice&>(*cuda::backend(0).device);
}

std::vector<unsigned char> pattern(size_t n, unsigned seed) {
  std::vector<unsigned char> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<unsigned char>((i * 31 + seed * 97) >> 3 ^ seed);
  return bytes;
}

void set_to_seven(int* target) { *target = 7; }

cuda::Launch launch_of(const char* name, size_t shared_bytes, void** arguments) {
  return {
      name,   reinterpret_cast<const void*>(set_to_seven), {1, 1, 1}, 32, shared_bytes, arguments, nullptr,
      nullptr};
}

void upload_keeps() {
  cuda::CudaDevice& d = open();
  // More than the ring holds, in sizes that fit pieces and that do not, and nothing done before it must be.
  const size_t sizes[] = {1, 300, 8 * kMiB, 8 * kMiB + 1, 3 * kMiB, 5 * kMiB + 7, 20 * kMiB, 4, 9 * kMiB};
  std::vector<void*> blocks;
  unsigned seed = 1;
  for (const size_t n : sizes) {
    std::vector<unsigned char> from = pattern(n, seed++);
    blocks.push_back(d.allocate(n));
    d.upload(blocks.back(), from.data(), n);
    std::fill(from.begin(), from.end(), 0xAA);
  }
  expect(fake::queued() > 0, "uploads waited for the GPU");
  seed = 1;
  for (size_t i = 0; i < blocks.size(); ++i) {
    std::vector<unsigned char> to(sizes[i]);
    d.download(to.data(), blocks[i], sizes[i]);
    expect(to == pattern(sizes[i], seed++), "block " + std::to_string(i) + " differs");
    d.release(blocks[i], sizes[i]);
  }
  expect(fake::allocated() == 0, "memory is left");
}

void in_order() {
  cuda::CudaDevice& d = open();
  auto* a = static_cast<int*>(d.allocate(8));
  auto* b = static_cast<int*>(d.allocate(8));
  void* arguments[] = {&a};
  const int64_t before = d.launches();
  d.fill(a, 0, 8);
  d.launch(launch_of("set", 0, arguments));
  d.copy(b, a, 8);
  d.fill(a, 0xFF, 8);
  d.copy(a, b, 0);
  int result[2];
  d.download(result, b, 8);
  expect(result[0] == 7 && result[1] == 0, "the copy is not what lay there when it was queued");
  d.download(result, a, 8);
  expect(result[0] == -1, "the fill is lost");
  expect(d.launches() == before + 1, "launches are not counted");
  d.synchronize();
  expect(fake::queued() == 0, "synchronize left work");
  d.release(a, 8);
  d.release(b, 8);
}

void memory_full() {
  cuda::CudaDevice& d = open();
  void* half = d.allocate(128 * kMiB);
  expect_error(ErrorCode::OutOfMemory,
               {"cuda:0 (Fake H100)", "209715200 bytes", "134217728 bytes are, of 268435456"},
               [&] { d.allocate(200 * kMiB); });
  d.release(d.allocate(kMiB), kMiB);
  expect(cudaGetLastError() == cudaSuccess, "the error is still there");
  d.release(half, 128 * kMiB);
}

void refused_launch() {
  cuda::CudaDevice& d = open();
  auto* a = static_cast<int*>(d.allocate(4));
  void* arguments[] = {&a};
  fake::fail_next("cudaLaunchKernel", cudaErrorInvalidConfiguration);
  expect_error(ErrorCode::Device, {"launching big", "another error"},
               [&] { d.launch(launch_of("big", 0, arguments)); });
  fake::fail_next("cudaLaunchKernel", cudaErrorNoKernelImageForDevice);
  expect_error(ErrorCode::Device, {"no code for the GPU", "FINTUNE_CUDA_ARCHITECTURES"},
               [&] { d.launch(launch_of("new", 0, arguments)); });
  d.launch(launch_of("good", 0, arguments));
  int result = 0;
  d.download(&result, a, 4);
  expect(result == 7 && !d.lost(), "the device is not usable after a refused launch");
  d.release(a, 4);
}

void shared_limit() {
  cuda::CudaDevice& d = open();
  auto* a = static_cast<int*>(d.allocate(4));
  void* arguments[] = {&a};
  const int before = fake::limits_raised();
  d.launch(launch_of("k", 48 << 10, arguments));
  expect(fake::limits_raised() == before, "raised where there was no need");
  for (const size_t bytes : {64 << 10, 64 << 10, 50 << 10, 96 << 10}) {
    d.launch(launch_of("k", bytes, arguments));
  }
  expect(fake::limits_raised() == before + 2, "not raised once a size");
  d.release(a, 4);
}

void lost_and_reopened() {
  cuda::CudaDevice& d = open();
  void* block = d.allocate(4);
  const int generation = d.generation();
  fake::queue_fault(cudaErrorIllegalAddress);
  expect_error(ErrorCode::Device, {"illegal memory access", "is lost", "open it again"},
               [&] { d.synchronize(); });
  int value = 1;
  expect_error(ErrorCode::Device, {"lost after an earlier error"}, [&] { d.upload(block, &value, 4); });
  expect_error(ErrorCode::Device, {"lost after an earlier error"}, [&] { d.allocate(4); });
  expect_error(ErrorCode::Device, {"1 blocks of its memory are still held"}, [&] { cuda::backend(0); });
  d.release(block, 4);
  expect(cuda::backend(0).device.get() == &d, "it is another device");
  expect(!d.lost() && d.generation() == generation + 1, "it is not open again");
  block = d.allocate(4);
  d.upload(block, &value, 4);
  value = 0;
  d.download(&value, block, 4);
  expect(value == 1, "memory does not work after it was opened again");
  auto* a = static_cast<int*>(block);
  void* arguments[] = {&a};
  const int before = fake::limits_raised();
  d.launch(launch_of("k", 64 << 10, arguments));
  expect(fake::limits_raised() == before + 1, "a limit of the old context was believed");
  d.synchronize();
  d.release(block, 4);
}

void which_gpus() {
  fake::set_machine(kTwo);
  const cuda::Survey two = cuda::survey(true);
  expect(two.gpus.size() == 2 && two.reason.empty() && two.driver == 13000, "two GPUs, one of them good");
  expect(two.gpus[0].refused.empty() && two.gpus[0].memory_free > 0, "the first is good");
  expect(two.gpus[1].refused.find("compute capability 7.0") == 0, two.gpus[1].refused);
  expect_error(ErrorCode::Device, {"cuda:9", "there is cuda:0 (Fake H100), cuda:1 (Fake V100)"},
               [] { cuda::backend(9); });
  expect_error(ErrorCode::Device, {"cuda:1 (Fake V100)", "7.5 is the oldest"}, [] { cuda::backend(1); });

  fake::Machine old = {13000, cudaSuccess, {{"Fake V100", 70, kMiB}}};
  fake::set_machine(old);
  expect(cuda::survey(false).reason.find("no GPU can be used") == 0, "no reason for an old GPU");

  fake::set_machine(kOne);
  fake::fail_next("cudaMemGetInfo", cudaErrorDevicesUnavailable);
  const cuda::Survey busy = cuda::survey(true);
  expect(busy.gpus[0].refused.find("busy") != std::string::npos, "a busy GPU");
  expect(cuda::survey(true).reason.empty(), "busy for ever");
}

// This program is built for 7.5, 8.0 and 9.0a, with PTX of 9.0.
void which_code() {
  const std::vector<std::pair<int, bool>> cases = {
      {70, false},
      {75, true},
      {80, true},
      {90, true},
      // The driver would run code of 8.0 there, whose tiles do not fit their shared memory.
      {86, false},
      {87, false},
      {89, false},
      // From PTX of 9.0.
      {100, true},
      {103, true},
      {110, true},
      {120, false},
      {121, false}};
  for (const auto& [capability, served] : cases) {
    expect(cuda::build_serves(capability) == served, "build_serves(" + std::to_string(capability) + ")");
  }
  const std::string why = cuda::why_not_served(86);
  expect(why.find("compute capability 8.6") == 0 &&
             why.find("FINTUNE_CUDA_ARCHITECTURES=86") != std::string::npos,
         why);
}

void why_none() {
  const std::vector<std::pair<fake::Machine, std::string>> cases = {
      {{0, cudaErrorInsufficientDriver, {}}, "no NVIDIA driver was found"},
      {{12040, cudaErrorInsufficientDriver, {}},
       "the NVIDIA driver knows CUDA 12.4, and this build needs CUDA"},
      {{13000, cudaErrorNoDevice, {}}, "GPU"},
      {{13000, cudaSuccess, {}}, "GPU"},
      {{13000, cudaErrorStubLibrary, {}}, "stub"},
      {{13000, cudaErrorSystemDriverMismatch, {}}, "reboot"},
      {{13000, cudaErrorUnknown, {}}, "another error"},
  };
  for (const auto& [machine, words] : cases) {
    fake::set_machine(machine);
    const cuda::Survey none = cuda::survey(true);
    expect(none.gpus.empty() && none.reason.find(words) != std::string::npos, none.reason);
    expect(cudaGetLastError() == cudaSuccess, "the error is still there");
    expect_error(ErrorCode::Device, {"cuda:0: ", words}, [] { cuda::backend(0); });
  }
}

void read_back() {
  cuda::CudaDevice& d = open();
  auto* a = static_cast<int*>(d.allocate(4));
  std::vector<std::unique_ptr<Readback>> reads;
  for (int i = 1; i <= 3; ++i) {
    d.upload(a, &i, 4);
    reads.push_back(d.read_back(a, 4));
  }
  const size_t before = fake::queued();
  expect(before >= 6, "a read-back has waited");
  expect(*static_cast<const int*>(reads[0]->wait()) == 1, "the first is wrong");
  expect(fake::queued() > 0 && fake::queued() < before, "the first has waited for the last");
  expect(*static_cast<const int*>(reads[2]->wait()) == 3, "the last is wrong");
  expect(*static_cast<const int*>(reads[1]->wait()) == 2, "the second is wrong");
  const void* const place = reads[1]->wait();
  reads.clear();
  // Blocks are used again, also where nobody waited for what they were given for.
  for (int i = 4; i <= 9; ++i) {
    d.upload(a, &i, 4);
    d.read_back(a, 4);
  }
  int ten = 10;
  d.upload(a, &ten, 4);
  reads.push_back(d.read_back(a, 4));
  expect(*static_cast<const int*>(reads[0]->wait()) == 10, "a block was overwritten");
  bool again = false;
  for (int i = 0; i < 3; ++i) {
    reads.push_back(d.read_back(a, 4));
    again = again || reads.back()->wait() == place;
  }
  expect(again, "no block was used again");
  expect_error(ErrorCode::Internal, {"what is recorded waits"},
               [&] { d.record([&] { d.read_back(a, 4); }); });
  reads.push_back(d.read_back(a, 4));
  fake::queue_fault(cudaErrorIllegalAddress);
  reads.push_back(d.read_back(a, 4));
  expect_error(ErrorCode::Device, {"is lost"}, [&] { reads.back()->wait(); });
  d.release(a, 4);
  cuda::backend(0);
  expect_error(ErrorCode::Argument, {"never come"}, [&] { reads.back()->wait(); });
}

void recorded() {
  cuda::CudaDevice& d = open();
  auto* a = static_cast<int*>(d.allocate(8));
  auto* b = static_cast<int*>(d.allocate(8));
  void* arguments[] = {&a};
  const int64_t before = d.launches();
  int five = 5;
  const std::unique_ptr<Recording> recording = d.record([&] {
    d.launch(launch_of("set", 0, arguments));  // a[0] = 7
    d.copy(b, a, 8);
    d.upload(b + 1, &five, 4);
  });
  five = 6;
  expect(recording != nullptr && d.launches() == before + 1, "the work was not done once");
  int result[2];
  d.download(result, b, 8);
  expect(result[0] == 7 && result[1] == 5, "the recorded work is not done");
  for (int round = 0; round < 3; ++round) {
    d.fill(a, 0, 8);
    d.fill(b, 0, 8);
    recording->replay();
    d.download(result, b, 8);
    expect(result[0] == 7 && result[1] == 5, "a replay differs");
  }
  expect(d.launches() == before + 4, "replays do not count their launches");

  // Work that waits for the device is an error, and the device works on.
  expect_error(ErrorCode::Internal, {"what is recorded waits"},
               [&] { d.record([&] { d.download(result, b, 8); }); });
  expect_error(ErrorCode::Internal, {"what is recorded waits"}, [&] { d.record([&] { d.synchronize(); }); });
  expect_error(ErrorCode::Internal, {"within a recording"}, [&] { d.record([&] { d.record([] {}); }); });
  // Where CUDA makes no graph of it, the work is done all the same.
  for (const char* function : {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"}) {
    fake::fail_next(function, cudaErrorNotSupported);
    d.fill(b, 0, 8);
    expect(d.record([&] { d.copy(b, a, 8); }) == nullptr, std::string(function) + ": something was recorded");
    d.download(result, b, 8);
    expect(result[0] == 7, std::string(function) + ": the work is not done");
  }
  expect(!d.lost() && cudaGetLastError() == cudaSuccess, "an error is left");

  // With its context a recording is gone.
  fake::queue_fault(cudaErrorIllegalAddress);
  expect_error(ErrorCode::Device, {"is lost"}, [&] { d.synchronize(); });
  expect_error(ErrorCode::Device, {"lost"}, [&] { recording->replay(); });
  d.release(a, 8);
  d.release(b, 8);
  cuda::backend(0);
  expect_error(ErrorCode::Argument, {"lost since"}, [&] { recording->replay(); });
}

// The fake's clock counts pieces of work, a millisecond each.
void busy_metered() {
  cuda::CudaDevice& d = open();
  auto* a = static_cast<int*>(d.allocate(8));
  void* arguments[] = {&a};
  const auto near = [](double seconds, double pieces) { return std::abs(seconds - pieces / 1e3) < 1e-9; };
  d.fill(a, 0, 8);
  cuda::start_busy_meter(0);
  d.launch(launch_of("set", 0, arguments));
  d.copy(a + 1, a, 4);
  d.synchronize();
  int result = 0;
  d.upload(a, &result, 4);
  d.download(&result, a + 1, 4);
  expect(result == 7, "metered work is not done");
  cuda::Busy busy = cuda::stop_busy_meter(0);
  // The first span begins behind the work that was there before.
  expect(busy.spans == 2 && near(busy.seconds, 4), std::to_string(busy.seconds) + " s");

  cuda::start_busy_meter(0);
  for (int i = 0; i < 3; ++i) {
    d.fill(a, 0, 8);
    d.launch(launch_of("set", 0, arguments));
    d.synchronize();
  }
  const std::unique_ptr<Recording> recording = d.record([&] { d.fill(a, 0, 8); });
  busy = cuda::stop_busy_meter(0);
  expect(busy.spans == 4, std::to_string(busy.spans) + " spans, not 4");
  expect(near(busy.seconds, 7), std::to_string(busy.seconds) + " s");

  // Not metered, and nothing to meter.
  d.fill(a, 0, 8);
  cuda::start_busy_meter(0);
  d.synchronize();
  busy = cuda::stop_busy_meter(0);
  expect(busy.spans == 0 && busy.seconds == 0, "work of before is counted");

  // The events of a context go with it.
  cuda::start_busy_meter(0);
  fake::queue_fault(cudaErrorIllegalAddress);
  expect_error(ErrorCode::Device, {"is lost"}, [&] { d.synchronize(); });
  d.release(a, 8);
  cuda::backend(0);
  expect(d.meter() == nullptr, "metered in a context that is gone");
  a = static_cast<int*>(d.allocate(8));
  cuda::start_busy_meter(0);
  d.fill(a, 0, 8);
  expect(cuda::stop_busy_meter(0).spans == 1, "not metered in a new context");
  d.release(a, 8);
}

void library_refused() {
  cuda::CudaDevice& d = open();
  Arena arena(d);
  arena.reserve(cuda::CublasLtHandle::kWorkspaceBytes + kMiB);
  Exec exec;
  exec.device = &d;
  exec.arena = &arena;
  exec.compute = DType::BF16;
  expect(cuda::products().library.find("cuBLASLt 13.1.2") == 0, cuda::products().reason);
  expect(cuda::has_gemm_library(exec), "the library is not used");
  const cuda::DenseProduct p{cuda::Layout::NT, DType::BF16, DType::F32, 8, 8,    8, nullptr, 8,
                             nullptr,          8,           nullptr,    8, false};
  expect(!cuda::library_gemm(exec, p, cuda::Refusal::Counted), "a library that does not open has multiplied");
  expect(!cuda::has_gemm_library(exec), "the library is asked again");
  const cuda::Products products = cuda::products();
  expect(products.library.empty() && products.reason.find("does not work on cuda:0") != std::string::npos,
         products.reason);
}

void library_counted() {
  unsetenv("FAKE_CUBLASLT_REFUSES");
  cuda::CudaDevice& d = open();
  Arena arena(d);
  arena.reserve(cuda::CublasLtHandle::kWorkspaceBytes + kMiB);
  Exec exec;
  exec.device = &d;
  exec.arena = &arena;
  exec.compute = DType::BF16;
  void* const matrix = arena.alloc(40 * 40 * 4, MemoryKind::Workspace);
  const auto product = [&](int64_t n) {
    return cuda::DenseProduct{cuda::Layout::NT, DType::BF16, DType::F32, 5,  n,    32, matrix, 32,
                              matrix,           32,          matrix,     40, false};
  };
  expect(cuda::has_gemm_library(exec), "the library is not used");
  const int64_t before = d.launches();
  expect(cuda::library_gemm(exec, product(40), cuda::Refusal::Counted) &&
             cuda::library_gemm(exec, product(32), cuda::Refusal::Counted),
         "not multiplied");
  expect(d.launches() == before + 2, "the library's kernels are not counted");
  cuda::Products products = cuda::products();
  expect(products.by_library == 2 && products.by_own == 0 && products.first_own.empty(), "not counted");
  // The fake proposes nothing for 8 columns, and does not do what it proposed for 16.
  expect(!cuda::library_gemm(exec, product(8), cuda::Refusal::Counted) &&
             !cuda::library_gemm(exec, product(16), cuda::Refusal::Counted),
         "offered");
  expect(!cuda::library_gemm(exec, product(8), cuda::Refusal::Tolerated), "offered");
  exec.dry = true;
  cuda::library_gemm(exec, product(8), cuda::Refusal::Counted);
  products = cuda::products();
  expect(products.library.find("cuBLASLt 13.1.2") == 0, products.reason);
  expect(products.by_library == 2 && products.by_own == 2, "what is not offered is not counted");
  expect(products.first_own == "NT bf16 to f32, 5 x 8 x 32", products.first_own);
}

void library_of_another_version() {
  setenv("FAKE_CUBLASLT_VERSION", "140001", 1);
  const cuda::Products products = cuda::products();
  // A machine may have another that is used.
  const std::string said = products.library.empty() ? products.reason : products.passed_over;
  expect(said.find("libfake.so: version 14.0.1, and fintune knows 11, 12 and 13") != std::string::npos, said);
  expect(products.library.find("libfake") == std::string::npos, products.library);
}

void library_chosen_wrongly() {
  setenv("FINTUNE_GEMM", "cublas", 1);
  for (int i = 0; i < 2; ++i) {
    expect_error(ErrorCode::Argument, {"FINTUNE_GEMM is own or cublaslt, found cublas"},
                 [] { cuda::gemm_library(); });
  }
  setenv("FINTUNE_GEMM", "own", 1);
  expect(cuda::products().reason == "FINTUNE_GEMM=own", cuda::products().reason);
}

void tensor_maps() {
  Exec exec;
  exec.device = &open();
  expect(cuda::has_tensor_maps(), "the driver has the function");
  alignas(16) char memory[32];
  const cuda::TensorMap map = cuda::tensor_map(exec, {memory, 1000, 896, 1152}, 32);
  expect(map.words[0] == 0x5A5A5A5A5A5A5A5A && map.words[15] == map.words[0], "the map is the driver's");
  const fake::TensorMapCall call = fake::tensor_map_call();
  expect(call.type == CU_TENSOR_MAP_DATA_TYPE_UINT16 && call.address == memory, "its elements");
  expect(call.size[0] == 896 && call.size[1] == 1000 && call.stride == 2304,
         "columns, rows and bytes of a row");
  expect(call.box[0] == 64 && call.box[1] == 32 && call.step[0] == 1 && call.step[1] == 1, "its boxes");
  expect(call.swizzle == CU_TENSOR_MAP_SWIZZLE_128B, "its swizzle");
  expect(call.fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE, "zeros beyond the matrix");
  expect_error(ErrorCode::Device,
               {"cuda:0: the driver makes no tensor map of [1000, 896]", "of 1152: error 1"}, [&] {
                 cuda::tensor_map(exec, {memory + 2, 1000, 896, 1152}, 32);
               });
  exec.dry = true;
  expect(cuda::tensor_map(exec, {nullptr, 1000, 896, 1152}, 32).words[0] == 0, "nothing is made in dry runs");
}

void no_tensor_maps() {
  open();
  fake::fail_next(CUDART_VERSION >= 12050 ? "cudaGetDriverEntryPointByVersion" : "cudaGetDriverEntryPoint",
                  cudaErrorInvalidValue);
  expect(!cuda::has_tensor_maps(), "the driver has no such function");
  expect(cudaGetLastError() == cudaSuccess, "the error is forgotten");
}

void tensor_maps_unknown() {
  fake::Machine machine = kOne;
  machine.driver = 11080;
  fake::set_machine(machine);
  expect(!cuda::has_tensor_maps(), "the driver is too old for such a function");
}

struct Case {
  const char* name;
  void (*run)();
};
constexpr Case kCases[] = {
    {"an upload is whole although its source is overwritten at once", upload_keeps},
    {"work is done in order", in_order},
    {"memory that is full is said in bytes, and forgotten", memory_full},
    {"a launch that is refused leaves the device usable", refused_launch},
    {"the limit of shared memory is raised where needed", shared_limit},
    {"a lost device refuses everything, and is opened again when nothing lies on it", lost_and_reopened},
    {"GPUs are surveyed, and those that cannot be used named", which_gpus},
    {"GPUs are served by code of their own kind alone", which_code},
    {"why there is no GPU", why_none},
    {"what is recorded is done again by one call", recorded},
    {"the time in which a GPU has work is metered", busy_metered},
    {"what is read back is waited for later", read_back},
    {"tensor maps are asked of the driver", tensor_maps},
    {"a driver that refuses the function of tensor maps", no_tensor_maps},
    {"a driver without the function of tensor maps", tensor_maps_unknown},
    {"cuBLASLt that does not open on a GPU is passed over", library_refused},
    {"products that cuBLASLt makes are counted, and those that it does not offer", library_counted},
    {"cuBLASLt of another major version is passed over", library_of_another_version},
    {"a choice of FINTUNE_GEMM that is none is refused every time", library_chosen_wrongly},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    for (const Case& c : kCases) std::printf("%s\n", c.name);
    return 0;
  }
  for (const Case& c : kCases) {
    if (std::strcmp(c.name, argv[1]) != 0) continue;
    try {
      c.run();
    } catch (const std::exception& e) {
      std::printf("%s\n", e.what());
      return 1;
    }
    std::printf("ok\n");
    return 0;
  }
  return 2;
}
