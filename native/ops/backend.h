// A device together with the ops that run on it.
#pragma once

#include <memory>

#include "core/device.h"
#include "ops/table.h"

namespace fintune {

// Closed with its last owner; the host never is.
struct Backend {
  std::shared_ptr<Device> device;
  const OpTable* ops = nullptr;
};

}  // namespace fintune
