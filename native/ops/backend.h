// A device together with the ops that run on it.
#pragma once

#include "core/device.h"
#include "ops/table.h"

namespace fintune {

struct Backend {
  Device* device;
  const OpTable* ops;
};

}  // namespace fintune
