// CudaDevice: memory, copies through pinned staging, and errors told apart by whether the context survives.
#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "cuda/device.h"
#include "cuda/errors.h"

namespace fintune {
namespace cuda {

CudaDevice::CudaDevice(int index) : index_(index), name_("cuda:" + std::to_string(index)), title_(name_) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index), "asking for its properties");
  title_ = name_ + " (" + properties.name + ")";
  capability_ = properties.major * 10 + properties.minor;
  multiprocessors_ = properties.multiProcessorCount;
  shared_memory_ = properties.sharedMemPerBlockOptin;
  if (!build_serves(capability_)) fail(ErrorCode::Device, title_, ": ", why_not_served(capability_));
  check(cudaSetDevice(index), "opening");
  // Its own stream: the default one would wait for whatever else uses the GPU in this process.
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "opening");
}

CudaDevice::~CudaDevice() {
  // A lost context takes everything with it when it is reset; nothing in it can be freed one by one.
  if (lost_->load() || stream_ == nullptr || cudaSetDevice(index_) != cudaSuccess) return;
  cudaStreamSynchronize(stream_);
  staging_.close();
  cudaStreamDestroy(stream_);
  cudaGetLastError();
}

void CudaDevice::use() {
  if (lost_->load()) {
    fail(ErrorCode::Device, title_,
         ": lost after an earlier error: let go of all that lies on it, and open it again");
  }
  check(cudaSetDevice(index_), "choosing it");
}

void CudaDevice::check(cudaError_t status, const char* doing) {
  if (status != cudaSuccess) throw_error(status, doing);
}

void CudaDevice::throw_error(cudaError_t status, const char* doing) {
  // An error that the context survives is gone once it has been read; one that it does not comes back.
  cudaGetLastError();
  if (stream_ != nullptr) {
    const cudaError_t after = cudaStreamQuery(stream_);
    if (after != cudaSuccess && after != cudaErrorNotReady) {
      lost_->store(true);
      fail(ErrorCode::Device, title_, ": ", doing, ": ", explain(after),
           ". What lay in its memory is lost: let go of all that lies on it, and open it again");
    }
  }
  const ErrorCode code = status == cudaErrorMemoryAllocation ? ErrorCode::OutOfMemory : ErrorCode::Device;
  fail(code, title_, ": ", doing, ": ", explain(status));
}

void* CudaDevice::allocate(size_t bytes) {
  use();
  void* p = nullptr;
  const cudaError_t status = cudaMalloc(&p, std::max<size_t>(bytes, 1));
  if (status != cudaErrorMemoryAllocation) {
    check(status, "allocating memory");
    return p;
  }
  cudaGetLastError();
  size_t available = 0, total = 0;
  check(cudaMemGetInfo(&available, &total), "asking for its memory");
  fail(ErrorCode::OutOfMemory, title_, ": no block of ", bytes, " bytes is free: ", available,
       " bytes are, of ", total);
}

void CudaDevice::release(void* p, size_t) noexcept {
  if (p == nullptr || lost_->load()) return;
  if (cudaSetDevice(index_) != cudaSuccess || cudaFree(p) != cudaSuccess) cudaGetLastError();
}

void CudaDevice::upload(void* to, const void* from, size_t bytes) {
  use();
  const std::lock_guard<std::mutex> lock(staging_mutex_);
  for (size_t done = 0; done < bytes;) {
    const size_t n = std::min(bytes - done, Staging::kPiece);
    void* piece = nullptr;
    check(staging_.take(n, &piece), "waiting for a place in pinned memory");
    std::memcpy(piece, static_cast<const char*>(from) + done, n);
    check(cudaMemcpyAsync(static_cast<char*>(to) + done, piece, n, cudaMemcpyHostToDevice, stream_),
          "copying to it");
    check(staging_.give(stream_), "copying to it");
    done += n;
  }
}

void CudaDevice::download(void* to, const void* from, size_t bytes) {
  use();
  const std::lock_guard<std::mutex> lock(staging_mutex_);
  for (size_t done = 0; done < bytes;) {
    const size_t n = std::min(bytes - done, Staging::kPiece);
    void* piece = nullptr;
    check(staging_.take(n, &piece), "waiting for a place in pinned memory");
    check(cudaMemcpyAsync(piece, static_cast<const char*>(from) + done, n, cudaMemcpyDeviceToHost, stream_),
          "copying from it");
    check(cudaStreamSynchronize(stream_), "waiting for it");
    std::memcpy(static_cast<char*>(to) + done, piece, n);
    done += n;
  }
}

void CudaDevice::copy(void* to, const void* from, size_t bytes) {
  use();
  if (bytes != 0)
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copying within it");
}

void CudaDevice::fill(void* to, int byte, size_t bytes) {
  use();
  if (bytes != 0) check(cudaMemsetAsync(to, byte, bytes, stream_), "filling its memory");
}

void CudaDevice::synchronize() {
  use();
  check(cudaStreamSynchronize(stream_), "waiting for it");
}

}  // namespace cuda
}  // namespace fintune
