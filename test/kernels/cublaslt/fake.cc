// A cuBLASLt for tests: the functions that fintune calls, computing on the host what NVIDIA documents, in
// columns. The first word of an algorithm is the number of rows that it was asked for. FAKE_CUBLASLT_QUIET:
// any stream will do, and products are not printed.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/dtype.h"

using namespace fintune;

namespace {

struct Desc {
  int compute, scale, ops[2];
  uint32_t epilogue;
  const void* bias;
};
struct Layout {
  int type;
  uint64_t rows, cols;
  int64_t ld;
};
struct Preference {
  uint64_t workspace;
  uint32_t reduction, alignment[4];
};
struct Result {
  uint64_t algorithm[8];
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

int heuristics = 0;

float get(const void* p, const Layout& l, int64_t row, int64_t col) {
  const int64_t i = col * l.ld + row;
  if (l.type == 0) return static_cast<const float*>(p)[i];
  return l.type == 14 ? to_float(static_cast<const bf16*>(p)[i]) : to_float(static_cast<const f16*>(p)[i]);
}
void put(void* p, const Layout& l, int64_t row, int64_t col, float v) {
  const int64_t i = col * l.ld + row;
  if (l.type == 0) {
    static_cast<float*>(p)[i] = v;
  } else if (l.type == 14) {
    static_cast<bf16*>(p)[i] = to_bf16(v);
  } else {
    static_cast<f16*>(p)[i] = to_f16(v);
  }
}

}  // namespace

extern "C" {

int fake_heuristics() { return heuristics; }

size_t cublasLtGetVersion() {
  const char* const number = std::getenv("FAKE_CUBLASLT_VERSION");
  return number == nullptr ? 130102 : std::strtoull(number, nullptr, 10);
}
int cublasLtCreate(void** handle) {
  if (std::getenv("FAKE_CUBLASLT_REFUSES") != nullptr) return 1;
  *handle = new int(42);
  return 0;
}
int cublasLtDestroy(void* handle) {
  delete static_cast<int*>(handle);
  return 0;
}

int cublasLtMatmulDescCreate(void** desc, int compute, int scale) {
  *desc = new Desc{compute, scale, {0, 0}, 1, nullptr};
  return 0;
}
int cublasLtMatmulDescDestroy(void* desc) {
  delete static_cast<Desc*>(desc);
  return 0;
}
int cublasLtMatmulDescSetAttribute(void* desc, int attribute, const void* value, size_t bytes) {
  Desc& d = *static_cast<Desc*>(desc);
  if ((attribute == 3 || attribute == 4) && bytes == 4) {
    std::memcpy(&d.ops[attribute - 3], value, 4);
  } else if (attribute == 7 && bytes == 4) {
    std::memcpy(&d.epilogue, value, 4);
  } else if (attribute == 8 && bytes == sizeof(void*)) {
    std::memcpy(&d.bias, value, bytes);
  } else {
    return 7;
  }
  return 0;
}

int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
  if (ld < static_cast<int64_t>(rows)) return 7;
  *layout = new Layout{type, rows, cols, ld};
  return 0;
}
int cublasLtMatrixLayoutDestroy(void* layout) {
  delete static_cast<Layout*>(layout);
  return 0;
}

int cublasLtMatmulPreferenceCreate(void** preference) {
  *preference = new Preference{0, 7, {256, 256, 256, 256}};
  return 0;
}
int cublasLtMatmulPreferenceDestroy(void* preference) {
  delete static_cast<Preference*>(preference);
  return 0;
}
int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value, size_t bytes) {
  Preference& p = *static_cast<Preference*>(preference);
  if (attribute == 1 && bytes == 8) {
    std::memcpy(&p.workspace, value, 8);
  } else if (attribute == 3 && bytes == 4) {
    std::memcpy(&p.reduction, value, 4);
  } else if (attribute >= 5 && attribute <= 8 && bytes == 4) {
    std::memcpy(&p.alignment[attribute - 5], value, 4);
  } else {
    return 7;
  }
  return 0;
}

// Proposes nothing where C has 8 rows.
int cublasLtMatmulAlgoGetHeuristic(void* handle, void*, void*, void*, void* c, void* d, void* preference,
                                   int wanted, Result* results, int* found) {
  const Preference& p = *static_cast<Preference*>(preference);
  const bool right = *static_cast<int*>(handle) == 42 && c == d && wanted == 1 && p.workspace == 32u << 20 &&
                     p.reduction == 0 && p.alignment[0] == 16 && p.alignment[1] == 16 &&
                     p.alignment[2] == 16 && p.alignment[3] == 16;
  if (!right) return 7;
  ++heuristics;
  *found = static_cast<Layout*>(c)->rows == 8 ? 0 : 1;
  results[0] = Result{};
  results[0].algorithm[0] = static_cast<Layout*>(c)->cols;
  return 0;
}

// D = alpha op(A) op(B) + beta C. Offers nothing where C has 16 rows, and fails where it has 24.
int cublasLtMatmul(void* handle, void* desc, const void* alpha, const void* a, void* a_layout, const void* b,
                   void* b_layout, const void* beta, const void* c, void* c_layout, void* d, void* d_layout,
                   const void* algorithm, void* workspace, size_t workspace_bytes, void* stream) {
  const bool quiet = std::getenv("FAKE_CUBLASLT_QUIET") != nullptr;
  const Desc& op = *static_cast<Desc*>(desc);
  const Layout &la = *static_cast<Layout*>(a_layout), &lb = *static_cast<Layout*>(b_layout),
               &lc = *static_cast<Layout*>(c_layout);
  if (*static_cast<int*>(handle) != 42 || op.compute != 68 || op.scale != 0 || c != d ||
      c_layout != d_layout || reinterpret_cast<uintptr_t>(workspace) % 256 != 0 ||
      workspace_bytes != 32u << 20 || (!quiet && stream != reinterpret_cast<void*>(0x5EED))) {
    return 1;
  }
  if (op.epilogue != (op.bias != nullptr ? 4u : 1u) || (op.bias != nullptr && lc.type == 0)) return 7;
  if (lc.rows == 16) return 15;
  if (lc.rows == 24) return 13;
  const uint64_t m = op.ops[0] == 0 ? la.rows : la.cols, k = op.ops[0] == 0 ? la.cols : la.rows;
  const uint64_t n = op.ops[1] == 0 ? lb.cols : lb.rows, bk = op.ops[1] == 0 ? lb.rows : lb.cols;
  if (m != lc.rows || n != lc.cols || k != bk || la.type != lb.type || la.type == 0) return 7;
  uint64_t asked;
  std::memcpy(&asked, algorithm, 8);
  if (!quiet)
    std::printf("%llu x %llu x %llu by the algorithm for %llu\n", static_cast<unsigned long long>(m),
                static_cast<unsigned long long>(n), static_cast<unsigned long long>(k),
                static_cast<unsigned long long>(asked));
  for (uint64_t i = 0; i < m; ++i) {
    for (uint64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (uint64_t t = 0; t < k; ++t) {
        sum += (op.ops[0] == 0 ? get(a, la, i, t) : get(a, la, t, i)) *
               (op.ops[1] == 0 ? get(b, lb, t, j) : get(b, lb, j, t));
      }
      sum *= *static_cast<const float*>(alpha);
      if (op.epilogue == 4) sum += get(op.bias, Layout{lc.type, m, 1, static_cast<int64_t>(m)}, i, 0);
      const float scale = *static_cast<const float*>(beta);
      put(d, lc, i, j, scale == 0 ? sum : sum + scale * get(c, lc, i, j));
    }
  }
  return 0;
}

}  // extern "C"
