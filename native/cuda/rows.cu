// Row copies. Bound by memory: one block a row, 16 bytes a thread and step where the rows allow it.
#include <algorithm>

#include "cuda/gpu.h"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/values.cuh"
#include "ops/row_checks.h"

namespace fintune {
namespace cuda {
namespace {

constexpr int kThreads = 128;

// Values of any float type.
struct Matrix {
  void* data;
  int64_t ld;
  DType type;
  bool wide;  // every row starts at a multiple of 16 bytes
};

// Rows of bytes: what is moved is never looked at.
struct ByteRows {
  char* data;
  int64_t stride;  // bytes from row to row
  int64_t rows;
  int64_t bytes;  // of one row
};

ByteRows byte_rows(const View& v) {
  const int64_t size = static_cast<int64_t>(dtype_size(v.dtype));
  return ByteRows{v.as<char>(), v.ld * size, v.rows, v.cols * size};
}

GPU_FN char* row(const ByteRows& r, int64_t i) { return r.data + i * r.stride; }

// One unit of a row: 16 bytes, or an element of 4 or 2.
GPU_FN void copy_unit(gpu::Vec16* to, const gpu::Vec16* from) { gpu::store16(to, gpu::load16(from)); }
GPU_FN void copy_unit(uint32_t* to, const uint32_t* from) { *to = *from; }
GPU_FN void copy_unit(uint16_t* to, const uint16_t* from) { *to = *from; }
GPU_FN void set_unit(gpu::Vec16* to, uint32_t word) {
  gpu::store16(to, gpu::Vec16{{word, word, word, word}});
}
GPU_FN void set_unit(uint32_t* to, uint32_t word) { *to = word; }
GPU_FN void set_unit(uint16_t* to, uint32_t word) { *to = static_cast<uint16_t>(word); }

template <class Unit>
GPU_FN void copy_row(char* to, const char* from, int64_t bytes) {
  const int64_t n = bytes / static_cast<int64_t>(sizeof(Unit));
  for (int64_t i = gpu::thread(); i < n; i += gpu::threads()) {
    copy_unit(reinterpret_cast<Unit*>(to) + i, reinterpret_cast<const Unit*>(from) + i);
  }
}

template <class Unit>
GPU_FN void set_row(char* to, uint32_t word, int64_t bytes) {
  const int64_t n = bytes / static_cast<int64_t>(sizeof(Unit));
  for (int64_t i = gpu::thread(); i < n; i += gpu::threads()) set_unit(reinterpret_cast<Unit*>(to) + i, word);
}

// A row number out of range would be the caller's fault, who checks it where the numbers are made; here it
// gives a row of NaN (-1 in i32).
template <class Unit>
GPU_KERNEL(kThreads, 8)
void gather_kernel(ByteRows x, const int32_t* rows, ByteRows y) {
  const int64_t from = rows[gpu::block_x()];
  char* to = row(y, gpu::block_x());
  if (from >= 0 && from < x.rows) {
    copy_row<Unit>(to, row(x, from), y.bytes);
  } else {
    set_row<Unit>(to, 0xFFFFFFFFu, y.bytes);
  }
}

template <class Unit>
GPU_KERNEL(kThreads, 8)
void clear_kernel(ByteRows y) {
  set_row<Unit>(row(y, gpu::block_x()), 0, y.bytes);
}

// Row numbers out of range are passed over.
template <class Unit>
GPU_KERNEL(kThreads, 8)
void scatter_kernel(ByteRows x, const int32_t* rows, ByteRows y) {
  const int64_t to = rows[gpu::block_x()];
  if (to >= 0 && to < y.rows) copy_row<Unit>(row(y, to), row(x, gpu::block_x()), x.bytes);
}

bool by_16(const View& v) {
  const size_t size = dtype_size(v.dtype);
  return gpu::aligned16(v.data, v.ld, size) && static_cast<size_t>(v.cols) * size % 16 == 0;
}

// fn(null pointer of the unit type).
template <class Fn>
void with_unit(bool sixteen, DType dtype, Fn&& fn) {
  if (sixteen) {
    fn(static_cast<gpu::Vec16*>(nullptr));
  } else if (dtype_size(dtype) == 4) {
    fn(static_cast<uint32_t*>(nullptr));
  } else {
    fn(static_cast<uint16_t*>(nullptr));
  }
}

// A thread makes eight columns of a row.
GPU_KERNEL(kThreads, 8)
void convert_kernel(Matrix x, Matrix y, int64_t rows, int64_t cols) {
  const int64_t per_row = (cols + 7) / 8, count = rows * per_row;
  const int64_t stride = static_cast<int64_t>(gpu::grid_x()) * kThreads;
  for (int64_t i = static_cast<int64_t>(gpu::block_x()) * kThreads + gpu::thread(); i < count; i += stride) {
    const int64_t row = i / per_row, column = i % per_row * 8;
    const int left = static_cast<int>(gpu::min<int64_t>(cols - column, 8));
    float v[8];
    load8(at_byte(x.data, row * x.ld + column, x.type), x.type, left, x.wide, v);
    store8(y.data, row * y.ld + column, y.type, left, y.wide, v);
  }
}

Matrix matrix_of(const View& v) {
  return Matrix{v.data, v.ld, v.dtype, gpu::aligned16(v.data, v.ld, dtype_size(v.dtype))};
}

Grid one_block_a_row(int64_t rows) { return Grid{static_cast<int>(rows), 1, 1}; }

void check(const char* op, const View& whole, const View& chosen) {
  require(whole.cols == chosen.cols && whole.dtype == chosen.dtype, op, ": expected rows of ", whole.cols,
          " ", dtype_name(whole.dtype), ", found ", chosen.cols, " ", dtype_name(chosen.dtype));
}

}  // namespace

void gather_rows(Exec& exec, const GatherRows& o) {
  check("gather_rows", o.x, o.y);
  with_unit(by_16(o.x) && by_16(o.y), o.x.dtype, [&](auto* unit) {
    using Unit = std::remove_pointer_t<decltype(unit)>;
    launch(exec, "gather_rows", gather_kernel<Unit>, one_block_a_row(o.y.rows), kThreads, 0, byte_rows(o.x),
           o.rows, byte_rows(o.y));
  });
}

void scatter_rows(Exec& exec, const ScatterRows& o) {
  check("scatter_rows", o.y, o.x);
  with_unit(by_16(o.x) && by_16(o.y), o.x.dtype, [&](auto* unit) {
    using Unit = std::remove_pointer_t<decltype(unit)>;
    launch(exec, "clear_rows", clear_kernel<Unit>, one_block_a_row(o.y.rows), kThreads, 0, byte_rows(o.y));
    launch(exec, "scatter_rows", scatter_kernel<Unit>, one_block_a_row(o.x.rows), kThreads, 0, byte_rows(o.x),
           o.rows, byte_rows(o.y));
  });
}

void store_rows(Exec& exec, const StoreRows& o) {
  check("store_rows", o.y, o.x);
  with_unit(by_16(o.x) && by_16(o.y), o.x.dtype, [&](auto* unit) {
    using Unit = std::remove_pointer_t<decltype(unit)>;
    launch(exec, "store_rows", scatter_kernel<Unit>, one_block_a_row(o.x.rows), kThreads, 0, byte_rows(o.x),
           o.rows, byte_rows(o.y));
  });
}

void convert(Exec& exec, const Convert& o) {
  check(o);
  const int64_t threads = o.x.rows * ((o.x.cols + 7) / 8);
  const int blocks = static_cast<int>(std::min<int64_t>((threads + kThreads - 1) / kThreads, 4096));
  launch(exec, "convert", convert_kernel, Grid{blocks}, kThreads, 0, matrix_of(o.x), matrix_of(o.y), o.x.rows,
         o.x.cols);
}

}  // namespace cuda
}  // namespace fintune
