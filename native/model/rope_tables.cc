// Angles of RoPE in float32.
#include "model/rope_tables.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace fintune {

std::vector<float> rope_frequencies(const ModelConfig& c) {
  const int64_t half = c.head_dim / 2;
  std::vector<float> f(static_cast<size_t>(half));
  const float theta = static_cast<float>(c.rope_theta);
  for (int64_t j = 0; j < half; ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(c.head_dim);
    f[static_cast<size_t>(j)] = 1.0f / std::pow(theta, exponent);
  }
  const RopeScaling& s = c.rope_scaling;
  const float factor = static_cast<float>(s.factor);
  if (s.type == RopeScaling::Type::Linear) {
    for (float& x : f) x /= factor;
  } else if (s.type == RopeScaling::Type::Llama3) {
    const float low = static_cast<float>(s.low_freq_factor), high = static_cast<float>(s.high_freq_factor);
    const float context = static_cast<float>(s.original_max_positions);
    const float low_wavelength = context / low, high_wavelength = context / high;
    for (float& x : f) {
      const float wavelength = static_cast<float>(2 * M_PI) / x;
      if (wavelength > low_wavelength) {
        x /= factor;
      } else if (wavelength >= high_wavelength) {
        const float smooth = (context / wavelength - low) / (high - low);
        x = (1.0f - smooth) * x / factor + smooth * x;
      }
    }
  }
  return f;
}

void RopeTables::ensure(int64_t positions) {
  if (positions <= positions_) return;
  const size_t half = frequencies_.size();
  const size_t target = static_cast<size_t>(std::max(positions, 2 * positions_));
  std::vector<float> cos(target * half), sin(target * half);
  for (size_t p = 0; p < target; ++p) {
    for (size_t j = 0; j < half; ++j) {
      const float angle = static_cast<float>(p) * frequencies_[j];
      cos[p * half + j] = std::cos(angle);
      sin[p * half + j] = std::sin(angle);
    }
  }
  const size_t bytes = target * half * sizeof(float);
  cos_ = Buffer(bytes, device_);
  sin_ = Buffer(bytes, device_);
  device_.upload(cos_.data(), cos.data(), bytes);
  device_.upload(sin_.data(), sin.data(), bytes);
  positions_ = static_cast<int64_t>(target);
}

}  // namespace fintune
