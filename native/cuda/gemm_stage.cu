// Staging of operands, and the second pass of products whose sum was cut into parts.
#include <algorithm>

#include "cuda/dropout.cuh"
#include "cuda/gemm_stage.h"
#include "cuda/launch.h"
#include "cuda/values.cuh"

namespace fintune {
namespace cuda {

namespace {

struct StagedCopy {
  const void* from;
  void* to;
  int64_t from_ld, to_ld, rows, cols;
  DropoutMask mask;
  float scale;
  DType from_type, to_type;
  bool wide;
};

constexpr int kCopies = 16;  // of one launch
struct StagedCopies {
  StagedCopy copies[kCopies];
};

constexpr int kThreads = 256;

// A thread makes eight columns of a row; grid.y is the copy.
GPU_KERNEL(kThreads, 4) void stage_operands(StagedCopies all) {
  const StagedCopy& s = all.copies[gpu::block_y()];
  const int64_t per_row = round_up_8(s.cols) / 8, count = s.rows * per_row;
  const int64_t stride = static_cast<int64_t>(gpu::grid_x()) * kThreads;
  for (int64_t i = static_cast<int64_t>(gpu::block_x()) * kThreads + gpu::thread(); i < count; i += stride) {
    const int64_t row = i / per_row, column = i % per_row * 8;
    const int left = static_cast<int>(gpu::min<int64_t>(s.cols - column, 8));
    float v[8];
    load8(at_byte(s.from, row * s.from_ld + column, s.from_type), s.from_type, left, s.wide, v);
    if (s.mask.p > 0) {
      float keep[8];
      mask4(s.mask, row, column, keep);
      mask4(s.mask, row, column + 4, keep + 4);
#pragma unroll
      for (int e = 0; e < 8; ++e) v[e] = rounded_to(v[e] * keep[e], s.from_type);
    }
#pragma unroll
    for (int e = 0; e < 8; ++e) v[e] = e < left ? s.scale * v[e] : 0.0f;
    store8(static_cast<char*>(s.to) + (row * s.to_ld + column) * (s.to_type == DType::F32 ? 4 : 2), s.to_type,
           v);
  }
}

struct Parts {
  const float* partial;
  int parts;
  int64_t rows, cols;
  void* c;
  int64_t ldc;
  DType c_type;
  bool accumulate;
};

GPU_KERNEL(kThreads, 4) void add_parts_kernel(Parts p) {
  const int64_t count = p.rows * p.cols, stride = static_cast<int64_t>(gpu::grid_x()) * kThreads;
  for (int64_t i = static_cast<int64_t>(gpu::block_x()) * kThreads + gpu::thread(); i < count; i += stride) {
    float sum = 0;
    for (int part = 0; part < p.parts; ++part) sum += p.partial[part * count + i];
    const int64_t at = i / p.cols * p.ldc + i % p.cols;
    if (p.accumulate) sum += load_value(p.c, at, p.c_type);
    store_value(p.c, at, p.c_type, sum);
  }
}

int blocks_for(int64_t items) {
  return static_cast<int>(std::min<int64_t>((items + kThreads - 1) / kThreads, 4096));
}

}  // namespace

View staged_matrix(Exec& exec, DType type, int64_t rows, int64_t cols) {
  View v = exec.arena->matrix(type, rows, round_up_8(cols), MemoryKind::Workspace);
  v.cols = cols;
  return v;
}

Factor Stage::add(Exec& exec, const Factor& from, float scale, const LoraDropout* mask, int64_t room) {
  const View& v = from.view;
  const bool masked = mask != nullptr && mask->p > 0;
  const bool ready = v.dtype == exec.compute && gpu::aligned16(v.data, v.ld, dtype_size(v.dtype)) &&
                     (from.padded || v.cols % 8 == 0);
  if ((ready || exec.compute == DType::F32) && scale == 1.0f && !masked) return from;
  View to = staged_matrix(exec, exec.compute, v.rows, v.cols + room);
  to.cols = v.cols;
  items_.push_back(Item{from, to, scale, masked ? mask : nullptr});
  return Factor{to, from.transposed, true};
}

void Stage::run(Exec& exec) {
  for (size_t first = 0; first < items_.size(); first += kCopies) {
    const int n = static_cast<int>(std::min<size_t>(items_.size() - first, kCopies));
    StagedCopies all{};
    int64_t most = 0;
    for (int i = 0; i < n; ++i) {
      const Item& item = items_[first + static_cast<size_t>(i)];
      const View &from = item.from.view, &to = item.to;
      all.copies[i] = StagedCopy{from.data,
                                 to.data,
                                 from.ld,
                                 to.ld,
                                 from.rows,
                                 from.cols,
                                 item.mask != nullptr ? dropout_mask(*item.mask) : DropoutMask{},
                                 item.scale,
                                 from.dtype,
                                 to.dtype,
                                 gpu::aligned16(from.data, from.ld, dtype_size(from.dtype))};
      most = std::max(most, from.rows * round_up_8(from.cols) / 8);
    }
    launch(exec, "stage_operands", stage_operands, Grid{blocks_for(most), n}, kThreads, 0, all);
  }
  items_.clear();
}

void add_parts(Exec& exec, const float* partial, int parts, const View& c, bool accumulate) {
  launch(exec, "add_parts", add_parts_kernel, Grid{blocks_for(c.count())}, kThreads, 0,
         Parts{partial, parts, c.rows, c.cols, c.data, c.ld, c.dtype, accumulate});
}

}  // namespace cuda
}  // namespace fintune
