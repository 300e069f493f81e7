// Packed causal attention: which kernels serve a call, and what they need beforehand.
//
// Tensor cores take 16-bit activations with heads of up to 128 columns, in rows of multiples of 16 bytes.
// Heads that are not are copied into such rows first and back afterwards, so that their bits are the same
// wherever they lie. On sm_90 heads of 64 and 128 columns may go to warpgroups, where this build has
// code for sm_90a (FINTUNE_SM90A). Everything else is multiply-adds (attention_plain.cu).
#include <limits>

#include "core/hopper.h"
#include "cuda/attention.cuh"
#include "cuda/attention_hopper.h"
#include "cuda/gpu.h"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/tensor_map.h"
#include "cuda/values.cuh"

namespace fintune {
namespace cuda {
namespace attention {
namespace {

constexpr int kThreads = 128;
constexpr float kLog2E = 1.4426950408889634f;

// Statistics of the backward pass: eight threads a row and head, which take every eighth chunk of 8 columns.
constexpr int kTeam = 8;

GPU_KERNEL(kThreads, 8)
void stats_kernel(Backward op, float lse_factor, bool wide) {
  const Shape& shape = op.shape;
  const int64_t item = static_cast<int64_t>(gpu::block_x()) * (kThreads / kTeam) + gpu::thread() / kTeam;
  const bool valid = item < static_cast<int64_t>(shape.sequences.tokens) * shape.heads;
  const int64_t token = valid ? item / shape.heads : 0, head = valid ? item % shape.heads : 0;
  const void* y = at_byte(op.y.data, token * op.y.ld + head * shape.dim, shape.dtype);
  const void* dy = at_byte(op.dy.data, token * op.dy.ld + head * shape.dim, shape.dtype);
  float sum = 0.0f;
  for (int column = 8 * (gpu::thread() % kTeam); column < shape.dim; column += 8 * kTeam) {
    float a[8], b[8];
    load8(at_byte(y, column, shape.dtype), shape.dtype, shape.dim - column, wide, a);
    load8(at_byte(dy, column, shape.dtype), shape.dtype, shape.dim - column, wide, b);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = gpu::fma(a[i], b[i], sum);
  }
#pragma unroll
  for (int distance = kTeam / 2; distance > 0; distance /= 2) sum += gpu::shuffle_xor(sum, distance);
  if (valid && gpu::thread() % kTeam == 0) {
    op.stats[head * shape.sequences.tokens + token] =
        RowStats{op.lse[token * shape.heads + head] * lse_factor, sum};
  }
}

// Copies the heads of each row into heads of another width: cuts them, or fills up with zeros.
GPU_KERNEL(kThreads, 8)
void copy_heads_kernel(Heads from, int from_dim, Heads to, int to_dim, int heads) {
  const uint16_t* source =
      static_cast<const uint16_t*>(from.data) + static_cast<int64_t>(gpu::block_x()) * from.ld;
  uint16_t* target = static_cast<uint16_t*>(to.data) + static_cast<int64_t>(gpu::block_x()) * to.ld;
  for (int i = gpu::thread(); i < heads * to_dim; i += kThreads) {
    const int head = i / to_dim, column = i % to_dim;
    target[i] = column < from_dim ? source[head * from_dim + column] : uint16_t{0};
  }
}

// Views whose heads lie in rows that tensor core kernels can read: themselves, or copies.
class Packed {
 public:
  Packed(Exec& exec, int64_t dim, std::initializer_list<const View*> views)
      : exec_(exec), dim_(dim), packed_(dim % 8 != 0) {
    for (const View* v : views) packed_ = packed_ || !gpu::aligned16(v->data, v->ld, 2);
  }
  int64_t dim() const { return packed_ ? (dim_ + 7) / 8 * 8 : dim_; }
  Heads input(const View& v) {
    const Heads heads = output(v);
    if (packed_) copy(v, heads_of(v), dim_, heads, dim());
    return heads;
  }
  Heads output(const View& v) {
    return packed_ ? heads_of(exec_.arena->matrix(v.dtype, v.rows, count(v) * dim(), MemoryKind::Workspace))
                   : heads_of(v);
  }
  void finish(const View& v, const Heads& heads) {
    if (packed_) copy(v, heads, dim(), heads_of(v), dim_);
  }

 private:
  int64_t count(const View& v) const { return v.cols / dim_; }
  void copy(const View& v, Heads from, int64_t from_dim, Heads to, int64_t to_dim) {
    launch(exec_, "attention_copy_heads", copy_heads_kernel, Grid{static_cast<int>(v.rows), 1, 1}, kThreads,
           0, from, static_cast<int>(from_dim), to, static_cast<int>(to_dim), static_cast<int>(count(v)));
  }

  Exec& exec_;
  int64_t dim_;
  bool packed_;
};

template <typename Op>
Shape check(const Op& op, const char* where) {
  require(op.head_dim > 0 && op.kv_heads > 0 && op.heads > 0 && op.heads % op.kv_heads == 0, where,
          ": expected heads to be a multiple of kv_heads, found ", op.heads, " and ", op.kv_heads,
          ", head_dim ", op.head_dim);
  require(op.head_dim <= kWidestHead, where, ": head_dim of at most ", kWidestHead, " on this device, found ",
          op.head_dim);
  require(op.q.dtype != DType::I32, "attention.q: activations are f32, bf16 or f16, found ",
          dtype_name(op.q.dtype));
  require(op.q.rows <= std::numeric_limits<int32_t>::max() && op.sequences >= 0, where, ": found ", op.q.rows,
          " tokens of ", op.sequences, " sequences");
  check_view(op.q, op.q.rows, op.heads * op.head_dim, op.q.dtype, "attention.q");
  check_view(op.k, op.q.rows, op.kv_heads * op.head_dim, op.q.dtype, "attention.k, attention.v");
  check_view(op.v, op.q.rows, op.kv_heads * op.head_dim, op.q.dtype, "attention.k, attention.v");
  check_view(op.y, op.q.rows, op.heads * op.head_dim, op.q.dtype, "attention.y");
  return Shape{Sequences{op.cu_seqlens, static_cast<int32_t>(op.sequences), static_cast<int32_t>(op.q.rows)},
               static_cast<int32_t>(op.heads),
               static_cast<int32_t>(op.heads / op.kv_heads),
               static_cast<int32_t>(op.head_dim),
               op.scale,
               op.q.dtype};
}

#ifdef FINTUNE_SM90A
bool on_warpgroups(const Exec& exec, const Shape& shape) {
  return (shape.dim == 64 || shape.dim == 128) && capability(exec) == 90 && hopper();
}
#endif

template <class T>
void forward_on_tensor_cores(Exec& exec, const Forward& op) {
#ifdef FINTUNE_SM90A
  if (on_warpgroups(exec, op.shape) && has_tensor_maps()) {
    launch_warpgroup_forward<T>(exec, op);
    return;
  }
#endif
  launch_forward<T>(exec, op);
}

template <class T>
void backward_on_tensor_cores(Exec& exec, const Backward& op) {
#ifdef FINTUNE_SM90A
  if (on_warpgroups(exec, op.shape)) {
    launch_warpgroup_backward<T>(exec, op);
    return;
  }
#endif
  launch_backward<T>(exec, op);
}

}  // namespace

void check_view(const View& v, int64_t rows, int64_t cols, DType dtype, const char* name) {
  require(v.rows == rows && v.cols == cols && (v.ld >= cols || rows <= 1), name, ": expected [", rows, ", ",
          cols, "] with a leading dimension of at least that, found [", v.rows, ", ", v.cols, "] with ",
          v.ld);
  require(v.dtype == dtype, name, ": expected dtype ", dtype_name(dtype), ", found ", dtype_name(v.dtype));
  require(v.ld <= kLargestStride, name, ": a leading dimension of ", v.ld, " is too large");
}

bool on_tensor_cores(const Exec& exec, DType dtype, int64_t dim) {
  const bool has = dtype == DType::F16 || (dtype == DType::BF16 && capability(exec) >= 80);
  return has && exec.compute != DType::F32 && dim <= 128;
}

}  // namespace attention

void attention_forward(Exec& exec, const AttentionForward& op) {
  using namespace attention;
  const ArenaScope scope(*exec.arena);
  Forward forward{check(op, "attention_forward"),
                  heads_of(op.q),
                  heads_of(op.k),
                  heads_of(op.v),
                  heads_of(op.y),
                  op.lse,
                  op.wanted_from};
  if (op.scale <= 0.0f || !on_tensor_cores(exec, op.q.dtype, op.head_dim)) {
    launch_plain_forward(exec, forward);
    return;
  }
  Packed packed(exec, op.head_dim, {&op.q, &op.k, &op.v, &op.y});
  forward.shape.dim = static_cast<int32_t>(packed.dim());
  forward.q = packed.input(op.q);
  forward.k = packed.input(op.k);
  forward.v = packed.input(op.v);
  forward.y = packed.output(op.y);
  if (op.q.dtype == DType::BF16) {
    forward_on_tensor_cores<bf16>(exec, forward);
  } else {
    forward_on_tensor_cores<f16>(exec, forward);
  }
  packed.finish(op.y, forward.y);
}

void attention_backward(Exec& exec, const AttentionBackward& op) {
  using namespace attention;
  const ArenaScope scope(*exec.arena);
  Backward backward{check(op, "attention_backward"),
                    heads_of(op.q),
                    heads_of(op.k),
                    heads_of(op.v),
                    heads_of(op.y),
                    heads_of(op.dy),
                    op.lse,
                    nullptr,
                    heads_of(op.dq),
                    heads_of(op.dk),
                    heads_of(op.dv)};
  check_view(op.dy, op.q.rows, op.q.cols, op.q.dtype, "attention.dy");
  check_view(op.dq, op.q.rows, op.q.cols, op.q.dtype, "attention.dq");
  check_view(op.dk, op.k.rows, op.k.cols, op.q.dtype, "attention.dk");
  check_view(op.dv, op.v.rows, op.v.cols, op.q.dtype, "attention.dv");
  const bool cores = on_tensor_cores(exec, op.q.dtype, op.head_dim);
  const int64_t items = op.q.rows * op.heads;
  backward.stats = static_cast<RowStats*>(
      exec.arena->alloc(static_cast<size_t>(items) * sizeof(RowStats), MemoryKind::Workspace));
  const size_t size = dtype_size(op.q.dtype);
  const bool wide = static_cast<size_t>(op.head_dim) * size % 16 == 0 &&
                    gpu::aligned16(op.y.data, op.y.ld, size) && gpu::aligned16(op.dy.data, op.dy.ld, size);
  launch(exec, "attention_stats", stats_kernel,
         Grid{static_cast<int>((items + kThreads / kTeam - 1) / (kThreads / kTeam)), 1, 1}, kThreads, 0,
         backward, cores ? kLog2E : 1.0f, wide);
  if (!cores) {
    launch_plain_backward(exec, backward);
    return;
  }
  Packed packed(exec, op.head_dim, {&op.q, &op.k, &op.v, &op.dy, &op.dq, &op.dk, &op.dv});
  backward.shape.dim = static_cast<int32_t>(packed.dim());
  backward.q = packed.input(op.q);
  backward.k = packed.input(op.k);
  backward.v = packed.input(op.v);
  backward.dy = packed.input(op.dy);
  backward.dq = packed.output(op.dq);
  backward.dk = packed.output(op.dk);
  backward.dv = packed.output(op.dv);
  if (op.q.dtype == DType::BF16) {
    backward_on_tensor_cores<bf16>(exec, backward);
  } else {
    backward_on_tensor_cores<f16>(exec, backward);
  }
  packed.finish(op.dq, backward.dq);
  packed.finish(op.dk, backward.dk);
  packed.finish(op.dv, backward.dv);
}

}  // namespace cuda
}  // namespace fintune
