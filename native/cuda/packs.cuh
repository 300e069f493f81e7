// Packs: the neighbours of a row that a thread takes at a time. They fill 16 bytes of the widest type that a
// kernel streams, so that what a warp reads or writes at once lies side by side.
#pragma once

#include <algorithm>

#include "cuda/values.cuh"

namespace fintune {
namespace cuda {

template <typename... T>
constexpr int kPack = static_cast<int>(16 / std::max({sizeof(T)...}));

// v = the first `left` of p[0 .. n), the others 0. wide: p is a multiple of as many bytes as the pack has.
template <typename T, int n>
GPU_FN void load_pack(const T* p, int left, bool wide, float (&v)[n]) {
  static_assert(n == 4 || n == 8, "a pack has four or eight values");
  if constexpr (n == 8) {
    load8<T>(p, left, wide, v);
  } else if constexpr (sizeof(T) == 4) {
    load4(p, left, wide, v);
  } else if (wide && left >= 4) {
    const uint64_t raw = *reinterpret_cast<const uint64_t*>(p);
    const gpu::Vec16 words[1] = {{{static_cast<uint32_t>(raw), static_cast<uint32_t>(raw >> 32), 0, 0}}};
    float all[8];
    Words<T>::unpack(words, all);
#pragma unroll
    for (int e = 0; e < 4; ++e) v[e] = all[e];
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e) v[e] = e < left ? to_float(p[e]) : 0.0f;
  }
}

// p[0 .. left) = the first of v, at most n.
template <typename T, int n>
GPU_FN void store_pack(T* p, int left, bool wide, const float (&v)[n]) {
  static_assert(n == 4 || n == 8, "a pack has four or eight values");
  if constexpr (n == 8) {
    store8(p, left, wide, v);
  } else if constexpr (sizeof(T) == 4) {
    store4(p, left, wide, v);
  } else if (wide && left >= 4) {
    *reinterpret_cast<uint64_t*>(p) =
        gpu::pack2<T>(v[0], v[1]) | static_cast<uint64_t>(gpu::pack2<T>(v[2], v[3])) << 32;
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (e < left) p[e] = from_float<T>(v[e]);
    }
  }
}

}  // namespace cuda
}  // namespace fintune
