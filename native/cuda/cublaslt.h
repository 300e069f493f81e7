// NVIDIA's cuBLASLt, opened at run time: nothing is linked, no header of it is needed. Large dense products
// go through it where it is present (gemm_library.h).
//
// An algorithm is chosen once for the factors' layout, types and fixed sizes, with the number of rows taken
// as kRows, and kept: so an element of C has the same bits whatever the number of rows, as gemm.h promises.
// Sums are not cut into parts. Workspace is the caller's, always of the same size.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "cuda/gemm_tile.h"

namespace fintune {
namespace cuda {

// C [m, n] = alpha op(A) op(B) (+ C) (+ bias over n); all pointers and rows are multiples of 16 bytes.
struct DenseProduct {
  Layout layout;
  DType compute;  // of A and B: bf16 or f16
  DType c_type;   // that, or f32
  int64_t m, n, k;
  const void* a;
  int64_t lda;
  const void* b;
  int64_t ldb;
  void* c;
  int64_t ldc;
  bool accumulate;
  float alpha = 1;
  const void* bias = nullptr;  // [n], of C's type, which is not f32 then
};

struct CublasLtFunctions;

// The library's functions.
class CublasLt {
 public:
  // The first of `names` (SONAMEs or paths) that opens, has the functions and is of major version 11, 12
  // or 13. `reason` says why those before it, or all where it is null, were passed over.
  static std::shared_ptr<CublasLt> open(const std::vector<std::string>& names, std::string* reason);
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  const std::string& name() const { return name_; }        // what was opened
  const std::string& version() const { return version_; }  // "13.1.0"
  const CublasLtFunctions& functions() const { return *functions_; }

 private:
  CublasLt() = default;
  void* library_ = nullptr;
  std::unique_ptr<CublasLtFunctions> functions_;
  std::string name_, version_;
};

// A handle of one device context, and the algorithms that were chosen in it. Callable from any thread.
class CublasLtHandle {
 public:
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;
  static constexpr int64_t kRows = 4096;

  // On the calling thread's current device. Throws Device.
  explicit CublasLtHandle(std::shared_ptr<const CublasLt> library);
  ~CublasLtHandle();
  CublasLtHandle(const CublasLtHandle&) = delete;
  CublasLtHandle& operator=(const CublasLtHandle&) = delete;

  // The device context is gone, and the handle with it.
  void forget() { handle_ = nullptr; }

  // Queues the product on `stream` (a cudaStream_t); workspace is kWorkspaceBytes at a multiple of 256.
  // False: the library does not offer it, nothing was queued. Throws Device where it fails otherwise.
  bool multiply(const DenseProduct& p, void* workspace, void* stream);

 private:
  struct Algorithm {
    uint64_t data[8];
    bool found;
  };
  using Key = std::tuple<Layout, DType, DType, int64_t, int64_t, bool>;
  const Algorithm& algorithm(const DenseProduct& p);

  std::shared_ptr<const CublasLt> library_;
  void* handle_ = nullptr;
  std::mutex mutex_;
  std::map<Key, Algorithm> algorithms_;
};

}  // namespace cuda
}  // namespace fintune
