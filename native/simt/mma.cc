// The fragment layouts of ldmatrix and mma (PTX ISA, "Matrix Fragments"). g = lane / 4, t = lane % 4.
#include <cstring>

#include "core/dtype.h"
#include "simt/executor.h"

namespace fintune {
namespace simt {
namespace {

uint16_t half_of(uint32_t word, int i) { return static_cast<uint16_t>(word >> (16 * i)); }

float value_of(uint16_t bits, Tile tile) {
  return tile == Tile::BF16K16 ? to_float(bf16{bits}) : to_float(f16{bits});
}

struct Operands {
  float a[16][16], b[16][8], c[16][8];
};

inline __attribute__((always_inline)) void multiply(Operands& o, int depth) {
  for (int m = 0; m < 16; ++m) {
    for (int k = 0; k < depth; ++k) {
      for (int n = 0; n < 8; ++n) o.c[m][n] = __builtin_fmaf(o.a[m][k], o.b[k][n], o.c[m][n]);
    }
  }
}

#ifdef __x86_64__
// The same bits, without a call for each product.
__attribute__((target("avx2,fma"))) void multiply_by_instruction(Operands& o, int depth) {
  multiply(o, depth);
}
#endif

}  // namespace

// c += a b, in f32, fused, in rising k. The hardware adds in other orders and cuts bits off, differently from
// one architecture to the next.
void multiply_accumulate(Fiber* lanes) {
  const Tile tile = static_cast<Tile>(lanes[0].request.kind);
  const int depth = tile == Tile::F16K8 ? 8 : 16;
  Operands o;
  for (int l = 0; l < kLanes; ++l) {
    const Request& r = lanes[l].request;
    const int g = l / 4, t = l % 4;
    for (int i = 0; i < depth / 2; ++i) {
      // Registers alternate between rows g and g + 8; each pair of registers is 8 columns on.
      const int row = g + ((i / 2) % 2 == 0 ? 0 : 8);
      const int col = 2 * t + i % 2 + i / 4 * 8;
      o.a[row][col] = value_of(half_of(r.a[i / 2], i % 2), tile);
    }
    for (int i = 0; i < depth / 4; ++i) {
      o.b[2 * t + i % 2 + i / 2 * 8][g] = value_of(half_of(r.b[i / 2], i % 2), tile);
    }
    for (int i = 0; i < 4; ++i) o.c[g + i / 2 * 8][2 * t + i % 2] = r.c[i];
  }
#ifdef __x86_64__
  static const bool fused = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  fused ? multiply_by_instruction(o, depth) : multiply(o, depth);
#else
  multiply(o, depth);
#endif
  for (int l = 0; l < kLanes; ++l) {
    const int g = l / 4, t = l % 4;
    for (int i = 0; i < 4; ++i) lanes[l].request.c[i] = o.c[g + i / 2 * 8][2 * t + i % 2];
  }
}

void load_matrices(Fiber* lanes) {
  const bool transposed = lanes[0].request.kind != 0;
  const int count = lanes[0].request.count;
  uint16_t matrix[4][8][8];
  for (int l = 0; l < 8 * count; ++l) std::memcpy(matrix[l / 8][l % 8], lanes[l].request.row, 16);
  for (int l = 0; l < kLanes; ++l) {
    for (int j = 0; j < count; ++j) {
      const int row = l / 4, pair = 2 * (l % 4);
      const uint32_t low = transposed ? matrix[j][pair][row] : matrix[j][row][pair];
      const uint32_t high = transposed ? matrix[j][pair + 1][row] : matrix[j][row][pair + 1];
      lanes[l].request.matrices[j] = low | high << 16;
    }
  }
}

}  // namespace simt
}  // namespace fintune
