// CudaDevice: memory, copies through pinned staging, launches, and errors told apart by whether the context
// survives.
#include "cuda/device.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "cuda/errors.h"

namespace fintune {
namespace cuda {
namespace {

// Dynamic shared memory that every kernel may have without asking.
constexpr size_t kFreeSharedBytes = 48 << 10;

using Queueing = std::lock_guard<std::recursive_mutex>;

}  // namespace

CudaDevice::CudaDevice(int index) : index_(index), name_("cuda:" + std::to_string(index)), title_(name_) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index), "asking for its properties");
  title_ = name_ + " (" + properties.name + ")";
  capability_ = properties.major * 10 + properties.minor;
  multiprocessors_ = properties.multiProcessorCount;
  memory_total_ = properties.totalGlobalMem;
  if (!build_serves(capability_)) fail(ErrorCode::Device, title_, ": ", why_not_served(capability_));
  open_stream();
}

void CudaDevice::open_stream() {
  check(cudaSetDevice(index_), "opening it");
  // Its own stream: the default one would wait for whatever else uses the GPU in this process.
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "opening it");
}

void CudaDevice::reopen() {
  const int64_t held = blocks_;
  if (held != 0) {
    fail(ErrorCode::Device, title_, ": lost after an earlier error, and ", held,
         " blocks of its memory are still held: let go of all that lies on it first");
  }
  const Queueing lock(mutex_);
  // Frees everything that was made in the old context. Both calls may report the old error once more; whether
  // it helped shows when the stream is made.
  cudaSetDevice(index_);
  cudaDeviceReset();
  cudaGetLastError();
  stream_ = nullptr;
  timer_start_ = timer_stop_ = nullptr;
  busy_.forget();
  staging_.forget();
  pinned_.forget();
  shared_limits_.clear();
  open_stream();
  ++generation_;
  lost_ = false;
}

void CudaDevice::use() {
  if (lost_) {
    fail(ErrorCode::Device, title_,
         ": lost after an earlier error: let go of all that lies on it, and open it again");
  }
  check(cudaSetDevice(index_), "choosing it");
}

void CudaDevice::check(cudaError_t status, const char* doing) {
  if (status != cudaSuccess) throw_error(status, doing);
}

void CudaDevice::throw_error(cudaError_t status, const std::string& doing) {
  // An error that the context survives is gone once it has been read; one that it does not comes back.
  cudaGetLastError();
  if (stream_ != nullptr) {
    const cudaError_t after = cudaStreamQuery(stream_);
    if (after != cudaSuccess && after != cudaErrorNotReady) {
      lost_ = true;
      fail(ErrorCode::Device, title_, ": ", doing, ": ", explain(after),
           ". It may come from earlier work (CUDA_LAUNCH_BLOCKING=1 shows whose). What lay in the GPU's "
           "memory is "
           "lost: let go of all that lies on it, and open it again");
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
    ++blocks_;
    return p;
  }
  cudaGetLastError();
  const size_t available = memory_free();
  fail(ErrorCode::OutOfMemory, title_, ": no block of ", bytes, " bytes is free: ", available,
       " bytes are, of ", memory_total_);
}

size_t CudaDevice::memory_free() {
  use();
  size_t available = 0, total = 0;
  check(cudaMemGetInfo(&available, &total), "asking for its memory");
  return available;
}

void CudaDevice::release(void* p, size_t) noexcept {
  if (p == nullptr) return;
  if (!lost_ && (cudaSetDevice(index_) != cudaSuccess || cudaFree(p) != cudaSuccess)) cudaGetLastError();
  --blocks_;
}

void CudaDevice::upload(void* to, const void* from, size_t bytes) {
  use();
  const Queueing lock(mutex_);
  if (recording_ != nullptr) {
    if (bytes == 0) return;
    void* kept = nullptr;
    check(recording_->keep(from, bytes, &kept), "keeping an upload");
    check(cudaMemcpyAsync(to, kept, bytes, cudaMemcpyHostToDevice, stream_), "copying to it");
    return;
  }
  for (size_t done = 0; done < bytes;) {
    const size_t n = std::min(bytes - done, Staging::kPiece);
    void* piece = nullptr;
    check(staging_.take(n, &piece), "waiting for a place in pinned memory");
    std::memcpy(piece, static_cast<const char*>(from) + done, n);
    {
      const BusyMeter::Piece metered(meter(), stream_);
      check(cudaMemcpyAsync(static_cast<char*>(to) + done, piece, n, cudaMemcpyHostToDevice, stream_),
            "copying to it");
    }
    check(staging_.give(stream_), "copying to it");
    done += n;
  }
}

void CudaDevice::download(void* to, const void* from, size_t bytes) {
  use();
  const Queueing lock(mutex_);
  refuse_to_wait();
  for (size_t done = 0; done < bytes;) {
    const size_t n = std::min(bytes - done, Staging::kPiece);
    void* piece = nullptr;
    check(staging_.take(n, &piece), "waiting for a place in pinned memory");
    {
      const BusyMeter::Piece metered(meter(), stream_);
      check(cudaMemcpyAsync(piece, static_cast<const char*>(from) + done, n, cudaMemcpyDeviceToHost, stream_),
            "copying from it");
    }
    check(cudaStreamSynchronize(stream_), "waiting for it");
    std::memcpy(static_cast<char*>(to) + done, piece, n);
    done += n;
  }
}

std::unique_ptr<Readback> CudaDevice::read_back(const void* from, size_t bytes) {
  use();
  const Queueing lock(mutex_);
  refuse_to_wait();
  PinnedBlock block;
  check(pinned_.take(bytes, &block), "taking pinned memory");
  auto read = std::make_unique<CudaReadback>(*this, block);
  if (bytes != 0) {
    const BusyMeter::Piece metered(meter(), stream_);
    check(cudaMemcpyAsync(block.host, from, bytes, cudaMemcpyDeviceToHost, stream_), "copying from it");
  }
  check(cudaEventRecord(block.landed, stream_), "copying from it");
  return read;
}

void CudaDevice::give_back(const PinnedBlock& block) {
  const Queueing lock(mutex_);
  pinned_.give(block);
}

void CudaDevice::copy(void* to, const void* from, size_t bytes) {
  use();
  if (bytes == 0) return;
  const Queueing lock(mutex_);
  const BusyMeter::Piece metered(meter(), stream_);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copying within it");
}

void CudaDevice::fill(void* to, int byte, size_t bytes) {
  use();
  const Queueing lock(mutex_);
  if (bytes == 0) return;
  const BusyMeter::Piece metered(meter(), stream_);
  check(cudaMemsetAsync(to, byte, bytes, stream_), "filling its memory");
}

void CudaDevice::synchronize() {
  use();
  {
    const Queueing lock(mutex_);
    refuse_to_wait();
  }
  check(cudaStreamSynchronize(stream_), "waiting for it");
}

void CudaDevice::refuse_to_wait() const {
  if (recording_ != nullptr) fail(ErrorCode::Internal, title_, ": what is recorded waits for the device");
}

std::unique_ptr<Recording> CudaDevice::record(const std::function<void()>& work) {
  use();
  const Queueing lock(mutex_);
  if (recording_ != nullptr) fail(ErrorCode::Internal, title_, ": a recording within a recording");
  auto graph = std::make_unique<Graph>(*this);
  recording_ = graph.get();
  bool captured = false;
  try {
    captured = graph->capture(work);
  } catch (...) {
    recording_ = nullptr;
    throw;
  }
  recording_ = nullptr;
  if (!captured) {
    work();
    return nullptr;
  }
  graph->replay();
  return graph;
}

void CudaDevice::start_timer() {
  use();
  if (timer_start_ == nullptr) {
    check(cudaEventCreate(&timer_start_), "making a timer");
    check(cudaEventCreate(&timer_stop_), "making a timer");
  }
  check(cudaEventRecord(timer_start_, stream_), "starting a timer");
}

double CudaDevice::stop_timer() {
  use();
  check(cudaEventRecord(timer_stop_, stream_), "stopping a timer");
  check(cudaEventSynchronize(timer_stop_), "waiting for it");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, timer_start_, timer_stop_), "reading a timer");
  return static_cast<double>(milliseconds) / 1e3;
}

void CudaDevice::start_busy_meter() {
  use();
  const Queueing lock(mutex_);
  busy_.start();
}

const BusyMeter& CudaDevice::stop_busy_meter() {
  use();
  const Queueing lock(mutex_);
  busy_.stop();
  return busy_;
}

void CudaDevice::launch(const Launch& l) {
  use();
  const Queueing lock(mutex_);
  if (l.shared_bytes > kFreeSharedBytes) {
    size_t& limit = shared_limits_[l.kernel];
    if (limit < l.shared_bytes) {
      const cudaError_t status = cudaFuncSetAttribute(l.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                      static_cast<int>(l.shared_bytes));
      if (status != cudaSuccess) throw_error(status, std::string("launching ") + l.name);
      limit = l.shared_bytes;
    }
  }
  const dim3 grid(static_cast<unsigned>(l.grid.x), static_cast<unsigned>(l.grid.y),
                  static_cast<unsigned>(l.grid.z));
  const BusyMeter::Piece metered(meter(), stream_);
  const cudaError_t status = cudaLaunchKernel(l.kernel, grid, dim3(static_cast<unsigned>(l.threads)),
                                              l.arguments, l.shared_bytes, stream_);
  if (status != cudaSuccess) throw_error(status, std::string("launching ") + l.name);
  count_launch();
}

void CudaDevice::count_launch() {
  if (recording_ != nullptr)
    recording_->count_launch();
  else
    ++launches_;
}

void launch_kernel(Exec& exec, const Launch& launch) { device_of(exec).launch(launch); }

int capability(const Exec& exec) { return device_of(exec).capability(); }

int multiprocessors(const Exec& exec) { return device_of(exec).multiprocessors(); }

}  // namespace cuda
}  // namespace fintune
