// A linear with any number of LoRA adapters on it (Hu et al. 2021, eq. 3), as one op, so that a backend may
// fold the low-rank products into the base product.
#pragma once

#include <vector>

#include "ops/legend.h"

namespace fintune {

// Columns that a rank takes beside a weight.
inline int64_t rank_room(int64_t rank) { return (rank + 7) / 8 * 8; }

// One adapter's factors on this linear. a [R, IN], b [OUT, R], f32.
struct LoraPair {
  View a;
  View b;
  float scale = 0;  // alpha / r, or alpha / sqrt(r) (Kalajdzievski 2023, rsLoRA)
  // 0 or more: copies of both lie beside W as well, rounded to its type, so that [[W, B], [A, 0]] is one
  // matrix: b in W's columns IN + beside + [0, R), a in its rows OUT + beside + [0, R), zeros up to
  // rank_room(R). Whoever changes a or b changes the copies. The adapters of a linear have all of them or
  // none, one behind the other in their order, beginning at 0.
  int64_t beside = -1;

  View a_beside(const View& weight) const;  // [rank_room(R), IN]
  View b_beside(const View& weight) const;  // [OUT, rank_room(R)]
};

inline View LoraPair::a_beside(const View& weight) const {
  return View(weight.slice(weight.rows + beside, 0).data, weight.dtype, rank_room(a.rows), weight.cols,
              weight.ld);
}
inline View LoraPair::b_beside(const View& weight) const {
  return View(weight.as<char>() + static_cast<size_t>(weight.cols + beside) * dtype_size(weight.dtype),
              weight.dtype, weight.rows, rank_room(a.rows), weight.ld);
}

// Whether copies of the adapters lie beside the weight, as the tensor cores read them.
inline bool has_copies(const LoraPair* adapters, int count) { return count > 0 && adapters[0].beside >= 0; }

// Columns beside the weight that the adapters' copies take.
inline int64_t copies_room(const LoraPair* adapters, int count) {
  return has_copies(adapters, count) ? adapters[count - 1].beside + rank_room(adapters[count - 1].a.rows) : 0;
}

// Dropout on the input of the trained adapter's A (as PEFT). mask_j = [uniform >= p] / (1 - p), a function of
// (seed, step, site, row, column) only, so that backward and recomputation see the same mask: column c of row
// r has word c % 4 of philox4x32({c / 4, first_row + r, site, step}, {low and high half of seed}).
struct LoraDropout {
  float p = 0;
  uint64_t seed = 0;
  uint32_t step = 0;      // optimiser step
  uint32_t site = 0;      // which linear of which layer
  int64_t first_row = 0;  // row number of x's first row within the whole optimiser step
};

//   y = x W^T + bias + sum_i s_i (x A_i^T) B_i^T        (dropout: the last adapter's x is masked)
// x [T, IN] activation, W [OUT, IN] f32/bf16/f16, bias [OUT] f32 optional, y [T, OUT] activation or f32; y
// may not alias x. u [T, R] f32 (optional): x A^T of the *last* adapter, kept for the backward pass. Where
// the copies beside W are used (rowwise false), u may have W's type: then it is s x A^T, rounded, and its
// rows hold rank_room(R) columns.
struct LinearForward {
  View x;
  // Columns behind x's in each row that the op may write to: with room for all adapters' ranks (rank_room)
  // [x | s u] is one matrix too.
  int64_t x_room = 0;
  View weight;
  const float* bias = nullptr;
  // The same numbers in W's type, where it holds all of them; else null.
  const void* exact_bias = nullptr;
  const LoraPair* adapters = nullptr;
  int adapter_count = 0;
  LoraDropout dropout;
  View y;
  View u;
};

//   dx (+)= dy W + sum_i s_i (dy B_i) A_i               (dx optional)
//   da += s (dy B)^T x,   db += s dy^T u                  of the last adapter, f32, accumulated (da, db
//   optional, both or none) dweight += dy^T x, dbias += sum_t dy                  f32, accumulated (optional;
//   full-parameter training)
// u as kept by the forward; where u is null and da/db are asked for, it is recomputed. Sums over T run in
// rising blocks of fixed size.
struct LinearBackward {
  View dy;
  int64_t dy_room = 0;  // as x_room, for [dy | s dy B]
  View x;
  View weight;
  const LoraPair* adapters = nullptr;
  int adapter_count = 0;
  LoraDropout dropout;
  View u;
  View dx;
  bool accumulate_dx = false;
  View da, db;
  View dweight;
  float* dbias = nullptr;
};

}  // namespace fintune
