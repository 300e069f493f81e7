// RMSNorm with the residual addition, see ops/rmsnorm.h. Bound by memory: each row is read once and stays in
// registers between its sum and its scaling.
#include "cuda/gpu.h"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/packs.cuh"
#include "cuda/rows.cuh"
#include "cuda/values.cuh"
#include "ops/row_checks.h"

namespace fintune {
namespace cuda {
namespace {

// A team of threads has one row; each thread takes a pack of neighbours, then that of the team's width
// further on. kHeld columns of a thread stay in registers. Teams of less than a block cover the whole row
// with them, a block reads the rest of a very wide row again.
constexpr int kThreads = 128;
constexpr int kNarrow = 16, kNarrowHeld = 8;
constexpr int kWarp = 32, kWarpHeld = 32;
constexpr int kBlock = 256, kBlockHeld = 16;

template <int kTeam>
constexpr int kThreadsOf = kTeam > kThreads ? kTeam : kThreads;

// Over a team, in a fixed order. At most once in a kernel where the team is a block.
template <int kTeam>
GPU_FN float team_sum(float v) {
  if constexpr (kTeam == kNarrow) {
    for (int distance = kNarrow / 2; distance > 0; distance /= 2) v += gpu::shuffle_xor(v, distance);
    return v;
  } else if constexpr (kTeam == kWarp) {
    return gpu::warp_sum(v);
  } else {
    float* const sums = gpu::shared<float>();
    v = gpu::warp_sum(v);
    if (gpu::lane() == 0) sums[gpu::warp()] = v;
    GPU_BARRIER();
    v = sums[0];
    for (int w = 1; w < kTeam / 32; ++w) v += sums[w];
    return v;
  }
}

// body(i, j): pack i of this thread, at column j, as long as it lies within the row. The first kPacks come
// with a constant i, the others, of a block only, with i = kPacks.
template <int kTeam, int kPacks, int n, typename Body>
GPU_FN void for_packs(int cols, Body&& body) {
  const int first = gpu::thread() % kTeam * n;
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    if (first + i * kTeam * n < cols) body(i, first + i * kTeam * n);
  }
  if constexpr (kTeam == kBlock) {
    for (int j = first + kPacks * kTeam * n; j < cols; j += kTeam * n) body(kPacks, j);
  }
}

template <int kTeam>
GPU_FN int64_t row_of_team() {
  return static_cast<int64_t>(gpu::block_x()) * (kThreadsOf<kTeam> / kTeam) + gpu::thread() / kTeam;
}

template <typename S, typename T>
struct ForwardArgs {
  Rows<S> x, delta, x_out;
  Rows<float> weight;
  Rows<T> y;
  float* rstd;
  int64_t rows;
  int cols;
  float eps;
};

template <typename S, typename T, int kTeam, int kHeld>
GPU_KERNEL(kThreadsOf<kTeam>, 2)
void forward(ForwardArgs<S, T> a) {
  constexpr int n = kPack<S, T>, kPacks = kHeld / n;
  const int64_t t = row_of_team<kTeam>();
  const int cols = t < a.rows ? a.cols : 0;  // teams without a row take part in the warp's exchanges
  const S* const x = a.x.row(t);
  float held[kPacks][n];
  float squares = 0;
  for_packs<kTeam, kPacks, n>(cols, [&](int i, int j) {
    float spare[n];
    float(&v)[n] = i < kPacks ? held[i] : spare;
    load_pack(x + j, cols - j, a.x.wide, v);
    if (a.delta) {
      float d[n];
      load_pack(a.delta.row(t) + j, cols - j, a.delta.wide, d);
#pragma unroll
      for (int e = 0; e < n; ++e) v[e] += d[e];
    }
    if (a.x_out) {
      store_pack(a.x_out.row(t) + j, cols - j, a.x_out.wide, v);
#pragma unroll
      for (int e = 0; e < n; ++e) v[e] = to_float(from_float<S>(v[e]));  // what was stored counts
    }
#pragma unroll
    for (int e = 0; e < n; ++e) squares = gpu::fma(v[e], v[e], squares);
  });
  const float rstd = 1.0f / gpu::sqrt(team_sum<kTeam>(squares) / static_cast<float>(a.cols) + a.eps);
  if (a.rstd != nullptr && t < a.rows && gpu::thread() % kTeam == 0) a.rstd[t] = rstd;
  for_packs<kTeam, kPacks, n>(cols, [&](int i, int j) {
    float spare[n], w[n], y[n];
    float(&v)[n] = i < kPacks ? held[i] : spare;
    if (i == kPacks) {
      if (a.x_out) {
        load_pack(a.x_out.row(t) + j, cols - j, a.x_out.wide, v);
      } else {
        load_pack(x + j, cols - j, a.x.wide, v);
      }
    }
    load_pack(a.weight.data + j, cols - j, a.weight.wide, w);
#pragma unroll
    for (int e = 0; e < n; ++e) y[e] = v[e] * rstd * w[e];
    store_pack(a.y.row(t) + j, cols - j, a.y.wide, y);
  });
}

template <typename S, typename T>
struct BackwardArgs {
  Rows<T> dy;
  Rows<S> x;
  Rows<float> weight;
  const float* rstd;
  Rows<S> dx;
  int64_t rows;
  int cols;
  bool accumulate;
};

// g = dy w and x = x rstd of a pack.
template <typename S, typename T, int n>
GPU_FN void load_both(const BackwardArgs<S, T>& a, int64_t t, int j, float rstd, float (&g)[n],
                      float (&x)[n]) {
  float w[n];
  load_pack(a.dy.row(t) + j, a.cols - j, a.dy.wide, g);
  load_pack(a.weight.data + j, a.cols - j, a.weight.wide, w);
  load_pack(a.x.row(t) + j, a.cols - j, a.x.wide, x);
#pragma unroll
  for (int e = 0; e < n; ++e) {
    g[e] *= w[e];
    x[e] *= rstd;
  }
}

template <typename S, typename T, int kTeam, int kHeld>
GPU_KERNEL(kThreadsOf<kTeam>, (kTeam == kBlock ? 2 : 5))
void backward(BackwardArgs<S, T> a) {
  constexpr int n = kPack<S, T>, kPacks = kHeld / n;
  const int64_t t = row_of_team<kTeam>();
  const int cols = t < a.rows ? a.cols : 0;
  const float rstd = t < a.rows ? a.rstd[t] : 0.0f;
  float g[kPacks + 1][n], x[kPacks + 1][n];
  float dot = 0;
  for_packs<kTeam, kPacks, n>(cols, [&](int i, int j) {
    load_both(a, t, j, rstd, g[i], x[i]);
#pragma unroll
    for (int e = 0; e < n; ++e) dot = gpu::fma(g[i][e], x[i][e], dot);
  });
  const float mean = team_sum<kTeam>(dot) / static_cast<float>(a.cols);
  for_packs<kTeam, kPacks, n>(cols, [&](int i, int j) {
    if (i == kPacks) load_both(a, t, j, rstd, g[i], x[i]);
    S* const to = a.dx.row(t) + j;
    float d[n];
#pragma unroll
    for (int e = 0; e < n; ++e) d[e] = rstd * (g[i][e] - x[i][e] * mean);
    if (a.accumulate) {
      float old[n];
      load_pack(to, cols - j, a.dx.wide, old);
#pragma unroll
      for (int e = 0; e < n; ++e) d[e] += old[e];
    }
    store_pack(to, cols - j, a.dx.wide, d);
  });
}

// dweight: parts of rows whose number depends on T only are summed each by itself, then in their order.
constexpr int64_t kPartRows = 64;
constexpr int64_t kMostParts = 256;
constexpr int kWeightThreads = 256;
constexpr int kWeightPack = 4, kWeightColumns = 32 * kWeightPack;  // of a block

template <typename S, typename T>
struct WeightArgs {
  Rows<T> dy;
  Rows<S> x;
  const float* rstd;
  int64_t rows, rows_per_part;
  int cols;
  float* parts;  // [parts][cols]
};

// A block sums kWeightColumns columns over a part's rows: warp w takes rows w, w + 8, ..., then the warps are
// added in order.
template <typename S, typename T>
GPU_KERNEL(kWeightThreads, 2)
void weight_parts(WeightArgs<S, T> a) {
  float* const sums = gpu::shared<float>();  // [warps][kWeightColumns]
  const int first_column = gpu::block_x() * kWeightColumns;
  const int j = first_column + gpu::lane() * kWeightPack;
  const int64_t first = gpu::block_y() * a.rows_per_part;
  const int64_t last = gpu::min<int64_t>(first + a.rows_per_part, a.rows);
  float sum[kWeightPack] = {};
  if (j < a.cols) {
    for (int64_t t = first + gpu::warp(); t < last; t += kWeightThreads / 32) {
      float d[kWeightPack], x[kWeightPack];
      load_pack(a.dy.row(t) + j, a.cols - j, a.dy.wide, d);
      load_pack(a.x.row(t) + j, a.cols - j, a.x.wide, x);
      const float rstd = a.rstd[t];
#pragma unroll
      for (int e = 0; e < kWeightPack; ++e) sum[e] = gpu::fma(d[e], x[e] * rstd, sum[e]);
    }
  }
  store_pack(sums + gpu::thread() * kWeightPack, kWeightPack, true, sum);
  GPU_BARRIER();
  const int column = first_column + gpu::thread();
  if (gpu::thread() < kWeightColumns && column < a.cols) {
    float total = sums[gpu::thread()];
    for (int w = 1; w < kWeightThreads / 32; ++w) total += sums[w * kWeightColumns + gpu::thread()];
    a.parts[gpu::block_y() * static_cast<int64_t>(a.cols) + column] = total;
  }
}

constexpr int kSumThreads = 64;

GPU_KERNEL(kSumThreads, 8)
void add_parts_to_weight(const float* parts, int count, int cols, float* dweight) {
  const int column = gpu::block_x() * kSumThreads + gpu::thread();
  if (column >= cols) return;
  float total = dweight[column];
#pragma unroll 8
  for (int p = 0; p < count; ++p) total += parts[static_cast<int64_t>(p) * cols + column];
  dweight[column] = total;
}

// Calls fn with null pointers of the two types.
template <typename Fn>
void with_stream_types(const View& x, const View& normalised, Fn&& fn) {
  with_float_type(normalised.dtype, [&](auto* normalised_tag) {
    if (x.dtype == DType::F32) {
      fn(static_cast<float*>(nullptr), normalised_tag);
    } else {
      fn(normalised_tag, normalised_tag);
    }
  });
}

template <int kTeam>
Grid grid_of_teams(int64_t rows) {
  return grid_of(blocks_of(rows, kThreadsOf<kTeam> / kTeam));
}

// fn(integral constants: team, columns that a thread holds).
template <typename Fn>
void with_team(int64_t cols, Fn&& fn) {
  if (cols <= kNarrow * kNarrowHeld) {
    fn(std::integral_constant<int, kNarrow>(), std::integral_constant<int, kNarrowHeld>());
  } else if (cols <= kWarp * kWarpHeld) {
    fn(std::integral_constant<int, kWarp>(), std::integral_constant<int, kWarpHeld>());
  } else {
    fn(std::integral_constant<int, kBlock>(), std::integral_constant<int, kBlockHeld>());
  }
}

Rows<float> weight_row(const float* weight, int64_t cols) {
  return rows_of<float>(View(const_cast<float*>(weight), DType::F32, 1, cols, 0));
}

// What a block's warps leave for each other.
template <int kTeam>
constexpr size_t kTeamBytes = kTeam == kBlock ? kTeam / 32 * sizeof(float) : 0;

}  // namespace

void rmsnorm_forward(Exec& exec, const RmsNormForward& op) {
  check(op, exec.dry);
  const int64_t rows = op.x.rows, cols = op.x.cols;
  with_stream_types(op.x, op.y, [&](auto* stream, auto* normalised) {
    using S = std::remove_pointer_t<decltype(stream)>;
    using T = std::remove_pointer_t<decltype(normalised)>;
    with_team(cols, [&](auto team, auto held) {
      launch(exec, "rmsnorm_forward", forward<S, T, team, held>, grid_of_teams<team>(rows), kThreadsOf<team>,
             kTeamBytes<team>,
             ForwardArgs<S, T>{rows_of<S>(op.x), rows_of<S>(op.delta), rows_of<S>(op.x_out),
                               weight_row(op.weight, cols), rows_of<T>(op.y), op.rstd, rows,
                               static_cast<int>(cols), op.eps});
    });
  });
}

void rmsnorm_backward(Exec& exec, const RmsNormBackward& op) {
  check(op);
  const int64_t rows = op.x.rows, cols = op.x.cols;
  const int64_t parts = std::min(kMostParts, blocks_of(rows, kPartRows));
  const int64_t rows_per_part = parts == 0 ? 0 : blocks_of(rows, parts);
  ArenaScope scope(*exec.arena);
  float* const sums = op.dweight ? exec.arena->floats(parts * cols, MemoryKind::Workspace) : nullptr;
  with_stream_types(op.x, op.dy, [&](auto* stream, auto* normalised) {
    using S = std::remove_pointer_t<decltype(stream)>;
    using T = std::remove_pointer_t<decltype(normalised)>;
    if (op.dweight != nullptr && rows > 0) {  // before dx, which may overwrite dy
      launch(exec, "rmsnorm_weight_parts", weight_parts<S, T>,
             Grid{static_cast<int>(blocks_of(cols, kWeightColumns)), static_cast<int>(parts)}, kWeightThreads,
             kWeightThreads * kWeightPack * sizeof(float),
             WeightArgs<S, T>{rows_of<T>(op.dy), rows_of<S>(op.x), op.rstd, rows, rows_per_part,
                              static_cast<int>(cols), sums});
      launch(exec, "rmsnorm_weight", add_parts_to_weight, grid_of(blocks_of(cols, kSumThreads)), kSumThreads,
             0, sums, static_cast<int>(parts), static_cast<int>(cols), op.dweight);
    }
    with_team(cols, [&](auto team, auto held) {
      launch(exec, "rmsnorm_backward", backward<S, T, team, held>, grid_of_teams<team>(rows),
             kThreadsOf<team>, kTeamBytes<team>,
             BackwardArgs<S, T>{rows_of<T>(op.dy), rows_of<S>(op.x), weight_row(op.weight, cols), op.rstd,
                                rows_of<S>(op.dx), rows, static_cast<int>(cols), op.accumulate});
    });
  });
}

}  // namespace cuda
}  // namespace fintune
