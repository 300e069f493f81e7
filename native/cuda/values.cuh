// Values of a type that is known at run time only: single ones, and eight neighbours at once. What an element
// turns into does not depend on the way it was read or written.
#pragma once

#include "cuda/gpu.h"

namespace fintune {
namespace cuda {

GPU_FN float load_value(const void* p, int64_t i, DType type) {
  if (type == DType::F32) return static_cast<const float*>(p)[i];
  if (type == DType::BF16) return to_float(static_cast<const bf16*>(p)[i]);
  return to_float(static_cast<const f16*>(p)[i]);
}

GPU_FN void store_value(void* p, int64_t i, DType type, float value) {
  if (type == DType::F32) {
    static_cast<float*>(p)[i] = value;
  } else if (type == DType::BF16) {
    static_cast<bf16*>(p)[i] = from_float<bf16>(value);
  } else {
    static_cast<f16*>(p)[i] = from_float<f16>(value);
  }
}

// What a value becomes when it is stored as `type`.
GPU_FN float rounded_to(float value, DType type) {
  if (type == DType::BF16) return to_float(from_float<bf16>(value));
  if (type == DType::F16) return to_float(from_float<f16>(value));
  return value;
}

GPU_FN float word_as_float(uint32_t word) {
  float value;
  memcpy(&value, &word, 4);
  return value;
}
GPU_FN uint32_t float_as_word(float value) {
  uint32_t word;
  memcpy(&word, &value, 4);
  return word;
}

// Four or eight values out of the words of 16 bytes.
template <typename T>
struct Words;
template <>
struct Words<float> {
  static constexpr int kVectors = 2;  // of eight values
  GPU_FN static void unpack(const gpu::Vec16 (&raw)[2], float (&v)[8]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = word_as_float(raw[i / 4].w[i % 4]);
  }
};
template <>
struct Words<bf16> {
  static constexpr int kVectors = 1;
  GPU_FN static void unpack(const gpu::Vec16 (&raw)[1], float (&v)[8]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[2 * i] = word_as_float(raw[0].w[i] << 16);
      v[2 * i + 1] = word_as_float(raw[0].w[i] & 0xFFFF0000u);
    }
  }
};
template <>
struct Words<f16> {
  static constexpr int kVectors = 1;
  GPU_FN static void unpack(const gpu::Vec16 (&raw)[1], float (&v)[8]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[2 * i] = to_float(f16{static_cast<uint16_t>(raw[0].w[i])});
      v[2 * i + 1] = to_float(f16{static_cast<uint16_t>(raw[0].w[i] >> 16)});
    }
  }
};

// v = the first n of p[0 .. 8), the others 0. wide: p is a multiple of 16 bytes.
template <typename T>
GPU_FN void load8(const T* p, int n, bool wide, float (&v)[8]) {
  if (wide && n >= 8) {
    gpu::Vec16 raw[Words<T>::kVectors];
#pragma unroll
    for (int i = 0; i < Words<T>::kVectors; ++i) raw[i] = gpu::load16(p + i * 16 / sizeof(T));
    Words<T>::unpack(raw, v);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = i < n ? to_float(p[i]) : 0.0f;
  }
}

GPU_FN void load8(const void* p, DType type, int n, bool wide, float (&v)[8]) {
  if (type == DType::F32) {
    load8(static_cast<const float*>(p), n, wide, v);
  } else if (type == DType::BF16) {
    load8(static_cast<const bf16*>(p), n, wide, v);
  } else {
    load8(static_cast<const f16*>(p), n, wide, v);
  }
}

// All eight; p is a multiple of 16 bytes.
GPU_FN void store8(void* p, DType type, const float (&v)[8]) {
  if (type == DType::F32) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      gpu::Vec16 raw;
#pragma unroll
      for (int j = 0; j < 4; ++j) raw.w[j] = float_as_word(v[4 * i + j]);
      gpu::store16(static_cast<float*>(p) + 4 * i, raw);
    }
    return;
  }
  gpu::Vec16 raw;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    raw.w[i] = type == DType::BF16 ? gpu::pack2<bf16>(v[2 * i], v[2 * i + 1])
                                   : gpu::pack2<f16>(v[2 * i], v[2 * i + 1]);
  }
  gpu::store16(p, raw);
}

// p[0 .. n) = the first n, at most 8. wide: p is a multiple of 16 bytes.
template <typename T>
GPU_FN void store8(T* p, int n, bool wide, const float (&v)[8]) {
  if (wide && n >= 8) {
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i) {
      gpu::Vec16 raw;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if constexpr (sizeof(T) == 4) {
          raw.w[j] = float_as_word(v[4 * i + j]);
        } else {
          raw.w[j] = gpu::pack2<T>(v[2 * j], v[2 * j + 1]);
        }
      }
      gpu::store16(p + 4 * i, raw);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i < n) p[i] = from_float<T>(v[i]);
    }
  }
}

// Elements i .. of an array of any type.
GPU_FN void store8(void* p, int64_t i, DType type, int n, bool wide, const float (&v)[8]) {
  if (type == DType::F32) {
    store8(static_cast<float*>(p) + i, n, wide, v);
  } else if (type == DType::BF16) {
    store8(static_cast<bf16*>(p) + i, n, wide, v);
  } else {
    store8(static_cast<f16*>(p) + i, n, wide, v);
  }
}

// Four floats in the same way.
GPU_FN void load4(const float* p, int64_t n, bool wide, float (&v)[4]) {
  if (wide && n >= 4) {
    const gpu::Vec16 raw = gpu::load16(p);
#pragma unroll
    for (int e = 0; e < 4; ++e) v[e] = word_as_float(raw.w[e]);
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e) v[e] = e < n ? p[e] : 0.0f;
  }
}

GPU_FN void store4(float* p, int64_t n, bool wide, const float (&v)[4]) {
  if (wide && n >= 4) {
    gpu::store16(
        p, gpu::Vec16{{float_as_word(v[0]), float_as_word(v[1]), float_as_word(v[2]), float_as_word(v[3])}});
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (e < n) p[e] = v[e];
    }
  }
}

GPU_FN const void* at_byte(const void* p, int64_t i, DType type) {
  return static_cast<const char*>(p) + i * (type == DType::F32 ? 4 : 2);
}

}  // namespace cuda
}  // namespace fintune
