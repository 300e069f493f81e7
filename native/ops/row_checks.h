// What every backend requires of the arguments of the ops on rows.
#pragma once

#include "ops/embedding.h"
#include "ops/optimizer.h"
#include "ops/rmsnorm.h"
#include "ops/rope.h"
#include "ops/rows.h"
#include "ops/swiglu.h"

namespace fintune {

// Like every check of an op these also hold while a plan is measured, when data are null.
inline void check_shape(const View& v, int64_t rows, int64_t cols, const char* name) {
  require(v.rows == rows && v.cols == cols && (v.ld >= cols || rows <= 1), name, ": expected [", rows, ", ",
          cols, "] with a leading dimension of at least that, found [", v.rows, ", ", v.cols, "] with ",
          v.ld);
}

inline void check_like(const View& v, const View& other, const char* name) {
  check_shape(v, other.rows, other.cols, name);
  require(v.dtype == other.dtype, name, ": expected dtype ", dtype_name(other.dtype), ", found ",
          dtype_name(v.dtype));
}

inline void check_dtype(const View& v, DType dtype, const char* name) {
  require(v.dtype == dtype, name, ": expected dtype ", dtype_name(dtype), ", found ", dtype_name(v.dtype));
}

inline void check_float(const View& v, const char* name) {
  require(v.dtype != DType::I32, name, ": expected f32, bf16 or f16, found ", dtype_name(v.dtype));
}

inline void check(const EmbeddingForward& op) {
  check_float(op.weight, "embedding.weight");
  check_float(op.y, "embedding.y");
  check_shape(op.y, op.y.rows, op.weight.cols, "embedding.y");
}

inline void check(const EmbeddingBackward& op) {
  check_float(op.dy, "embedding.dy");
  check_dtype(op.dweight, DType::F32, "embedding.dweight");
  check_shape(op.dy, op.dy.rows, op.dweight.cols, "embedding.dy");
}

// A stream may be f32 where the normalised rows are of 16 bits.
inline void check_stream(const View& x, const View& normalised, const char* name) {
  check_float(x, "rmsnorm.x");
  check_shape(x, x.rows, x.cols, "rmsnorm.x");
  check_float(normalised, name);
  check_shape(normalised, x.rows, x.cols, name);
  require(x.dtype == DType::F32 || normalised.dtype == x.dtype, name, " is ", dtype_name(normalised.dtype),
          ", expected ", dtype_name(x.dtype), " as x");
}

inline void check(const RmsNormForward& op, bool dry) {
  check_stream(op.x, op.y, "rmsnorm.y");
  if (op.delta) check_like(op.delta, op.x, "rmsnorm.delta");
  if (op.x_out) check_like(op.x_out, op.x, "rmsnorm.x_out");
  require(dry || !op.delta || op.x_out, "rmsnorm: delta needs x_out");
}

inline void check(const RmsNormBackward& op) {
  check_stream(op.x, op.dy, "rmsnorm.dy");
  check_like(op.dx, op.x, "rmsnorm.dx");
}

inline void check(const Rope& op) {
  check_float(op.x, "rope.x");
  require(op.heads > 0 && op.x.cols % (2 * op.heads) == 0,
          "rope.x: expected heads * head_dim columns with an even head_dim, found ", op.x.cols, " for ",
          op.heads, " heads");
}

inline void check(const SwigluForward& op) {
  check_float(op.gate, "swiglu.gate");
  check_shape(op.gate, op.gate.rows, op.gate.cols, "swiglu.gate");
  check_like(op.up, op.gate, "swiglu.up");
  check_like(op.h, op.gate, "swiglu.h");
}

inline void check(const SwigluBackward& op) {
  check_float(op.gate, "swiglu.gate");
  check_shape(op.gate, op.gate.rows, op.gate.cols, "swiglu.gate");
  check_like(op.up, op.gate, "swiglu.up");
  check_like(op.dh, op.gate, "swiglu.dh");
  check_like(op.dgate, op.gate, "swiglu.dgate");
  check_like(op.dup, op.gate, "swiglu.dup");
  if (op.h) check_like(op.h, op.gate, "swiglu.h");
}

inline void check(const AdamW& op) {
  require(op.step >= 1, "adamw: the step counts from 1, found ", op.step);
  for (int64_t i = 0; i < op.count; ++i) {
    const AdamWTensor& t = op.tensors[i];
    if (!t.copy) continue;
    check_float(t.copy, "adamw.copy");
    require(t.n < int64_t{1} << 31, "adamw.copy: of less than 2^31 elements, found ", t.n);
    require(t.copy.count() == t.n && t.copy.ld >= t.copy.cols, "adamw.copy: expected ", t.n,
            " elements, found [", t.copy.rows, ", ", t.copy.cols, "] with a leading dimension of ",
            t.copy.ld);
  }
}

inline void check(const Convert& op) {
  check_float(op.x, "convert.x");
  check_float(op.y, "convert.y");
  check_shape(op.y, op.x.rows, op.x.cols, "convert.y");
}

inline void check(const GlobalNorm& op) {
  for (int64_t i = 0; i < op.count; ++i) check_dtype(op.gradients[i], DType::F32, "global_norm.gradients");
}

}  // namespace fintune
