// What every backend requires of the arguments of the linear ops and of the head.
#pragma once

#include "ops/linear.h"
#include "ops/linear_logprob.h"

namespace fintune {

constexpr int kMaxAdapters = 32;  // on one linear

inline void check_linear_shape(const char* name, const View& v, int64_t rows, int64_t cols) {
  require(v.rows == rows && v.cols == cols, name, " is [", v.rows, ", ", v.cols, "], expected [", rows, ", ",
          cols, "]");
}

inline void check_gradient_shape(const char* name, const View& v, int64_t rows, int64_t cols) {
  check_linear_shape(name, v, rows, cols);
  require(v.dtype == DType::F32, "gradients of parameters are f32, found ", name, " in ",
          dtype_name(v.dtype));
}

inline void check_adapters(const LoraPair* adapters, int count, const View& weight) {
  require(count >= 0 && count <= kMaxAdapters, "a linear takes up to ", kMaxAdapters, " adapters, found ",
          count);
  for (int i = 0; i < count; ++i) {
    const View &a = adapters[i].a, &b = adapters[i].b;
    require(a.dtype == DType::F32 && b.dtype == DType::F32, "adapters are f32, found ", dtype_name(a.dtype),
            " and ", dtype_name(b.dtype));
    require(a.cols == weight.cols && b.rows == weight.rows && a.rows == b.cols, "an adapter of [", a.rows,
            ", ", a.cols, "] and [", b.rows, ", ", b.cols, "] does not fit a weight of [", weight.rows, ", ",
            weight.cols, "]");
  }
  int64_t beside = 0;
  for (int i = 0; i < count; ++i) {
    const LoraPair& pair = adapters[i];
    if (adapters[0].beside < 0) {
      require(pair.beside < 0, "adapter ", i, " has copies beside the weight, the first has none");
      continue;
    }
    require(pair.beside == beside, "adapter ", i, " lies ", pair.beside,
            " columns beside the weight, expected ", beside);
    beside += rank_room(pair.a.rows);
    require(weight.ld >= weight.cols + beside, "rows of ", weight.ld, " elements have no room for ", beside,
            " beside a weight of ", weight.cols);
  }
}

inline void check_room(const char* name, const View& v, int64_t room) {
  require(room >= 0 && (v.rows <= 1 || v.ld >= v.cols + room), name, ": rows of ", v.ld,
          " elements have no room for ", room, " behind ", v.cols);
}

// u as it is kept: f32, or rounded where it is of the copies' type.
inline void check_u(const View& u, int64_t rows, const LoraPair& pair, const View& weight) {
  check_linear_shape("u", u, rows, pair.a.rows);
  require(u.dtype == DType::F32 || (pair.beside >= 0 && u.dtype == weight.dtype), "u is ",
          dtype_name(u.dtype), ", expected f32", pair.beside >= 0 ? " or the weight's type" : "");
  if (u.dtype != DType::F32) check_room("u", u, rank_room(pair.a.rows) - pair.a.rows);
}

// Whether the last adapter's input is masked.
inline bool has_dropout(const LoraDropout& d, int adapter_count, int64_t rows) {
  if (adapter_count == 0 || d.p == 0) return false;
  require(d.p >= 0 && d.p < 1, "dropout must be in [0, 1), found ", d.p);
  require(d.first_row >= 0 && d.first_row + rows <= int64_t{0xFFFFFFFF},
          "a step has at most 2^32 - 1 rows, found ", d.first_row + rows);
  return true;
}

inline void check(const LinearForward& in) {
  check_linear_shape("x", in.x, in.x.rows, in.weight.cols);
  check_linear_shape("y", in.y, in.x.rows, in.weight.rows);
  check_adapters(in.adapters, in.adapter_count, in.weight);
  check_room("x", in.x, in.x_room);
  if (in.u && in.adapter_count > 0) check_u(in.u, in.x.rows, in.adapters[in.adapter_count - 1], in.weight);
}

inline void check(const LinearBackward& in) {
  const int64_t rows = in.dy.rows;
  check_linear_shape("dy", in.dy, rows, in.weight.rows);
  check_adapters(in.adapters, in.adapter_count, in.weight);
  check_room("dy", in.dy, in.dy_room);
  const bool trains = static_cast<bool>(in.da);
  require(trains == static_cast<bool>(in.db), "da and db are asked for together or not at all");
  require(!trains || in.adapter_count > 0, "gradients of an adapter are asked for, but there is none");
  if (in.dx) check_linear_shape("dx", in.dx, rows, in.weight.cols);
  if (trains || in.dweight) check_linear_shape("x", in.x, rows, in.weight.cols);
  if (trains) {
    const LoraPair& pair = in.adapters[in.adapter_count - 1];
    check_gradient_shape("da", in.da, pair.a.rows, pair.a.cols);
    check_gradient_shape("db", in.db, pair.b.rows, pair.b.cols);
    if (in.u) check_u(in.u, rows, pair, in.weight);
  }
  if (in.dweight) check_gradient_shape("dweight", in.dweight, in.weight.rows, in.weight.cols);
}

inline void check(const LinearLogprob& in) {
  const int64_t rows = in.hidden.rows, width = in.hidden.cols, vocab = in.weight.rows;
  check_linear_shape("the head's weight", in.weight, vocab, width);
  require(in.weights != nullptr || (!in.dhidden && !in.dweight),
          "gradients of the head need the weights of its rows");
  if (in.dhidden) check_linear_shape("dhidden", in.dhidden, rows, width);
  if (in.dweight) check_gradient_shape("dweight", in.dweight, vocab, width);
  if (in.logits) {
    check_linear_shape("logits", in.logits, rows, vocab);
    require(in.logits.dtype == DType::F32, "logits are f32, found ", dtype_name(in.logits.dtype));
  }
}

// targets: the host's copy.
inline void check_targets(const int32_t* targets, int64_t rows, int64_t vocab) {
  for (int64_t t = 0; t < rows; ++t) {
    require(targets[t] >= 0 && targets[t] < vocab, "target ", t, " is ", targets[t], ", expected 0 to ",
            vocab - 1);
  }
}

}  // namespace fintune
