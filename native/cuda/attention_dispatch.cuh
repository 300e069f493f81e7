// From a type to the instantiations of its kernels: the tile shapes of the device, and the least width that
// holds the head.
#pragma once

#include <type_traits>

#include "cuda/attention_backward.cuh"
#include "cuda/attention_forward.cuh"

namespace fintune {
namespace cuda {
namespace attention {

// fn(family, width) as integral constants.
template <class T, class Fn>
void with_tile(const Exec& exec, int dim, Fn&& fn) {
  const auto with_width = [&](auto family) {
    if (dim <= 64) {
      fn(family, std::integral_constant<int, 64>());
    } else if (dim <= 80) {
      fn(family, std::integral_constant<int, 80>());
    } else if (dim <= 96) {
      fn(family, std::integral_constant<int, 96>());
    } else {
      fn(family, std::integral_constant<int, 128>());
    }
  };
  const int family = tile_family(capability(exec));
  if (family == 80) {
    with_width(std::integral_constant<int, 80>());
  } else if (family == 86) {
    with_width(std::integral_constant<int, 86>());
  } else if constexpr (std::is_same_v<T, f16>) {
    with_width(std::integral_constant<int, 75>());
  }
}

template <class T>
void launch_forward(Exec& exec, const Forward& op) {
  with_tile<T>(exec, op.shape.dim,
               [&](auto family, auto width) { launch_forward_tile<T, family.value, width.value>(exec, op); });
}

template <class T>
void launch_backward(Exec& exec, const Backward& op) {
  with_tile<T>(exec, op.shape.dim, [&](auto family, auto width) {
    launch_backward_tile<T, family.value, width.value>(exec, op);
  });
}

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
