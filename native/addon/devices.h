// The devices of this build, by name.
#pragma once

#include <string>
#include <vector>

#include "ops/backend.h"

namespace fintune {
namespace addon {

struct DeviceInfo {
  std::string name;     // "cpu" always; "cuda:0" .. (CUDA builds), "simt" (test builds)
  std::string kind;     // the name without a number
  bool bf16;            // multiplied by the hardware
  std::string gemm;     // GPUs: "cuBLASLt 13.1.0 (...)", or "own" where that is absent
  bool hopper = false;  // attention and products may go to warpgroups there (core/hopper.h)
};
// What this build and machine have, the CPU first.
std::vector<DeviceInfo> device_infos();

// "cuda" is the first GPU. Throws Error(Device), saying what there is, for a device that this build or
// machine lacks.
Backend backend_named(const std::string& name);

}  // namespace addon
}  // namespace fintune
