// The host side of the dense product on warpgroups: which products go there, tile and parts by shape, maps,
// one launch (two where K is cut).
#include <algorithm>
#include <limits>

#include "core/hopper.h"
#include "cuda/gemm_hopper.h"
#include "cuda/gemm_stage.h"
#include "cuda/gpu.h"

namespace fintune {
namespace cuda {

#ifdef FINTUNE_SM90A

namespace {

constexpr int kRows = WarpgroupSteps::kRows, kStep = WarpgroupSteps::kStep;
// Multiprocessors of an H100, each of which takes one block. Parts of a sum must not depend on the device.
constexpr int kBlocks = 132;

// The widest tile with which all multiprocessors have work. Where K is outermost, parts see to that.
int tile_width(Layout layout, int64_t m, int64_t n) {
  for (int width = 256; width > 64; width /= 2) {
    const bool enough = parts_of(m, kRows) * parts_of(n, width) >= kBlocks - kBlocks / 8;
    if (n > width / 2 && (layout == Layout::TN || enough)) return width;
  }
  return 64;
}

// In how many parts `steps` of K are cut: as few as leave multiprocessors idle for about the least time, each
// of at least 512 k.
int parts_of_sum(int64_t tiles, int64_t steps) {
  const int64_t most = std::min(steps / (512 / kStep), 2 * kBlocks / tiles);
  const auto busy = [tiles](int64_t parts) {
    const int64_t blocks = tiles * parts;
    return static_cast<double>(blocks) / static_cast<double>(parts_of(blocks, kBlocks) * kBlocks);
  };
  int64_t best = 1;
  for (int64_t parts = 2; parts <= most; ++parts) {
    if (busy(parts) > busy(best) + 0.05) best = parts;
  }
  return static_cast<int>(best);
}

// Of one row the stride means nothing.
Matrix16 matrix_of(const View& v) {
  return Matrix16{v.data, v.rows, v.cols, v.rows == 1 ? round_up_8(v.cols) : v.ld};
}

bool has_map(const Exec& exec, const View& v) {
  const int64_t most = std::numeric_limits<int32_t>::max();
  return v.dtype == exec.compute && v.rows <= most && v.cols <= most &&
         gpu::aligned16(v.data, matrix_of(v).ld, 2);
}

TensorMap map_of(const Exec& exec, const View& v, bool inner_k, int lines) {
  return tensor_map(exec, matrix_of(v), inner_k ? lines : kStep);
}

}  // namespace

bool for_warpgroups(const Exec& exec, const Gemm& g) {
  if (exec.compute == DType::F32 || capability(exec) != 90 || !hopper() || !has_tensor_maps()) return false;
  int mapped = 0;
  for (int i = 0; i < g.count; ++i) {
    const Product& p = g.products[i];
    if (inner_size(p) == 0) continue;
    if (!has_map(exec, p.a.view) || !has_map(exec, p.b.view)) return false;
    ++mapped;
  }
  return mapped > 0 && mapped <= kMaxMapped;
}

void warpgroup_gemm(Exec& exec, const Gemm& g) {
  const Layout layout = layout_of(g);
  ArenaScope scope(*exec.arena);
  WarpgroupGemm t{};
  static_cast<TileResult&>(t) = tile_result(g);
  const int width = tile_width(layout, t.m, t.n);
  const WarpgroupKernel kernel = exec.compute == DType::BF16 ? warpgroup_kernel_bf16(layout, width)
                                                             : warpgroup_kernel_f16(layout, width);
  WarpgroupMaps maps{};
  int count = 0;
  for (int i = 0; i < g.count; ++i) {
    const Product& p = g.products[i];
    if (inner_size(p) == 0) continue;
    maps.a[count] = map_of(exec, p.a.view, layout != Layout::TN, kRows);
    maps.b[count] = map_of(exec, p.b.view, layout == Layout::NT, width);
    t.k[count] = static_cast<int>(inner_size(p));
    t.steps += static_cast<int>(parts_of(t.k[count], kStep));
    ++count;
  }
  t.tiles_m = static_cast<int>(parts_of(t.m, kRows));
  t.tiles_n = static_cast<int>(parts_of(t.n, width));
  const int64_t tiles = static_cast<int64_t>(t.tiles_m) * t.tiles_n;
  require(tiles < int64_t{1} << 31, "a product of ", tiles, " tiles is too large for one launch");
  const bool cut = layout == Layout::TN && count == 1 && g.bias == nullptr && !g.rounded;
  t.split_steps = static_cast<int>(parts_of(t.steps, cut ? parts_of_sum(tiles, t.steps) : 1));
  const int parts = t.parts();
  if (parts > 1) t.partial = exec.arena->floats(parts * t.m * t.n, MemoryKind::Workspace);
  launch(exec, "gemm_warpgroups", kernel.run, Grid{static_cast<int>(tiles), 1, parts}, kernel.threads,
         kernel.shared_bytes, t, maps);
  if (parts > 1) add_parts(exec, t.partial, parts, g.c, g.accumulate);
}

#else

bool for_warpgroups(const Exec&, const Gemm&) { return false; }
void warpgroup_gemm(Exec&, const Gemm&) {}

#endif

}  // namespace cuda
}  // namespace fintune
