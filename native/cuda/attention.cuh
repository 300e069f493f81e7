// What the kernels of attention take, and the launchers that attention.cu chooses from. One pair of
// instantiation files a type lets nvcc work on them in parallel.
#pragma once

#include "core/dtype.h"
#include "ops/legend.h"

namespace fintune {
namespace cuda {
namespace attention {

// Starts of the packed sequences: on the device, where alone they are read.
struct Sequences {
  const int32_t* starts;  // [count + 1]
  int32_t count;
  int32_t tokens;
};

// Rows of heads: head h of row t begins at t * ld + h * head_dim.
struct Heads {
  void* data;
  uint32_t ld;
};

struct Shape {
  Sequences sequences;
  int32_t heads, group, dim;  // query heads, query heads of a key head, head dim
  float scale;
  DType dtype;

  int32_t kv_heads() const { return heads / group; }
};

struct Forward {
  Shape shape;
  Heads q, k, v, y;
  float* lse;                  // [T, H] or null
  const int32_t* wanted_from;  // [N] or null
};

// What the backward pass needs of a row and head: lse (times log2(e) for the tensor core kernels), and D = dy
// . y.
struct alignas(8) RowStats {
  float lse, delta;
};

struct Backward {
  Shape shape;
  Heads q, k, v, y, dy;
  const float* lse;  // [T, H]
  RowStats* stats;   // [H, T]
  Heads dq, dk, dv;
};

// Which of the tile shapes a device takes: 75 (64 KB of shared memory, f16, no copies in the background), 80
// (A100, H100, B200: 164 KB and more) or 86 (100 KB: sm_86, 89, 120). `architecture` is ten times a compute
// capability: on the host the device's, in device code what it is compiled for.
FINTUNE_HD constexpr int tile_family(int architecture) {
  if (architecture < 80) return 75;
  return architecture == 80 || (architecture >= 90 && architecture < 120) ? 80 : 86;
}

// Of the plain kernels.
constexpr int64_t kWidestHead = 256;

// Strides are kept in 32 bits.
constexpr int64_t kLargestStride = 0x7FFFFFFF;

void check_view(const View& v, int64_t rows, int64_t cols, DType dtype, const char* name);
inline Heads heads_of(const View& v) { return Heads{v.data, static_cast<uint32_t>(v.ld)}; }

// Whether activations of a type and heads of that width go to the tensor cores.
bool on_tensor_cores(const Exec& exec, DType dtype, int64_t dim);

// Tensor cores: T = bf16 or f16 (on 75: f16), head_dim of at most 128, scale > 0 in the forward pass.
template <class T>
void launch_forward(Exec& exec, const Forward& op);
template <class T>
void launch_backward(Exec& exec, const Backward& op);

// Multiply-adds in f32, any type, head_dim of at most 256.
void launch_plain_forward(Exec& exec, const Forward& op);
void launch_plain_backward(Exec& exec, const Backward& op);

}  // namespace attention
}  // namespace cuda
}  // namespace fintune
