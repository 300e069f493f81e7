// What the decoder's forward and backward files share.
#pragma once

#include "model/decoder.h"

namespace fintune {
namespace decoder {
// Every layer adds to the residual stream and to its gradient: in bf16 their rounding errors would add up as
// well.
constexpr DType kStream = DType::F32;

inline void check_abort(const Exec& exec) {
  if (exec.aborted != nullptr && exec.aborted->load(std::memory_order_relaxed)) {
    fail(ErrorCode::Aborted, "stopped on request");
  }
}

inline void add_residual(Exec& exec, const OpTable& ops, View x, View delta, View out, const View& weight,
                         float eps, View y, float* rstd) {
  RmsNormForward op{};
  op.x = x;
  op.delta = delta;
  op.x_out = delta ? out : View();
  op.weight = weight.f32();
  op.eps = eps;
  op.y = y;
  op.rstd = rstd;
  ops.rmsnorm_forward(exec, op);
}

// Rows of single heads: [T, heads*K] as [T*heads, K].
inline View heads_as_rows(const View& x, int64_t head_dim) {
  return View(x.data, x.dtype, x.count() / head_dim, head_dim);
}

// Where the batch's tokens lie in the cache, once for all layers: the parts of `on` that a cache takes.
void stage_cache(Exec& exec, const PackedBatch& batch, const KvCacheView& cache, StagedBatch& on);

}  // namespace decoder
}  // namespace fintune
