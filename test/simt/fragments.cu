// The layouts of ldmatrix and mma, each against the formulas of the PTX ISA, apart from each other: two
// consistent errors would cancel in a product that uses both.
#include "selftest.h"

namespace selftest {
namespace {

// Matrix j of 8 x 8 has the element 64 j + 8 r + c at (r, c); its row r lies 16 (8 j + r) bytes on, spread
// out so that the addresses of lanes matter.
struct Loaded {
  uint32_t x4[32][4], x4_trans[32][4], x2[32][2], x2_trans[32][2];
};

GPU_FN int spread(int row) { return (row * 5) % 32; }

GPU_KERNEL(32, 1) void load_kernel(Loaded* out) {
  uint16_t* m = gpu::shared<uint16_t>();
  const int l = gpu::lane();
  for (int c = 0; c < 8; ++c) m[spread(l) * 8 + c] = static_cast<uint16_t>(8 * l + c);
  GPU_WARP_SYNC();
  const uint16_t* row = m + spread(l) * 8;
  uint32_t r4[4], r2[2];
  gpu::ldmatrix_x4(r4, row);
  for (int j = 0; j < 4; ++j) out->x4[l][j] = r4[j];
  gpu::ldmatrix_x4_trans(r4, row);
  for (int j = 0; j < 4; ++j) out->x4_trans[l][j] = r4[j];
  gpu::ldmatrix_x2(r2, row);
  for (int j = 0; j < 2; ++j) out->x2[l][j] = r2[j];
  gpu::ldmatrix_x2_trans(r2, row);
  for (int j = 0; j < 2; ++j) out->x2_trans[l][j] = r2[j];
}

CASE("ldmatrix gives lane l the elements M_j[l/4][2(l%4)+{0,1}], transposed M_j[2(l%4)+{0,1}][l/4]") {
  Memory<Loaded> out(1);
  launch(load_kernel, {}, 32, 512, out.get());
  const Loaded got = out.values()[0];
  for (int l = 0; l < 32; ++l) {
    for (int j = 0; j < 4; ++j) {
      const auto element = [&](int r, int c) { return static_cast<uint32_t>(64 * j + 8 * r + c); };
      const int r = l / 4, c = 2 * (l % 4);
      const uint32_t plain = element(r, c) | element(r, c + 1) << 16;
      const uint32_t transposed = element(c, r) | element(c + 1, r) << 16;
      expect(got.x4[l][j] == plain, "x4, lane ", l, ", register ", j);
      expect(got.x4_trans[l][j] == transposed, "x4 trans, lane ", l, ", register ", j);
      if (j < 2) expect(got.x2[l][j] == plain, "x2, lane ", l, ", register ", j);
      if (j < 2) expect(got.x2_trans[l][j] == transposed, "x2 trans, lane ", l, ", register ", j);
    }
  }
}

// A product whose operands are put into fragments, and its result read out of them, by the formulas.
struct Product {
  float a[16][16], b[16][8], c[16][8], d[16][8];
};

template <class T>
GPU_FN uint32_t pair(float low, float high) {
  return static_cast<uint32_t>(from_float<T>(low).bits) | static_cast<uint32_t>(from_float<T>(high).bits)
                                                              << 16;
}

template <class T>
GPU_KERNEL(32, 1)
void product_k16_kernel(Product* p) {
  const int g = gpu::lane() >> 2, t = gpu::lane() & 3;
  float a[8], b[4], c[4];
  for (int i = 0; i < 8; ++i) {
    const int row = i == 0 || i == 1 || i == 4 || i == 5 ? g : g + 8;
    const int col = 2 * t + (i & 1) + (i < 4 ? 0 : 8);
    a[i] = p->a[row][col];
  }
  for (int i = 0; i < 4; ++i) b[i] = p->b[2 * t + (i & 1) + (i < 2 ? 0 : 8)][g];
  for (int i = 0; i < 4; ++i) c[i] = p->c[g + (i < 2 ? 0 : 8)][2 * t + (i & 1)];
  const uint32_t ra[4] = {pair<T>(a[0], a[1]), pair<T>(a[2], a[3]), pair<T>(a[4], a[5]), pair<T>(a[6], a[7])};
  const uint32_t rb[2] = {pair<T>(b[0], b[1]), pair<T>(b[2], b[3])};
  gpu::mma_m16n8k16<T>(c, ra, rb);
  for (int i = 0; i < 4; ++i) p->d[g + (i < 2 ? 0 : 8)][2 * t + (i & 1)] = c[i];
}

GPU_KERNEL(32, 1) void product_k8_kernel(Product* p) {
  const int g = gpu::lane() >> 2, t = gpu::lane() & 3;
  float a[4], b[2], c[4];
  for (int i = 0; i < 4; ++i) a[i] = p->a[i < 2 ? g : g + 8][2 * t + (i & 1)];
  for (int i = 0; i < 2; ++i) b[i] = p->b[2 * t + i][g];
  for (int i = 0; i < 4; ++i) c[i] = p->c[g + (i < 2 ? 0 : 8)][2 * t + (i & 1)];
  const uint32_t ra[2] = {pair<f16>(a[0], a[1]), pair<f16>(a[2], a[3])};
  const uint32_t rb[1] = {pair<f16>(b[0], b[1])};
  gpu::mma_m16n8k8(c, ra, rb);
  for (int i = 0; i < 4; ++i) p->d[g + (i < 2 ? 0 : 8)][2 * t + (i & 1)] = c[i];
}

void check_product(void (*kernel)(Product*), int depth) {
  Product p;
  unsigned state = 7;
  const auto draw = [&] {
    return static_cast<float>(static_cast<int>((state = state * 1664525u + 1013904223u) >> 27) - 16);
  };
  for (auto& row : p.a)
    for (float& x : row) x = draw();
  for (auto& row : p.b)
    for (float& x : row) x = draw();
  for (auto& row : p.c)
    for (float& x : row) x = draw();
  Memory<Product> memory(std::vector<Product>{p});
  launch(kernel, {}, 32, 0, memory.get());
  const Product got = memory.values()[0];
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      float sum = p.c[m][n];
      for (int k = 0; k < depth; ++k) sum += p.a[m][k] * p.b[k][n];
      expect(got.d[m][n] == sum, "row ", m, ", column ", n, ": ", got.d[m][n], ", expected ", sum);
    }
  }
}

CASE("mma m16n8k16 of bf16 multiplies fragments by the formulas, exactly on integers") {
  check_product(product_k16_kernel<bf16>, 16);
}
CASE("mma m16n8k16 of f16 multiplies fragments by the formulas, exactly on integers") {
  check_product(product_k16_kernel<f16>, 16);
}
CASE("mma m16n8k8 of f16 multiplies fragments by the formulas, exactly on integers") {
  check_product(product_k8_kernel, 8);
}

// Shuffles, votes and sums over a warp.
struct Exchanged {
  float by_xor[32], from[32], up[32], down[32], sum[32];
  double wide[32];
  int largest[32];
  uint32_t vote[32];
};

GPU_KERNEL(32, 1) void exchange_kernel(Exchanged* e) {
  const int l = gpu::lane();
  const float v = static_cast<float>(l * l);
  e->by_xor[l] = gpu::shuffle_xor(v, 5);
  e->from[l] = gpu::shuffle(v, (l * 7) % 32);
  e->up[l] = gpu::shuffle_up(v, 3);
  e->down[l] = gpu::shuffle_down(v, 4);
  e->wide[l] = gpu::shuffle_xor(1.0 / (1 + l), 1);
  e->sum[l] = gpu::warp_sum(v);
  e->largest[l] = gpu::warp_max((l * 11) % 32);
  e->vote[l] = gpu::ballot(l % 3 == 0);
}

CASE("shuffles, votes and warp sums") {
  for_schedules(5, [] {
    Memory<Exchanged> memory(1);
    launch(exchange_kernel, {}, 32, 0, memory.get());
    const Exchanged e = memory.values()[0];
    const auto v = [](int l) { return static_cast<float>(l * l); };
    uint32_t vote = 0;
    float sum = 0;
    for (int l = 0; l < 32; ++l) {
      vote |= static_cast<uint32_t>(l % 3 == 0) << l;
      sum += v(l);
    }
    for (int l = 0; l < 32; ++l) {
      expect(e.by_xor[l] == v(l ^ 5), "xor, lane ", l);
      expect(e.from[l] == v((l * 7) % 32), "from, lane ", l);
      expect(e.up[l] == (l < 3 ? v(l) : v(l - 3)), "up, lane ", l);
      expect(e.down[l] == (l >= 28 ? v(l) : v(l + 4)), "down, lane ", l);
      expect(e.wide[l] == 1.0 / (1 + (l ^ 1)), "double, lane ", l);
      expect(e.sum[l] == sum, "sum, lane ", l);
      expect(e.largest[l] == 31, "max, lane ", l);
      expect(e.vote[l] == vote, "ballot, lane ", l);
    }
  });
}

}  // namespace
}  // namespace selftest
