// What CUDA's error numbers mean to somebody who wants to use a GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace fintune {
namespace cuda {

// A sentence without its full stop: what is wrong and, where something can be done, what to do.
std::string explain(cudaError_t status);

// True where the driver has machine code or the PTX of this build to run on GPUs of that capability, and what
// it takes was compiled for their tile shapes.
bool build_serves(int capability);
// "compute capability 7.0, but this build has ...": why build_serves is false.
std::string why_not_served(int capability);

}  // namespace cuda
}  // namespace fintune
