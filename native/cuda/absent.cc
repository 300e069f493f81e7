// The door of the CUDA backend in a build without one.
#include "core/error.h"
#include "cuda/dispatch.h"

namespace fintune {
namespace cuda {
namespace {

constexpr const char* kReason = "this build has no CUDA";

}  // namespace

const Build& build() {
  static const Build none;
  return none;
}

Survey survey(bool measure) {
  Survey s;
  s.reason = kReason;
  return s;
}

Products products() { return {"", kReason, "", 0, 0, ""}; }

void set_product_libraries(const std::vector<std::string>&) {}

void start_busy_meter(int index) { backend(index); }

Busy stop_busy_meter(int index) {
  backend(index);
  return {};
}

Backend backend(int index) { fail(ErrorCode::Device, "cuda:", index, ": ", kReason); }

}  // namespace cuda
}  // namespace fintune
