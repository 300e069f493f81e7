// cos and sin of RoPE's angles, grown as longer sequences come.
#pragma once

#include <vector>

#include "core/buffer.h"
#include "model/config.h"

namespace fintune {

// Frequencies theta^(-2j/K), j < K/2, scaled as the config says ("linear": divided by factor; "llama3": the
// rule of Llama 3.1, long wavelengths divided by factor, a linear ramp between). All in float32, as
// transformers computes them, so that a pretrained model sees the angles that it was trained with.
std::vector<float> rope_frequencies(const ModelConfig& config);

class RopeTables {
 public:
  RopeTables(const ModelConfig& config, Device& device)
      : device_(device), frequencies_(rope_frequencies(config)) {}
  // Makes the tables hold positions 0 .. positions-1.
  void ensure(int64_t positions);
  int64_t positions() const { return positions_; }
  // [positions, K/2], the device's memory; valid until ensure makes them grow.
  const float* cos() const { return cos_.floats(); }
  const float* sin() const { return sin_.floats(); }

 private:
  Device& device_;
  std::vector<float> frequencies_;
  Buffer cos_, sin_;
  int64_t positions_ = 0;
};

}  // namespace fintune
