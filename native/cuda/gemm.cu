// The dense product's host side: operands staged, kernel and parts chosen by shape, one launch (two where K
// is cut).
#include <algorithm>

#include "cuda/gemm.h"
#include "cuda/gemm_hopper.h"
#include "cuda/gemm_library.h"
#include "cuda/gemm_stage.h"
#include "cuda/gemm_tile.h"
#include "cuda/gpu.h"

namespace fintune {
namespace cuda {

namespace {

bool is_operand(DType t) { return t == DType::F32 || t == DType::BF16 || t == DType::F16; }

// The large tile reads each operand half as often; the small one where the large one would leave most of a
// GPU idle, or half of the tile empty.
bool choose_large(Layout layout, int64_t m, int64_t n) {
  if (m <= 64 || n <= 64) return false;
  return layout == Layout::TN || parts_of(m, 128) * parts_of(n, 128) >= 96;
}

TileKernel choose_kernel(const Exec& exec, Layout layout, int64_t m, int64_t n) {
  if (exec.compute == DType::F32) return tile_kernel_f32();
  const bool large = choose_large(layout, m, n);
  if (capability(exec) >= 80) {
    return exec.compute == DType::BF16 ? tile_kernel_bf16(layout, large) : tile_kernel_f16(layout, large);
  }
  require_f16(exec);
  return tile_kernel_f16_sm75(layout, large);
}

// Steps of K that one block takes. Where K is outermost there are few tiles and many steps: about 512 blocks
// then share them, each at least 256 k.
int steps_of_a_part(Layout layout, int64_t tiles, int64_t steps, int step) {
  if (layout != Layout::TN || steps == 0) return static_cast<int>(std::max<int64_t>(steps, 1));
  const int64_t shares = std::max<int64_t>(1, 512 / std::max<int64_t>(1, tiles));
  return static_cast<int>(std::max<int64_t>(parts_of(steps, shares), 256 / step));
}

}  // namespace

Layout layout_of(const Gemm& g) {
  if (g.count == 0) return Layout::NT;
  const Product& p = g.products[0];
  return p.a.transposed ? Layout::TN : p.b.transposed ? Layout::NT : Layout::NN;
}

TileResult tile_result(const Gemm& g) {
  const View& c = g.c ? g.c : g.rounded;
  TileResult t{};
  t.m = c.rows;
  t.n = c.cols;
  t.c = g.c.data;
  t.ldc = g.c.ld;
  t.c_type = g.c.dtype;
  t.accumulate = g.accumulate;
  t.c_wide = g.c.dtype == DType::F32 ? reinterpret_cast<uintptr_t>(g.c.data) % 8 == 0 && g.c.ld % 2 == 0
                                     : gpu::aligned16(g.c.data, g.c.ld, 2);
  t.bias = g.bias;
  t.rounded = g.rounded.data;
  t.ld_rounded = g.rounded.ld;
  t.rounded_scale = g.rounded_scale;
  return t;
}

void require_f16(const Exec& exec) {
  require(exec.compute == DType::F16, "products in bf16 need a GPU of compute capability 8.0, this one has ",
          capability(exec) / 10, ".", capability(exec) % 10, ": compute in f16");
}

void check_gemm(const Exec& exec, const Gemm& g) {
  require(g.c || g.rounded, "a product needs a place for its result");
  require(g.count <= kMaxProducts, "at most ", kMaxProducts, " products in one sum, found ", g.count);
  require(is_operand(exec.compute), "products are computed in f32, bf16 or f16, found ",
          dtype_name(exec.compute));
  const View& c = g.c ? g.c : g.rounded;
  require(!g.c || c.dtype == DType::F32 || c.dtype == exec.compute ||
              (exec.compute == DType::F32 && is_operand(c.dtype)),
          "a product is stored as f32 or as ", dtype_name(exec.compute), ", found ", dtype_name(c.dtype));
  for (int i = 0; i < g.count; ++i) {
    const Product& p = g.products[i];
    const int64_t m = p.a.transposed ? p.a.view.cols : p.a.view.rows;
    const int64_t k = inner_size(p);
    const int64_t bk = p.b.transposed ? p.b.view.cols : p.b.view.rows;
    const int64_t n = p.b.transposed ? p.b.view.rows : p.b.view.cols;
    require(m == c.rows && n == c.cols && k == bk, "product of [", m, ", ", k, "] and [", bk, ", ", n,
            "] does not fit a result of [", c.rows, ", ", c.cols, "]");
    require(is_operand(p.a.view.dtype) && is_operand(p.b.view.dtype), "factors are f32, bf16 or f16, found ",
            dtype_name(p.a.view.dtype), " and ", dtype_name(p.b.view.dtype));
    require(p.a.transposed == g.products[0].a.transposed && p.b.transposed == g.products[0].b.transposed &&
                !(p.a.transposed && p.b.transposed),
            "the products of one sum lie the same way, and not both factors are transposed");
    require(k < int64_t{1} << 31, "a sum runs over less than 2^31 products, found ", k);
  }
}

namespace {

// Our own kernels, those on warpgroups where they are wanted (gemm_hopper.h); the factors are staged.
void own_gemm(Exec& exec, const Gemm& g) {
  if (for_warpgroups(exec, g)) return warpgroup_gemm(exec, g);
  const View& c = g.c ? g.c : g.rounded;
  const int64_t m = c.rows, n = c.cols;
  const Layout layout = layout_of(g);
  const TileKernel kernel = choose_kernel(exec, layout, m, n);
  ArenaScope scope(*exec.arena);

  TileGemm t{};
  static_cast<TileResult&>(t) = tile_result(g);
  for (int i = 0; i < g.count; ++i) {
    const Product& p = g.products[i];
    const View &a = p.a.view, &b = p.b.view;
    if (inner_size(p) == 0) continue;
    t.products[t.count++] =
        TileProduct{a.data,  b.data,  a.ld,    b.ld,           static_cast<int>(inner_size(p)),
                    p.scale, a.dtype, b.dtype, p.a.transposed, p.b.transposed};
    t.steps += static_cast<int>(parts_of(inner_size(p), kernel.step));
  }
  t.tiles_m = static_cast<int>(parts_of(m, kernel.tile_m));
  t.tiles_n = static_cast<int>(parts_of(n, kernel.tile_n));
  const int64_t tiles = static_cast<int64_t>(t.tiles_m) * t.tiles_n;
  require(tiles < int64_t{1} << 31, "a product of ", tiles, " tiles is too large for one launch");
  const bool one = t.count == 1 && g.bias == nullptr && !g.rounded;
  t.split_steps = one ? steps_of_a_part(layout, tiles, t.steps, kernel.step) : std::max(t.steps, 1);
  const int parts = t.parts();
  if (parts > 1) t.partial = exec.arena->floats(parts * m * n, MemoryKind::Workspace);
  launch(exec, "gemm", kernel.run, Grid{static_cast<int>(tiles), 1, parts}, kernel.threads,
         static_cast<size_t>(kernel.shared_bytes), t);
  if (parts > 1) add_parts(exec, t.partial, parts, g.c, g.accumulate);
}

// Whether the library makes the first product: large ones, by the sizes that are weights' (a row's bits must
// not depend on how many rows there are).
bool for_library(const Exec& exec, const Gemm& g) {
  const bool both = g.c && g.rounded;  // two results take our kernel
  if (exec.compute == DType::F32 || g.count == 0 || both || !has_gemm_library(exec)) return false;
  const View& c = g.c ? g.c : g.rounded;
  const Product& p = g.products[0];
  const int64_t k = inner_size(p);
  const bool sums_rows = layout_of(g) == Layout::TN;
  const int64_t fixed = sums_rows ? c.rows : k;
  // A narrow result is worth it where its rows alone fill the GPU; where K is outermost it is ours, in parts.
  const int64_t narrowest = sums_rows ? 512 : 64;
  return fixed >= 512 && c.cols >= narrowest && fixed % 8 == 0 && k % 8 == 0 && c.cols % 8 == 0 &&
         gpu::aligned16(c.data, c.ld, dtype_size(c.dtype));
}

DenseProduct dense_product(const Exec& exec, const Gemm& g) {
  const Product& p = g.products[0];
  const View& c = g.c ? g.c : g.rounded;
  return DenseProduct{
      layout_of(g), exec.compute,  c.dtype,     c.rows, c.cols, inner_size(p), p.a.view.data,
      p.a.view.ld,  p.b.view.data, p.b.view.ld, c.data, c.ld,   g.accumulate,  g.c ? 1.0f : g.rounded_scale};
}

}  // namespace

void gemm(Exec& exec, const Gemm& g) {
  check_gemm(exec, g);
  const View& c = g.c ? g.c : g.rounded;
  if (c.rows == 0 || c.cols == 0) return;
  ArenaScope scope(*exec.arena);
  Product staged[kMaxProducts];
  Stage stage;
  for (int i = 0; i < g.count; ++i) {
    const Product& p = g.products[i];
    // The f32 kernel scales as it reads.
    staged[i].a = stage.add(exec, p.a, exec.compute == DType::F32 ? 1.0f : p.scale);
    staged[i].b = stage.add(exec, p.b);
    staged[i].scale = p.scale;
  }
  stage.run(exec);
  Gemm own = g;
  own.products = staged;
  if (for_library(exec, own)) {
    DenseProduct dense = dense_product(exec, own);
    if (own.count == 1 && own.exact_bias != nullptr && own.c.dtype == exec.compute) {
      dense.bias = own.exact_bias;
      if (library_gemm(exec, dense, Refusal::Tolerated)) return;
      dense.bias = nullptr;
    }
    if (!library_gemm(exec, dense, Refusal::Counted)) return own_gemm(exec, own);
    // Further products and a bias are ours: one pass over C, which is rounded once more.
    if (own.count == 1 && own.bias == nullptr) return;
    ++own.products;
    --own.count;
    own.accumulate = true;
  }
  own_gemm(exec, own);
}

}  // namespace cuda
}  // namespace fintune
