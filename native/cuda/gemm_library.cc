// The library is one for the process; each device has its own handle.
#include "cuda/gemm_library.h"

#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "cuda/device.h"

namespace fintune {
namespace cuda {

namespace {

struct Shared {
  std::mutex mutex;
  std::vector<std::string> files;
  bool tried = false;
  std::shared_ptr<CublasLt> library;
  GemmLibrary report;
  GemmCounts counts;
  bool demanded = false;
  struct OfDevice {
    int generation = -1;
    std::unique_ptr<CublasLtHandle> handle;
    bool refused = false;  // the library does not open there
  };
  std::map<int, OfDevice> handles;
};

// Never destroyed: at the end of the process the driver may be gone before it.
Shared& shared() {
  static Shared* const s = new Shared;
  return *s;
}

void open(Shared& s) {
  const char* const choice = std::getenv("FINTUNE_GEMM");
  const std::string wanted = choice != nullptr ? choice : "";
  require(wanted.empty() || wanted == "own" || wanted == "cublaslt",
          "FINTUNE_GEMM is own or cublaslt, found ", wanted);
  s.tried = true;
  if (wanted == "own") {
    s.report.reason = "FINTUNE_GEMM=own";
    return;
  }
  std::vector<std::string> files;
  const char* const file = std::getenv("FINTUNE_CUBLASLT");
  if (file != nullptr && *file != '\0') files.push_back(file);
  files.insert(files.end(), s.files.begin(), s.files.end());
  std::string passed_over, absent;
  s.library = CublasLt::open(files, &passed_over);
  if (!s.library) {
    s.library = CublasLt::open({"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"}, &absent);
  }
  s.demanded = wanted == "cublaslt";
  s.report.reason = passed_over + (passed_over.empty() || absent.empty() ? "" : "; ") + absent;
  if (s.library) {
    s.report =
        GemmLibrary{"cuBLASLt " + s.library->version() + " (" + s.library->name() + ")", "", passed_over};
  } else if (s.demanded) {
    s.tried = false;
    fail(ErrorCode::Device, "FINTUNE_GEMM=cublaslt, but it does not open: ", s.report.reason);
  }
}

}  // namespace

void set_gemm_library_files(std::vector<std::string> files) {
  Shared& s = shared();
  const std::lock_guard<std::mutex> lock(s.mutex);
  s.files = std::move(files);
}

GemmLibrary gemm_library() {
  Shared& s = shared();
  const std::lock_guard<std::mutex> lock(s.mutex);
  if (!s.tried) open(s);
  return s.report;
}

GemmCounts gemm_counts() {
  Shared& s = shared();
  const std::lock_guard<std::mutex> lock(s.mutex);
  return s.counts;
}

bool has_gemm_library(const Exec& exec) {
  gemm_library();
  Shared& s = shared();
  const std::lock_guard<std::mutex> lock(s.mutex);
  if (!s.library) return false;
  const auto mine = s.handles.find(device_of(exec).index());
  return mine == s.handles.end() || !mine->second.refused;
}

namespace {

// The device's handle, made anew in a new context; null where the library does not open there, which is an
// error only where it was demanded: our own kernels multiply then.
CublasLtHandle* handle_of(CudaDevice& device) {
  Shared& s = shared();
  const std::lock_guard<std::mutex> lock(s.mutex);
  Shared::OfDevice& mine = s.handles[device.index()];
  if (mine.generation == device.generation()) return mine.handle.get();
  if (mine.handle != nullptr) mine.handle->forget();
  mine = Shared::OfDevice{device.generation(), nullptr, false};
  try {
    mine.handle = std::make_unique<CublasLtHandle>(s.library);
  } catch (const Error& e) {
    mine.refused = true;
    if (s.demanded) throw;
    s.report = GemmLibrary{"", s.report.name + " does not work on " + device.name() + ": " + e.what(), ""};
  }
  return mine.handle.get();
}

std::string describe(const DenseProduct& p) {
  const char* const layout = p.layout == Layout::NT ? "NT" : p.layout == Layout::NN ? "NN" : "TN";
  return std::string(layout) + " " + dtype_name(p.compute) + " to " + dtype_name(p.c_type) + ", " +
         std::to_string(p.m) + " x " + std::to_string(p.n) + " x " + std::to_string(p.k);
}

void count(const DenseProduct& p, bool offered) {
  Shared& s = shared();
  const std::lock_guard<std::mutex> lock(s.mutex);
  ++(offered ? s.counts.library : s.counts.own);
  if (!offered && s.counts.first.empty()) s.counts.first = describe(p);
}

}  // namespace

bool library_gemm(Exec& exec, const DenseProduct& p, Refusal refusal) {
  constexpr size_t kAlignment = 256;
  ArenaScope scope(*exec.arena);
  void* const block = exec.arena->alloc(CublasLtHandle::kWorkspaceBytes + kAlignment, MemoryKind::Workspace);
  if (exec.dry) return false;
  const uintptr_t start = (reinterpret_cast<uintptr_t>(block) + kAlignment - 1) / kAlignment * kAlignment;

  CudaDevice& device = device_of(exec);
  device.use();
  CublasLtHandle* const handle = handle_of(device);
  if (handle == nullptr) return false;
  const BusyMeter::Piece metered(device.meter(), device.stream());
  const bool offered = handle->multiply(p, reinterpret_cast<void*>(start), device.stream());
  if (offered || refusal == Refusal::Counted) count(p, offered);
  if (offered) device.count_launch();
  return offered;
}

}  // namespace cuda
}  // namespace fintune
