// Moving rows: choosing those that go through the head, putting gradients back, filling a key/value cache.
#pragma once

#include "ops/legend.h"

namespace fintune {

// y[i, :] = x[rows[i], :].   x [T, C], rows [n] in 0..T-1 (else Argument), y [n, C], one dtype.
struct GatherRows {
  View x;
  const int32_t* rows;
  View y;
};
// y = 0 except y[rows[i], :] = x[i, :].   x [n, C], rows [n] in 0..T-1 (else Argument), each once, y [T, C],
// one dtype.
struct ScatterRows {
  View x;
  const int32_t* rows;
  View y;
};
// y[rows[i], :] = x[i, :], all else in y stays.   x [n, C], rows [n] in 0..T-1 (else Argument), each once,
// y [T, C], one dtype.
struct StoreRows {
  View x;
  const int32_t* rows;
  View y;
};

// y = x, rounded to y's type.   x, y [T, C], each f32, bf16 or f16.
struct Convert {
  View x;
  View y;
};

}  // namespace fintune
