// What the host side of gemm() and its kernels share: the parameters of a launch and the tile shapes.
#pragma once

#include "cuda/gemm.h"
#include "cuda/launch.h"

namespace fintune {
namespace cuda {

struct TileProduct {
  const void* a;
  const void* b;
  int64_t lda, ldb;
  int k;
  // Of the f32 kernel only: it reads operands as they are.
  float scale;
  DType a_type, b_type;
  bool a_transposed, b_transposed;
};

// What becomes of the sums.
struct TileResult {
  int64_t m, n;
  float* partial;  // [parts][m][n] where there are several parts; then nothing below is written
  void* c;
  int64_t ldc;
  DType c_type;
  bool accumulate;
  bool c_wide;  // accesses of 16 bytes (f32: 8) are allowed
  const float* bias;
  void* rounded;
  int64_t ld_rounded;
  float rounded_scale;
};

// Whose sums blocks compute: tiles of C, in grid.z parts of `split_steps` steps of the K loop each.
struct TileWork : TileResult {
  int tiles_m, tiles_n;
  int steps;  // over all products
  int split_steps;

  int parts() const { return steps == 0 ? 1 : (steps + split_steps - 1) / split_steps; }
};

struct TileGemm : TileWork {
  TileProduct products[kMaxProducts];
  int count;
};

// Without the work.
TileResult tile_result(const Gemm& g);

// How the factors lie: A [M, K] or its transpose, B [N, K] (T) or [K, N] (N).
enum class Layout : uint8_t { NT, NN, TN };
Layout layout_of(const Gemm& g);

inline int64_t inner_size(const Product& p) { return p.a.transposed ? p.a.view.rows : p.a.view.cols; }
inline int64_t parts_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

// Tile of C, tile of a warp, step of K, and steps in flight.
template <int kTileM, int kTileN, int kWarpTileM, int kWarpTileN, int kStep, int kSlots, int kBlocks>
struct TileShape {
  static constexpr int kM = kTileM, kN = kTileN, kWarpM = kWarpTileM, kWarpN = kWarpTileN, kK = kStep;
  static constexpr int kStages = kSlots;
  static constexpr int kMinBlocks = kBlocks;
  static constexpr int kThreads = 32 * (kM / kWarpM) * (kN / kWarpN);
  static constexpr int kSharedBytes = 2 * kStages * (kM + kN) * kK;
};

// 48 KB a block: two blocks fit the 100 KB of sm_86, 89 and 120.
using LargeTile = TileShape<128, 128, 64, 64, 32, 3, 2>;
using SmallTile = TileShape<64, 64, 32, 32, 64, 3, 2>;
// sm_75 stages through registers, so a thread holds less of C.
using LargeTile75 = TileShape<128, 128, 64, 32, 32, 2, 1>;
using SmallTile75 = TileShape<64, 64, 32, 32, 32, 2, 2>;

// A kernel as it is launched.
struct TileKernel {
  void (*run)(TileGemm);
  int tile_m, tile_n, step;
  int threads;
  int shared_bytes;
};

// One file each, so that they compile side by side.
TileKernel tile_kernel_bf16(Layout layout, bool large);
TileKernel tile_kernel_f16(Layout layout, bool large);
TileKernel tile_kernel_f16_sm75(Layout layout, bool large);
TileKernel tile_kernel_f32();

}  // namespace cuda
}  // namespace fintune
