// A CUDA runtime without GPUs, for tests of what native/cuda makes of the real one: memory is the host's, and
// queued work is done as late as CUDA allows, so that memory which is reused too early shows.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <vector>

namespace fake {

struct Gpu {
  const char* name;
  int capability;
  size_t memory;
};
struct Machine {
  int driver = 13000;
  cudaError_t count_error = cudaSuccess;  // of cudaGetDeviceCount
  std::vector<Gpu> gpus;
};
// Also forgets all errors.
void set_machine(const Machine& machine);

// The next call of that function gives this error, once.
void fail_next(const std::string& function, cudaError_t error);
// Queued: when the GPU comes to it, its context is destroyed, and everything fails until it is reset.
void queue_fault(cudaError_t error);

size_t queued();      // pieces of work that are not done yet
size_t allocated();   // bytes of the GPU's memory
int limits_raised();  // calls of cudaFuncSetAttribute

// What the driver was asked for last: a tensor map of two dimensions. Refused where the address is no
// multiple of 16.
struct TensorMapCall {
  CUtensorMapDataType type;
  const void* address;
  cuuint64_t size[2], stride;
  cuuint32_t box[2], step[2];
  CUtensorMapSwizzle swizzle;
  CUtensorMapFloatOOBfill fill;
};
TensorMapCall tensor_map_call();

}  // namespace fake
