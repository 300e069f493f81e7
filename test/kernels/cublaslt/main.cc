// Drives native/cuda/cublaslt.cc against fake.cc: main FAKE prints what it saw; cublaslt.test.ts compares.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "cuda/cublaslt.h"

using namespace fintune;
using namespace fintune::cuda;

namespace {

// A matrix of small whole numbers between columns that hold something else.
struct Matrix {
  DType type;
  int64_t rows, cols, ld;
  std::vector<float> f32;
  std::vector<uint16_t> half;

  Matrix(DType t, int64_t r, int64_t c, int seed)
      : type(t), rows(r), cols(c), ld(c + 8), f32(static_cast<size_t>(r * ld)), half(f32.size()) {
    for (int64_t i = 0; i < r * ld; ++i) set(i, static_cast<float>((i * 7 + seed) % 5 - 2));
  }
  void set(int64_t i, float v) {
    const size_t at = static_cast<size_t>(i);
    f32[at] = v;
    half[at] = type == DType::BF16 ? to_bf16(v).bits : to_f16(v).bits;
  }
  float at(int64_t r, int64_t c) const {
    const size_t i = static_cast<size_t>(r * ld + c);
    if (type == DType::F32) return f32[i];
    return type == DType::BF16 ? to_float(bf16{half[i]}) : to_float(f16{half[i]});
  }
  void* data() { return type == DType::F32 ? static_cast<void*>(f32.data()) : half.data(); }
};

const char* layout_name(Layout l) { return l == Layout::NT ? "a b^T" : l == Layout::NN ? "a b" : "a^T b"; }

void try_product(CublasLtHandle& handle, void* workspace, Layout layout, DType compute, DType c_type,
                 int64_t m, int64_t n, int64_t k, bool accumulate, bool biased = false) {
  Matrix a(compute, layout == Layout::TN ? k : m, layout == Layout::TN ? m : k, 1);
  Matrix b(compute, layout == Layout::NT ? n : k, layout == Layout::NT ? k : n, 2);
  Matrix c(c_type, m, n, 3);
  const Matrix before = c;
  const float alpha = accumulate ? 1.0f : 0.5f;
  Matrix bias(c_type, 1, n, 4);
  const DenseProduct p{layout,   compute,  c_type,     m,        n,
                       k,        a.data(), a.ld,       b.data(), b.ld,
                       c.data(), c.ld,     accumulate, alpha,    biased ? bias.data() : nullptr};
  std::printf("%s, %s to %s%s: ", layout_name(layout), dtype_name(compute), dtype_name(c_type),
              accumulate ? ", added"
              : biased   ? ", biased"
                         : "");
  if (!handle.multiply(p, workspace, reinterpret_cast<void*>(0x5EED))) {
    std::printf("not offered\n");
    return;
  }
  int wrong = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < c.ld; ++j) {
      float want = before.at(i, j);
      if (j < n) {
        if (!accumulate) want = 0;
        for (int64_t t = 0; t < k; ++t) {
          want += alpha * (layout == Layout::TN ? a.at(t, i) : a.at(i, t)) *
                  (layout == Layout::NT ? b.at(j, t) : b.at(t, j));
        }
        if (biased) want += bias.at(0, j);
      }
      wrong += c.at(i, j) != want;
    }
  }
  if (wrong != 0) std::printf("%d of %lld elements are wrong\n", wrong, static_cast<long long>(m * c.ld));
}

}  // namespace

int main(int argc, char** argv) {
  std::string reason;
  if (argc < 2) return 2;
  if (!CublasLt::open({"libfintune-none.so.1", "libc.so.6"}, &reason)) std::printf("%s\n", reason.c_str());
  const auto library = CublasLt::open({"libfintune-none.so.1", argv[1]}, &reason);
  if (!library) {
    std::printf("%s\n", reason.c_str());
    return 1;
  }
  std::printf("version %s\n", library->version().c_str());
  if (argc > 2) return 0;
  void* const workspace = std::aligned_alloc(256, CublasLtHandle::kWorkspaceBytes);
  {
    CublasLtHandle handle(library);
    for (Layout layout : {Layout::NT, Layout::NN, Layout::TN}) {
      for (DType compute : {DType::BF16, DType::F16}) {
        for (DType c_type : {DType::F32, compute}) {
          try_product(handle, workspace, layout, compute, c_type, 5, 40, 32, false);
          try_product(handle, workspace, layout, compute, c_type, 5, 40, 32, true);
        }
      }
    }
    const auto heuristics = reinterpret_cast<int (*)()>(dlsym(dlopen(argv[1], RTLD_NOW), "fake_heuristics"));
    std::printf("asked %d times\n", heuristics());
    // Other numbers of rows: the same algorithm.
    try_product(handle, workspace, Layout::NT, DType::BF16, DType::F32, 1, 40, 32, false);
    try_product(handle, workspace, Layout::NN, DType::BF16, DType::F32, 77, 40, 32, false);
    try_product(handle, workspace, Layout::TN, DType::BF16, DType::F32, 5, 40, 9, false);
    std::printf("asked %d times\n", heuristics());
    try_product(handle, workspace, Layout::NT, DType::BF16, DType::BF16, 5, 40, 32, false, true);
    try_product(handle, workspace, Layout::NT, DType::F16, DType::F16, 5, 40, 32, false, true);
    std::printf("asked %d times\n", heuristics());
    try_product(handle, workspace, Layout::NT, DType::BF16, DType::F32, 4, 8, 32, false);
    try_product(handle, workspace, Layout::NT, DType::BF16, DType::F32, 4, 16, 32, false);
    try {
      try_product(handle, workspace, Layout::NT, DType::BF16, DType::F32, 4, 24, 32, false);
    } catch (const Error& e) {
      std::printf("%s: %s\n", error_code_name(e.code()), e.what());
    }
  }
  std::free(workspace);
  return 0;
}
