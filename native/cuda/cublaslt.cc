// The library is loaded, asked for algorithms, and called. It thinks in columns: a matrix of rows is its
// transpose there, so C^T = op(B)^T op(A)^T is what it computes, with the factors in exchange.
#include "cuda/cublaslt.h"

#include <dlfcn.h>

#include "core/error.h"

namespace fintune {
namespace cuda {

// Names, types and values as NVIDIA's documentation of cuBLASLt gives them.
namespace {

using Status = int;
constexpr Status kSuccess = 0, kInvalidValue = 7, kArchMismatch = 8, kNotSupported = 15;
constexpr int kCompute32F = 68;                   // CUBLAS_COMPUTE_32F
constexpr int kR32F = 0, kR16F = 2, kR16BF = 14;  // CUDA_R_...
// CUBLASLT_MATMUL_DESC_...
constexpr int kDescTransA = 3, kDescTransB = 4, kDescEpilogue = 7, kDescBias = 8;
constexpr uint32_t kEpilogueBias = 4;  // CUBLASLT_EPILOGUE_BIAS
constexpr int32_t kOpN = 0, kOpT = 1;  // CUBLAS_OP_...
// CUBLASLT_MATMUL_PREF_...
constexpr int kPrefWorkspaceBytes = 1, kPrefReductionMask = 3, kPrefFirstAlignment = 5,
              kPrefLastAlignment = 8;
constexpr uint32_t kReductionNone = 0;  // CUBLASLT_REDUCTION_SCHEME_NONE

struct HeuristicResult {  // cublasLtMatmulHeuristicResult_t
  uint64_t algorithm[8];
  size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};

// The values above are those of these major versions.
constexpr size_t kOldestMajor = 11, kNewestMajor = 13;

int type_of(DType t) { return t == DType::F32 ? kR32F : t == DType::BF16 ? kR16BF : kR16F; }

}  // namespace

struct CublasLtFunctions {
  Status (*create)(void** handle);
  Status (*destroy)(void* handle);
  size_t (*version)();
  Status (*desc_create)(void** desc, int compute, int scale_type);
  Status (*desc_destroy)(void* desc);
  Status (*desc_set)(void* desc, int attribute, const void* value, size_t bytes);
  Status (*layout_create)(void** layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
  Status (*layout_destroy)(void* layout);
  Status (*preference_create)(void** preference);
  Status (*preference_destroy)(void* preference);
  Status (*preference_set)(void* preference, int attribute, const void* value, size_t bytes);
  Status (*heuristic)(void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference,
                      int wanted, HeuristicResult* results, int* found);
  Status (*matmul)(void* handle, void* desc, const void* alpha, const void* a, void* a_layout, const void* b,
                   void* b_layout, const void* beta, const void* c, void* c_layout, void* d, void* d_layout,
                   const void* algorithm, void* workspace, size_t workspace_bytes, void* stream);
};

namespace {

template <typename Fn>
bool find(void* library, const char* name, Fn** fn) {
  *fn = reinterpret_cast<Fn*>(dlsym(library, name));
  return *fn != nullptr;
}

bool find_all(void* library, CublasLtFunctions* f) {
  return find(library, "cublasLtCreate", &f->create) && find(library, "cublasLtDestroy", &f->destroy) &&
         find(library, "cublasLtGetVersion", &f->version) &&
         find(library, "cublasLtMatmulDescCreate", &f->desc_create) &&
         find(library, "cublasLtMatmulDescDestroy", &f->desc_destroy) &&
         find(library, "cublasLtMatmulDescSetAttribute", &f->desc_set) &&
         find(library, "cublasLtMatrixLayoutCreate", &f->layout_create) &&
         find(library, "cublasLtMatrixLayoutDestroy", &f->layout_destroy) &&
         find(library, "cublasLtMatmulPreferenceCreate", &f->preference_create) &&
         find(library, "cublasLtMatmulPreferenceDestroy", &f->preference_destroy) &&
         find(library, "cublasLtMatmulPreferenceSetAttribute", &f->preference_set) &&
         find(library, "cublasLtMatmulAlgoGetHeuristic", &f->heuristic) &&
         find(library, "cublasLtMatmul", &f->matmul);
}

struct Version {
  size_t major, minor, patch;
};

// Up to 11.6 the library counts a major version as 1000, later as 10000.
Version version_of(size_t number) {
  const size_t major = number < 100000 ? number / 1000 : number / 10000;
  const size_t rest = number - major * (number < 100000 ? 1000 : 10000);
  return Version{major, rest / 100, rest % 100};
}

void check(Status status, const char* doing) {
  if (status != kSuccess) fail(ErrorCode::Device, "cuBLASLt: ", doing, " failed with status ", status);
}

// One of the library's opaque objects.
class Object {
 public:
  explicit Object(Status (*destroy)(void*)) : destroy_(destroy) {}
  ~Object() {
    if (p_ != nullptr) destroy_(p_);
  }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  void** place() { return &p_; }
  void* get() const { return p_; }

 private:
  Status (*destroy_)(void*);
  void* p_ = nullptr;
};

// The operation and its matrices as the library sees them: `first` is B and `second` A.
struct Call {
  Object desc, first, second, c;

  Call(const CublasLtFunctions& f, const DenseProduct& p)
      : desc(f.desc_destroy), first(f.layout_destroy), second(f.layout_destroy), c(f.layout_destroy) {
    const int32_t first_op = p.layout == Layout::NT ? kOpT : kOpN;
    const int32_t second_op = p.layout == Layout::TN ? kOpT : kOpN;
    check(f.desc_create(desc.place(), kCompute32F, kR32F), "describing a product");
    check(f.desc_set(desc.get(), kDescTransA, &first_op, sizeof first_op), "describing a product");
    check(f.desc_set(desc.get(), kDescTransB, &second_op, sizeof second_op), "describing a product");
    matrix(f, first, p.compute, first_op == kOpT ? p.k : p.n, first_op == kOpT ? p.n : p.k, p.ldb);
    matrix(f, second, p.compute, second_op == kOpT ? p.m : p.k, second_op == kOpT ? p.k : p.m, p.lda);
    matrix(f, c, p.c_type, p.n, p.m, p.ldc);
    if (p.bias == nullptr) return;
    // Over the columns of C here are the rows there, of which a bias has one element each; of D's type.
    check(f.desc_set(desc.get(), kDescEpilogue, &kEpilogueBias, sizeof kEpilogueBias), "describing a bias");
    check(f.desc_set(desc.get(), kDescBias, &p.bias, sizeof p.bias), "describing a bias");
  }

 private:
  static void matrix(const CublasLtFunctions& f, Object& layout, DType type, int64_t rows, int64_t cols,
                     int64_t ld) {
    check(f.layout_create(layout.place(), type_of(type), static_cast<uint64_t>(rows),
                          static_cast<uint64_t>(cols), ld),
          "describing a matrix");
  }
};

}  // namespace

std::shared_ptr<CublasLt> CublasLt::open(const std::vector<std::string>& names, std::string* reason) {
  const auto pass_over = [&](const std::string& why) { *reason += (reason->empty() ? "" : "; ") + why; };
  reason->clear();
  for (const std::string& name : names) {
    void* const library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      const char* const why = dlerror();
      pass_over(why != nullptr ? std::string(why) : name + " does not open");
      continue;
    }
    std::shared_ptr<CublasLt> opened(new CublasLt);
    opened->library_ = library;
    opened->functions_ = std::make_unique<CublasLtFunctions>();
    if (!find_all(library, opened->functions_.get())) {
      pass_over(name + ": not all functions of cuBLASLt are in it");
      continue;
    }
    const Version v = version_of(opened->functions_->version());
    opened->name_ = name;
    opened->version_ =
        std::to_string(v.major) + "." + std::to_string(v.minor) + "." + std::to_string(v.patch);
    if (v.major < kOldestMajor || v.major > kNewestMajor) {
      pass_over(name + ": version " + opened->version_ + ", and fintune knows 11, 12 and 13");
      continue;
    }
    return opened;
  }
  return nullptr;
}

CublasLt::~CublasLt() { dlclose(library_); }

CublasLtHandle::CublasLtHandle(std::shared_ptr<const CublasLt> library) : library_(std::move(library)) {
  check(library_->functions().create(&handle_), "opening it");
}

CublasLtHandle::~CublasLtHandle() {
  if (handle_ != nullptr) library_->functions().destroy(handle_);
}

// The library's first proposal for this product with kRows rows (TN: kRows as the length of the sum).
const CublasLtHandle::Algorithm& CublasLtHandle::algorithm(const DenseProduct& p) {
  const bool sums_rows = p.layout == Layout::TN;
  const Key key{p.layout, p.compute, p.c_type, sums_rows ? p.m : p.k, p.n, p.bias != nullptr};
  const auto known = algorithms_.find(key);
  if (known != algorithms_.end()) return known->second;

  const CublasLtFunctions& f = library_->functions();
  DenseProduct usual = p;
  (sums_rows ? usual.k : usual.m) = kRows;
  usual.lda = sums_rows ? usual.m : usual.k;
  usual.ldb = p.layout == Layout::NT ? usual.k : usual.n;
  usual.ldc = usual.n;
  const Call call(f, usual);
  Object preference(f.preference_destroy);
  check(f.preference_create(preference.place()), "stating preferences");
  const uint64_t bytes = kWorkspaceBytes;
  check(f.preference_set(preference.get(), kPrefWorkspaceBytes, &bytes, sizeof bytes), "stating preferences");
  const uint32_t reduction = kReductionNone, alignment = 16;
  check(f.preference_set(preference.get(), kPrefReductionMask, &reduction, sizeof reduction),
        "stating preferences");
  for (int a = kPrefFirstAlignment; a <= kPrefLastAlignment; ++a) {
    check(f.preference_set(preference.get(), a, &alignment, sizeof alignment), "stating preferences");
  }
  HeuristicResult result{};
  int found = 0;
  const Status status = f.heuristic(handle_, call.desc.get(), call.first.get(), call.second.get(),
                                    call.c.get(), call.c.get(), preference.get(), 1, &result, &found);
  Algorithm chosen{};
  chosen.found = status == kSuccess && found > 0 && result.state == kSuccess;
  std::copy(result.algorithm, result.algorithm + 8, chosen.data);
  return algorithms_.emplace(key, chosen).first->second;
}

bool CublasLtHandle::multiply(const DenseProduct& p, void* workspace, void* stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Algorithm& chosen = algorithm(p);
  if (!chosen.found) return false;
  const CublasLtFunctions& f = library_->functions();
  const Call call(f, p);
  const float beta = p.accumulate ? 1.0f : 0.0f;
  const Status status =
      f.matmul(handle_, call.desc.get(), &p.alpha, p.b, call.first.get(), p.a, call.second.get(), &beta, p.c,
               call.c.get(), p.c, call.c.get(), chosen.data, workspace, kWorkspaceBytes, stream);
  if (status == kInvalidValue || status == kArchMismatch || status == kNotSupported) return false;
  check(status, "a product");
  return true;
}

}  // namespace cuda
}  // namespace fintune
