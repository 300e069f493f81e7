// A library of products for tests: plain loops on the host, off unless a test wants it. It offers what
// cuBLASLt does, so that who calls it, with which views, is executed too.
#include "cuda/gemm_library.h"

#include "core/error.h"
#include "simt/device.h"
#include "simt/dispatch.h"

namespace fintune {
namespace {

bool in_use = false;
std::vector<simt::LibraryProduct> made;

float value(const void* p, DType type, int64_t i) {
  if (type == DType::F32) return static_cast<const float*>(p)[i];
  return type == DType::BF16 ? to_float(static_cast<const bf16*>(p)[i])
                             : to_float(static_cast<const f16*>(p)[i]);
}

void store(void* p, DType type, int64_t i, float x) {
  if (type == DType::F32) {
    static_cast<float*>(p)[i] = x;
  } else if (type == DType::BF16) {
    static_cast<bf16*>(p)[i] = to_bf16(x);
  } else {
    static_cast<f16*>(p)[i] = to_f16(x);
  }
}

void multiply(const cuda::DenseProduct& p) {
  const bool a_lies = p.layout != cuda::Layout::TN, b_lies = p.layout == cuda::Layout::NT;
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) {
      float sum = 0;
      for (int64_t t = 0; t < p.k; ++t) {
        sum += value(p.a, p.compute, a_lies ? i * p.lda + t : t * p.lda + i) *
               value(p.b, p.compute, b_lies ? j * p.ldb + t : t * p.ldb + j);
      }
      sum *= p.alpha;
      if (p.accumulate) sum += value(p.c, p.c_type, i * p.ldc + j);
      if (p.bias != nullptr) sum += value(p.bias, p.c_type, j);
      store(p.c, p.c_type, i * p.ldc + j, sum);
    }
  }
}

}  // namespace

namespace simt {

void set_gemm_library(bool on) {
  in_use = on;
  made.clear();
}

std::vector<LibraryProduct> library_products() { return made; }

}  // namespace simt

namespace cuda {

bool has_gemm_library(const Exec&) { return in_use; }

bool library_gemm(Exec& exec, const DenseProduct& p, Refusal) {
  if (exec.dry || !in_use) return false;
  for (const auto& [data, ld, type] : {std::tuple(p.a, p.lda, p.compute), std::tuple(p.b, p.ldb, p.compute),
                                       std::tuple(static_cast<const void*>(p.c), p.ldc, p.c_type)}) {
    require(
        reinterpret_cast<uintptr_t>(data) % 16 == 0 && static_cast<size_t>(ld) * dtype_size(type) % 16 == 0,
        "a library takes rows at multiples of 16 bytes");
  }
  made.push_back({p.m, p.n, p.k, p.accumulate, p.bias != nullptr});
  multiply(p);
  simt::SimtDevice& device = simt::simt_device();
  if (device.recording()) device.keep([p] { multiply(p); });
  return true;
}

}  // namespace cuda
}  // namespace fintune
