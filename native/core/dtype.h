// Element types and their conversions. bf16 and f16 are stored as uint16_t; arithmetic is always float32 or
// wider.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/error.h"

// Functions that device code calls too.
#ifdef __CUDACC__
#define FINTUNE_HD __host__ __device__
#else
#define FINTUNE_HD
#endif

namespace fintune {

enum class DType : uint8_t { F32, BF16, F16, I32 };

inline size_t dtype_size(DType t) { return t == DType::F32 || t == DType::I32 ? 4 : 2; }

inline const char* dtype_name(DType t) {
  switch (t) {
    case DType::F32:
      return "f32";
    case DType::BF16:
      return "bf16";
    case DType::F16:
      return "f16";
    case DType::I32:
      return "i32";
  }
  return "?";
}

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};

FINTUNE_HD inline float to_float(float x) { return x; }

FINTUNE_HD inline float to_float(bf16 x) {
  uint32_t u = static_cast<uint32_t>(x.bits) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

// IEEE half to float, exact, subnormals included.
FINTUNE_HD inline float to_float(f16 x) {
#ifdef __CUDA_ARCH__
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
#else
  uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  uint32_t exponent = (x.bits >> 10) & 0x1Fu;
  uint32_t mantissa = x.bits & 0x3FFu;
  uint32_t u;
  if (exponent == 31) {
    u = sign | 0x7F800000u | (mantissa << 13);
  } else if (exponent != 0) {
    u = sign | ((exponent + 112u) << 23) | (mantissa << 13);
  } else if (mantissa == 0) {
    u = sign;
  } else {
    exponent = 113;
    while ((mantissa & 0x400u) == 0) {
      mantissa <<= 1;
      --exponent;
    }
    u = sign | (exponent << 23) | ((mantissa & 0x3FFu) << 13);
  }
  float f;
  std::memcpy(&f, &u, 4);
  return f;
#endif
}

// Round to nearest, ties to even; NaN stays NaN.
FINTUNE_HD inline bf16 to_bf16(float f) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  bf16 narrow;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(f));
  return narrow;
#else
  uint32_t u;
  std::memcpy(&u, &f, 4);
  if ((u & 0x7FFFFFFFu) > 0x7F800000u) return bf16{static_cast<uint16_t>((u >> 16) | 0x40u)};
  u += 0x7FFFu + ((u >> 16) & 1u);
  return bf16{static_cast<uint16_t>(u >> 16)};
#endif
}

// Round to nearest, ties to even, subnormals included; 65520 and more become infinite; NaN stays NaN.
FINTUNE_HD inline f16 to_f16(float f) {
#ifdef __CUDA_ARCH__
  f16 narrow;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(f));
  return narrow;
#else
  uint32_t u;
  std::memcpy(&u, &f, 4);
  const uint32_t sign = (u >> 16) & 0x8000u;
  u &= 0x7FFFFFFFu;
  uint32_t bits;
  if (u > 0x7F800000u) {
    bits = 0x7E00u | ((u >> 13) & 0x3FFu);
  } else if (u >= 0x47800000u) {
    bits = 0x7C00u;
  } else if (u < 0x38800000u) {
    // The last place of 0.5 is the smallest subnormal, 2^-24: the sum is rounded as the half must be.
    float x;
    std::memcpy(&x, &u, 4);
    x += 0.5f;
    std::memcpy(&bits, &x, 4);
    bits -= 0x3F000000u;
  } else {
    bits = (u + 0xFFFu + ((u >> 13) & 1u) - 0x38000000u) >> 13;
  }
  return f16{static_cast<uint16_t>(sign | bits)};
#endif
}

template <typename T>
FINTUNE_HD T from_float(float f);
template <>
FINTUNE_HD inline float from_float<float>(float f) {
  return f;
}
template <>
FINTUNE_HD inline bf16 from_float<bf16>(float f) {
  return to_bf16(f);
}
template <>
FINTUNE_HD inline f16 from_float<f16>(float f) {
  return to_f16(f);
}

// Calls fn with a null pointer of the CPU's activation type (float or bf16), so that a templated kernel is
// instantiated once per type: with_activation_type(dtype, [&](auto* tag) { using T =
// std::remove_pointer_t<decltype(tag)>; ... }).
template <typename Fn>
void with_activation_type(DType t, Fn&& fn) {
  if (t == DType::F32) {
    fn(static_cast<float*>(nullptr));
  } else if (t == DType::BF16) {
    fn(static_cast<bf16*>(nullptr));
  } else {
    fail(ErrorCode::Argument, "activations are f32 or bf16, found ", dtype_name(t));
  }
}

// The same for float, bf16 and f16: weights, and activations on CUDA.
template <typename Fn>
void with_float_type(DType t, Fn&& fn) {
  if (t == DType::F16) {
    fn(static_cast<f16*>(nullptr));
  } else if (t == DType::BF16) {
    fn(static_cast<bf16*>(nullptr));
  } else if (t == DType::F32) {
    fn(static_cast<float*>(nullptr));
  } else {
    fail(ErrorCode::Argument, "expected f32, bf16 or f16, found ", dtype_name(t));
  }
}

}  // namespace fintune
