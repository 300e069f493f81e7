// Graph: captured in relaxed mode, since work may allocate pinned memory; a captured stream belongs to the
// capturing thread for as long (CudaDevice sees to that).
#include "cuda/graph.h"

#include <cstring>

#include "cuda/device.h"

namespace fintune {
namespace cuda {

Graph::Graph(CudaDevice& device) : device_(device), generation_(device.generation()) {}

Graph::~Graph() {
  // With the context went all that was made in it.
  if (device_.lost() || device_.generation() != generation_) return;
  if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
  for (void* p : kept_) cudaFreeHost(p);
  cudaGetLastError();
}

bool Graph::capture(const std::function<void()>& work) {
  const cudaStream_t stream = device_.stream();
  if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    if (cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  cudaError_t status = cudaStreamEndCapture(stream, &graph);
  if (status == cudaSuccess) status = cudaGraphInstantiate(&executable_, graph, 0);
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (status == cudaSuccess) return true;
  executable_ = nullptr;
  cudaGetLastError();
  return false;
}

void Graph::replay() {
  device_.use();
  require(device_.generation() == generation_ && executable_ != nullptr,
          "a recording of a device that was lost since cannot be replayed");
  const BusyMeter::Piece metered(device_.meter(), device_.stream());
  device_.check(cudaGraphLaunch(executable_, device_.stream()), "replaying a recording");
  device_.count_launches(launches_);
}

cudaError_t Graph::keep(const void* from, size_t bytes, void** kept) {
  void* p = nullptr;
  const cudaError_t status = cudaHostAlloc(&p, bytes, cudaHostAllocDefault);
  if (status != cudaSuccess) return status;
  kept_.push_back(p);
  std::memcpy(p, from, bytes);
  *kept = p;
  return cudaSuccess;
}

}  // namespace cuda
}  // namespace fintune
