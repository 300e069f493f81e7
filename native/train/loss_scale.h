// Dynamic loss scaling for fp16 (Micikevicius et al. 2018, section 3.2).
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace fintune {

// The loss is multiplied by a power of two before the backward pass, so that small gradients do not vanish in
// fp16, and gradients are divided by it where they are used: both are exact. Types with float32's range need
// none: their scale stays 1.
//
// Where a step's gradients overflow, the scale is halved and the step computed again, so that no batch is
// lost; after kGrowthSteps steps without an overflow it is doubled. Both numbers are state of the optimiser:
// a resumed run continues with them.
class LossScale {
 public:
  static constexpr int64_t kGrowthSteps = 2000;

  explicit LossScale(DType compute) : adapts_(compute == DType::F16), value_(adapts_ ? 65536.0 : 1.0) {}

  bool adapts() const { return adapts_; }
  double value() const { return value_; }
  int64_t good_steps() const { return good_steps_; }
  void set(double value, int64_t good_steps) {
    value_ = value;
    good_steps_ = good_steps;
  }
  // After an overflow: false where no smaller scale is left to try.
  bool halve() {
    good_steps_ = 0;
    if (!adapts_ || value_ <= 1) return false;
    value_ /= 2;
    return true;
  }
  void step_done() {
    if (!adapts_ || ++good_steps_ < kGrowthSteps) return;
    good_steps_ = 0;
    if (value_ < 0x1p30) value_ *= 2;
  }

 private:
  bool adapts_;
  double value_;
  int64_t good_steps_ = 0;
};

}  // namespace fintune
