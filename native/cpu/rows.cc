// Row copies. Bound by memory: one task a block of rows.
#include <algorithm>
#include <cstring>

#include "cpu/isa.h"
#include "ops/row_checks.h"

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {

namespace {

constexpr int64_t kRows = 64;

// fn(row) for all rows, in parallel.
template <typename Fn>
void for_rows(Exec& exec, int64_t rows, Fn&& fn) {
  exec.threads->parallel_for((rows + kRows - 1) / kRows, [&](int64_t task, int) {
    const int64_t last = std::min(rows, (task + 1) * kRows);
    for (int64_t t = task * kRows; t < last; ++t) fn(t);
  });
}

char* row(const View& v, int64_t t) {
  return v.as<char>() + static_cast<size_t>(t * v.ld) * dtype_size(v.dtype);
}

size_t row_bytes(const View& v) { return static_cast<size_t>(v.cols) * dtype_size(v.dtype); }

void check(const char* op, const View& whole, const View& chosen) {
  require(whole.cols == chosen.cols && whole.dtype == chosen.dtype, op, ": expected rows of ", whole.cols,
          " ", dtype_name(whole.dtype), ", found ", chosen.cols, " ", dtype_name(chosen.dtype));
}

void check_rows(const char* op, const int32_t* rows, int64_t n, int64_t limit) {
  for (int64_t i = 0; i < n; ++i) {
    require(rows[i] >= 0 && rows[i] < limit, op, ": rows[", i, "] is ", rows[i], ", expected 0 .. ",
            limit - 1);
  }
}

}  // namespace

void gather_rows(Exec& exec, const GatherRows& o) {
  check("gather_rows", o.x, o.y);
  if (exec.dry) return;
  check_rows("gather_rows", o.rows, o.y.rows, o.x.rows);
  for_rows(exec, o.y.rows, [&](int64_t i) { std::memcpy(row(o.y, i), row(o.x, o.rows[i]), row_bytes(o.y)); });
}

void scatter_rows(Exec& exec, const ScatterRows& o) {
  check("scatter_rows", o.y, o.x);
  if (exec.dry) return;
  check_rows("scatter_rows", o.rows, o.x.rows, o.y.rows);
  for_rows(exec, o.y.rows, [&](int64_t t) { std::memset(row(o.y, t), 0, row_bytes(o.y)); });
  for_rows(exec, o.x.rows, [&](int64_t i) { std::memcpy(row(o.y, o.rows[i]), row(o.x, i), row_bytes(o.x)); });
}

void store_rows(Exec& exec, const StoreRows& o) {
  check("store_rows", o.y, o.x);
  if (exec.dry) return;
  check_rows("store_rows", o.rows, o.x.rows, o.y.rows);
  for_rows(exec, o.x.rows, [&](int64_t i) { std::memcpy(row(o.y, o.rows[i]), row(o.x, i), row_bytes(o.x)); });
}

void convert(Exec& exec, const Convert& o) {
  check(o);
  if (exec.dry) return;
  with_float_type(o.x.dtype, [&](auto* from_tag) {
    with_float_type(o.y.dtype, [&](auto* to_tag) {
      using From = std::remove_pointer_t<decltype(from_tag)>;
      using To = std::remove_pointer_t<decltype(to_tag)>;
      for_rows(exec, o.x.rows, [&](int64_t t) {
        const From* const from = reinterpret_cast<const From*>(row(o.x, t));
        To* const to = reinterpret_cast<To*>(row(o.y, t));
        for (int64_t c = 0; c < o.x.cols; ++c) to[c] = from_float<To>(to_float(from[c]));
      });
    });
  });
}

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
