// The functions of the CUDA runtime that native/cuda calls. One context for all GPUs of the machine will do.
#include "fake_runtime.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <utility>

struct CUstream_st {};
struct CUgraph_st {
  std::vector<std::function<void()>> work;
};
struct CUgraphExec_st {
  std::vector<std::function<void()>> work;
};
struct CUevent_st {
  size_t at = 0;  // it is done when this many pieces of work are
};

namespace {

struct State {
  fake::Machine machine;
  std::map<std::string, cudaError_t> failures;
  cudaError_t last = cudaSuccess;
  cudaError_t sticky = cudaSuccess;
  std::deque<std::function<void()>> work;
  CUgraph_st* capturing = nullptr;  // what is queued goes into it
  size_t done = 0;
  std::map<void*, size_t> blocks;
  int limits = 0;
  fake::TensorMapCall tensor_map{};
};
State state;

CUresult encode(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                const cuuint64_t* size, const cuuint64_t* stride, const cuuint32_t* box,
                const cuuint32_t* step, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  if (rank != 2 || reinterpret_cast<uintptr_t>(address) % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  state.tensor_map = {type,    address, {size[0], size[1]}, stride[0], {box[0], box[1]}, {step[0], step[1]},
                      swizzle, fill};
  std::memset(map, 0x5A, sizeof *map);
  return CUDA_SUCCESS;
}

// What every call does first: the context's error, or the one that the test wants.
cudaError_t enter(const char* function) {
  if (state.sticky != cudaSuccess) return state.last = state.sticky;
  const auto failure = state.failures.find(function);
  if (failure == state.failures.end()) return cudaSuccess;
  state.last = failure->second;
  state.failures.erase(failure);
  return state.last;
}

cudaError_t run_until(size_t count) {
  while (state.done < count && !state.work.empty() && state.sticky == cudaSuccess) {
    state.work.front()();
    state.work.pop_front();
    ++state.done;
  }
  return state.last = state.sticky;
}

void queue(std::function<void()> work) {
  if (state.capturing != nullptr) {
    state.capturing->work.push_back(std::move(work));
  } else {
    state.work.push_back(std::move(work));
  }
}

size_t end_of_queue() { return state.done + state.work.size(); }

#define ENTER()                                \
  const cudaError_t entered = enter(__func__); \
  if (entered != cudaSuccess) return entered

}  // namespace

namespace fake {

void set_machine(const Machine& machine) {
  state.machine = machine;
  state.failures.clear();
  state.last = cudaSuccess;
}
void fail_next(const std::string& function, cudaError_t error) { state.failures[function] = error; }
void queue_fault(cudaError_t error) {
  state.work.push_back([error] { state.sticky = error; });
}
size_t queued() { return state.work.size(); }
size_t allocated() {
  size_t sum = 0;
  for (const auto& [p, bytes] : state.blocks) sum += bytes;
  return sum;
}
int limits_raised() { return state.limits; }
TensorMapCall tensor_map_call() { return state.tensor_map; }

}  // namespace fake

extern "C" {

cudaError_t cudaGetLastError() {
  const cudaError_t last = state.sticky != cudaSuccess ? state.sticky : state.last;
  state.last = cudaSuccess;
  return last;
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaErrorOther";
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "an illegal memory access was encountered" : "another error";
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = state.machine.driver;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (state.machine.count_error != cudaSuccess) return state.last = state.machine.count_error;
  *count = static_cast<int>(state.machine.gpus.size());
  return *count > 0 ? cudaSuccess : state.last = cudaErrorNoDevice;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  ENTER();
  *properties = cudaDeviceProp{};
  const fake::Gpu& gpu = state.machine.gpus[static_cast<size_t>(index)];
  std::strncpy(properties->name, gpu.name, sizeof properties->name - 1);
  properties->major = gpu.capability / 10;
  properties->minor = gpu.capability % 10;
  properties->multiProcessorCount = 8;
  properties->totalGlobalMem = gpu.memory;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) {
  ENTER();
  return cudaSuccess;
}
// As the real one, it may report the error that it clears.
cudaError_t cudaDeviceReset() {
  const cudaError_t before = state.sticky;
  for (const auto& [p, bytes] : state.blocks) std::free(p);
  state.blocks.clear();
  state.work.clear();
  state.sticky = state.last = cudaSuccess;
  return before;
}
cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  ENTER();
  *total = state.machine.gpus[0].memory;
  *available = *total - fake::allocated();
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** p, size_t bytes) {
  ENTER();
  if (bytes > state.machine.gpus[0].memory - fake::allocated()) return state.last = cudaErrorMemoryAllocation;
  *p = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*p, 0xEE, bytes);
  state.blocks[*p] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
  ENTER();
  const cudaError_t status = run_until(end_of_queue());
  if (status == cudaSuccess && state.blocks.erase(p) > 0) std::free(p);
  return status;
}
cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) {
  ENTER();
  *p = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  ENTER();
  queue([=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* p, int byte, size_t bytes, cudaStream_t) {
  ENTER();
  queue([=] { std::memset(p, byte, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  ENTER();
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  ENTER();
  if (state.capturing != nullptr) return state.last = cudaErrorStreamCaptureUnsupported;
  return run_until(end_of_queue());
}
cudaError_t cudaStreamQuery(cudaStream_t) {
  ENTER();
  return state.work.empty() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  ENTER();
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  ENTER();
  event->at = end_of_queue();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  ENTER();
  return run_until(event->at);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  ENTER();
  *milliseconds = static_cast<float>(end->at - begin->at);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  ENTER();
  state.capturing = new CUgraph_st;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = state.capturing;
  state.capturing = nullptr;
  ENTER();
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  ENTER();
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  ENTER();
  for (const auto& work : executable->work) queue(work);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* p) {
  const cudaError_t status = run_until(end_of_queue());
  std::free(p);
  return status;
}

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) {
  ENTER();
  ++state.limits;
  return cudaSuccess;
}
// A kernel here is a host function that takes its arguments as the runtime does.
cudaError_t cudaLaunchKernel(const void* kernel, dim3, dim3, void** arguments, size_t, cudaStream_t) {
  ENTER();
  int* const target = *static_cast<int**>(arguments[0]);
  queue([=] { reinterpret_cast<void (*)(int*)>(const_cast<void*>(kernel))(target); });
  return cudaSuccess;
}

#if CUDART_VERSION >= 12050
#define ENTRY_POINT cudaGetDriverEntryPointByVersion
cudaError_t ENTRY_POINT(const char* symbol, void** function, unsigned int, unsigned long long,
                        cudaDriverEntryPointQueryResult* found) {
#else
#define ENTRY_POINT cudaGetDriverEntryPoint
cudaError_t ENTRY_POINT(const char* symbol, void** function, unsigned long long,
                        cudaDriverEntryPointQueryResult* found) {
#endif
  ENTER();
  const bool there = state.machine.driver >= 12000 && std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
  *found = there ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  *function = there ? reinterpret_cast<void*>(encode) : nullptr;
  return cudaSuccess;
}

}  // extern "C"
