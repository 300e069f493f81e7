// Attention of single queries against their caches, see AttentionDecode in ops/attention.h.
//
// The keys of a row are cut into spans of kSpan, span s belongs to way s % kWays; a block goes through one
// way of one row and key head, and a second kernel adds up the ways of rows that have more than one span.
// Which key is added to which follows from the row's own length alone. Lengths are read on the device only,
// so the launch does not depend on them.
//
// Tensor cores take the heads of a group as the 16 rows of a product: each warp reads 16 keys and values at a
// time straight into fragments. Sums over columns and over keys may be in any order that both operands share,
// so each lane takes 8 neighbouring columns: 16 bytes.
#include <limits>

#include "cuda/attention_tile.cuh"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/values.cuh"

namespace fintune {
namespace cuda {
namespace attention {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kSpan = 256, kWays = 16;
constexpr int kHeads = 16;  // of a group that a block takes
constexpr float kLn2 = 0.6931471805599453f;

// What a way leaves: its largest score, the sum of exp(score - top), and the same sum of the values.
struct WayStats {
  float top, sum;
};

struct Decode {
  Heads q, y;
  const void* keys;
  const void* values;
  const int32_t* page_table;  // [T, max_pages]
  const int32_t* lengths;
  int64_t max_pages;
  int32_t page_shift, page_mask;  // a page holds 1 << page_shift tokens
  int32_t pages;                  // of the pool
  uint32_t kv_stride;
  int32_t heads, group, dim;
  float scale;
  DType dtype, kv_dtype;
  bool wide;        // q and the caches may be read in 16 bytes
  WayStats* stats;  // [T, H, kWays]
  float* sums;      // [T, H, kWays, K]
};

GPU_FN int64_t way_place(const Decode& op, int64_t row, int head, int way) {
  return (row * op.heads + head) * kWays + way;
}

// The tokens of one row's sequence. A page beyond the pool would be the caller's fault; it reads the last
// one.
struct Pages {
  const int32_t* table;
  int32_t shift, mask, last;
  GPU_FN explicit Pages(const Decode& op, int64_t row)
      : table(op.page_table + row * op.max_pages),
        shift(op.page_shift),
        mask(op.page_mask),
        last(op.pages - 1) {}
  // The row of the pool where token `index` lies. Its neighbours follow it up to the end of the page.
  GPU_FN uint64_t at(int index) const {
    const int page = gpu::min(gpu::max(table[index >> shift], 0), last);
    return (static_cast<uint64_t>(static_cast<uint32_t>(page)) << shift) +
           static_cast<uint64_t>(static_cast<uint32_t>(index & mask));
  }
};

GPU_FN int length_of(const Decode& op, int64_t row) {
  return gpu::min(op.lengths[row], static_cast<int32_t>(op.max_pages << op.page_shift));
}

// Eight neighbours of a row of `dim` elements of 16 bits, zeros beyond.
template <class T>
GPU_FN gpu::Vec16 load_chunk(const T* row, int column, int dim, bool wide, bool valid) {
  gpu::Vec16 chunk{};
  if (wide) {
    if (valid && column < dim) chunk = gpu::load16(row + column);
  } else if (valid) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t bits = column + i < dim ? row[column + i].bits : 0u;
      chunk.w[i / 2] |= bits << (i % 2 * 16);
    }
  }
  return chunk;
}

// Running softmax of the 16 heads over a warp's keys. Of lane l, with g = l / 4 and t = l % 4: rows g and g +
// 8; out[8 b + j] holds columns 64 b + 8 n + j as the product's columns n.
template <class T, int kFamily, int kDim>
struct DecodeWarp {
  float out[kDim / 8][4];
  float top[2], sum[2];  // top times c; this lane's share of the sum

  GPU_FN void clear() {
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[n][i] = 0.0f;
    }
    top[0] = top[1] = -kInfinity;
    sum[0] = sum[1] = 0.0f;
  }

  // Keys first .. first + 15 of `length`, which lie on one page; keys and values are the first one's.
  GPU_FN void add(const Decode& op, const T* keys, const T* values, const uint32_t (&q)[kDim / 16][4],
                  int first, int length, float c) {
    const int g = gpu::lane() / 4, t = gpu::lane() % 4;
    gpu::Vec16 k[2][kDim / 32], v[4][kDim / 64];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int key = first + 8 * n + g;
#pragma unroll
      for (int b = 0; b < kDim / 32; ++b) {
        k[n][b] = load_chunk(keys + static_cast<uint64_t>(static_cast<uint32_t>(key - first)) * op.kv_stride,
                             32 * b + 8 * t, op.dim, op.wide, key < length);
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first + 8 * (i / 2) + 2 * t + i % 2;
#pragma unroll
      for (int b = 0; b < kDim / 64; ++b) {
        v[i][b] =
            load_chunk(values + static_cast<uint64_t>(static_cast<uint32_t>(key - first)) * op.kv_stride,
                       64 * b + 8 * g, op.dim, op.wide, key < length);
      }
    }
    float s[2][4];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) s[n][i] = 0.0f;
#pragma unroll
      for (int b = 0; b < kDim / 32; ++b) {
        multiply_add<T, kFamily>(s[n], q[2 * b], k[n][b].w[0], k[n][b].w[1]);
        multiply_add<T, kFamily>(s[n], q[2 * b + 1], k[n][b].w[2], k[n][b].w[3]);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        s[n][i] *= c;
        if (first + 8 * n + 2 * t + i % 2 >= length) s[n][i] = -kInfinity;
      }
    }
    soften(s);
    // s is the left operand as it lies; the right one pairs values of neighbouring keys.
    uint32_t a[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = gpu::pack2<T>(s[i / 2][2 * (i % 2)], s[i / 2][2 * (i % 2) + 1]);
#pragma unroll
    for (int b = 0; b < kDim / 64; ++b) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        uint32_t pair[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const uint32_t low = v[2 * h][b].w[j / 2], high = v[2 * h + 1][b].w[j / 2];
          pair[h] = j % 2 == 0 ? (low & 0xFFFFu) | high << 16 : low >> 16 | (high & 0xFFFF0000u);
        }
        multiply_add<T, kFamily>(out[8 * b + j], a, pair[0], pair[1]);
      }
    }
  }

  // Scores, which are exponents of two, -> exp2(score - top) in place.
  GPU_FN void soften(float (&s)[2][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float now = top[half];
#pragma unroll
      for (int n = 0; n < 2; ++n) now = gpu::max(now, gpu::max(s[n][2 * half], s[n][2 * half + 1]));
      now = gpu::max(now, gpu::shuffle_xor(now, 1));
      now = gpu::max(now, gpu::shuffle_xor(now, 2));
      const float factor = gpu::exp2(top[half] - now);
      top[half] = now;
      sum[half] *= factor;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        out[n][2 * half] *= factor;
        out[n][2 * half + 1] *= factor;
      }
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          s[n][i] = gpu::exp2(s[n][i] - now);
          sum[half] += s[n][i];
        }
      }
    }
  }
};

// The sums of a head's row in shared memory go in chunks of four columns, in an order in which eight lanes
// that write chunks of a fragment meet no bank twice, nor 32 lanes that read words side by side.
GPU_FN int chunk_place(int head, int chunk) { return chunk ^ (chunk >> 3 & 1) ^ (head & 1) << 1; }

// One way's result for a head: y itself where the row has a single span.
GPU_FN void store_column(const Decode& op, int64_t row, int head, int way, int column, bool single,
                         float total, float sum) {
  if (single) {
    store_value(op.y.data, row * op.y.ld + head * op.dim + column, op.dtype, total * (1.0f / sum));
  } else {
    op.sums[way_place(op, row, head, way) * op.dim + column] = total;
  }
}

template <class T, int kFamily, int kDim>
GPU_KERNEL(kThreads, 2)
void decode_kernel(Decode op) {
  if constexpr (!kCompiled<kFamily>) {
    gpu::trap();
  } else {
    const int kv_heads = op.heads / op.group, parts = (op.group + kHeads - 1) / kHeads;
    const int part = gpu::block_x() % parts, kv_head = gpu::block_x() / parts % kv_heads;
    const int64_t row = gpu::block_x() / (parts * kv_heads);
    const int way = gpu::block_y();
    const int length = length_of(op, row), spans = (length + kSpan - 1) / kSpan;
    if (way >= spans) return;
    const int first_head = kv_head * op.group + part * kHeads;
    const int heads = gpu::min(kHeads, op.group - part * kHeads);

    const int g = gpu::lane() / 4, t = gpu::lane() % 4;
    uint32_t q[kDim / 16][4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int head = g + 8 * half;
      const T* query = static_cast<const T*>(op.q.data) + row * op.q.ld + (first_head + head) * op.dim;
#pragma unroll
      for (int b = 0; b < kDim / 32; ++b) {
        const gpu::Vec16 chunk = load_chunk(query, 32 * b + 8 * t, op.dim, op.wide, head < heads);
#pragma unroll
        for (int i = 0; i < 4; ++i) q[2 * b + i / 2][2 * (i % 2) + half] = chunk.w[i];
      }
    }
    const T* keys = static_cast<const T*>(op.keys) + kv_head * op.dim;
    const T* values = static_cast<const T*>(op.values) + kv_head * op.dim;
    const Pages pages(op, row);
    DecodeWarp<T, kFamily, kDim> own;
    own.clear();
#pragma unroll 1
    for (int span = way; span < spans; span += kWays) {
      const int last = gpu::min(length, (span + 1) * kSpan);
#pragma unroll 1
      for (int first = span * kSpan + 16 * gpu::warp(); first < last; first += 16 * kWarps) {
        const uint64_t place = pages.at(first) * op.kv_stride;
        own.add(op, keys + place, values + place, q, first, length, op.scale * kLog2E);
      }
    }

    // The warps add up, in their order: [warp, head] of stats, then [warp, head, column] of sums.
    WayStats* const stats = gpu::shared<WayStats>();
    float* const sums = reinterpret_cast<float*>(stats + kWarps * kHeads);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int head = g + 8 * half;
      float sum = own.sum[half];
      sum += gpu::shuffle_xor(sum, 1);
      sum += gpu::shuffle_xor(sum, 2);
      if (head < heads) {
        if (t == 0) stats[gpu::warp() * kHeads + head] = WayStats{own.top[half], sum};
        float* const to = sums + (gpu::warp() * heads + head) * kDim;
#pragma unroll
        for (int n = 0; n < kDim / 8; n += 4) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const int chunk = n / 8 * 16 + 2 * (2 * t + i) + n % 8 / 4;
            gpu::Vec16 four;
#pragma unroll
            for (int e = 0; e < 4; ++e) four.w[e] = float_as_word(own.out[n + e][2 * half + i]);
            gpu::store16(to + 4 * GPU_SWIZZLE(chunk_place(head, chunk), chunk), four);
          }
        }
      }
    }
    GPU_BARRIER();
    for (int i = gpu::thread(); i < heads * kDim; i += kThreads) {
      const int head = i / kDim, column = i % kDim, chunk = column / 4;
      if (column >= op.dim) continue;
      const float* const from =
          sums + head * kDim + 4 * GPU_SWIZZLE(chunk_place(head, chunk), chunk) + column % 4;
      float top = -kInfinity, sum = 0.0f, total = 0.0f;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) top = gpu::max(top, stats[w * kHeads + head].top);
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const WayStats& of_warp = stats[w * kHeads + head];
        const float factor = gpu::exp2(of_warp.top - top);
        sum = gpu::fma(of_warp.sum, factor, sum);
        total = gpu::fma(from[w * heads * kDim], factor, total);
      }
      store_column(op, row, first_head + head, way, column, spans == 1, total, sum);
      if (spans > 1 && column == 0) {
        op.stats[way_place(op, row, first_head + head, way)] = WayStats{top * kLn2, sum};
      }
    }
  }
}

// The same by multiply-adds, of any types and width: a block takes one head.
GPU_KERNEL(kThreads, 4)
void plain_decode_kernel(Decode op) {
  const int head = gpu::block_x() % op.heads, kv_head = head / op.group;
  const int64_t row = gpu::block_x() / op.heads;
  const int way = gpu::block_y();
  const int length = length_of(op, row), spans = (length + kSpan - 1) / kSpan;
  if (way >= spans) return;
  float* const scores = gpu::shared<float>();
  float* const query = scores + kSpan;
  float* const out = query + op.dim;
  const void* keys = at_byte(op.keys, kv_head * op.dim, op.kv_dtype);
  const void* values = at_byte(op.values, kv_head * op.dim, op.kv_dtype);
  const Pages pages(op, row);
  for (int c = gpu::thread(); c < op.dim; c += kThreads) {
    query[c] = load_value(op.q.data, row * op.q.ld + head * op.dim + c, op.dtype);
    out[c] = 0.0f;
  }
  float top = -kInfinity, sum = 0.0f;
  for (int span = way; span < spans; span += kWays) {
    const int first = span * kSpan, n = gpu::min(kSpan, length - first);
    GPU_BARRIER();  // the query lies there; the scores before are used up
    for (int j = gpu::warp(); j < n; j += kWarps) {
      const void* key = at_byte(keys, static_cast<int64_t>(pages.at(first + j) * op.kv_stride), op.kv_dtype);
      float dot = 0.0f;
      for (int c = gpu::lane(); c < op.dim; c += 32) {
        dot = gpu::fma(query[c], load_value(key, c, op.kv_dtype), dot);
      }
      dot = gpu::warp_sum(dot) * op.scale;
      if (gpu::lane() == 0) scores[j] = dot;
    }
    GPU_BARRIER();
    float now = top, share = 0.0f;
    for (int j = gpu::lane(); j < n; j += 32) now = gpu::max(now, scores[j]);
    now = gpu::warp_max(now);
    for (int j = gpu::lane(); j < n; j += 32) share += gpu::exp(scores[j] - now);
    const float factor = gpu::exp(top - now);
    sum = gpu::fma(sum, factor, gpu::warp_sum(share));
    top = now;
    for (int c = gpu::thread(); c < op.dim; c += kThreads) {
      float total = out[c] * factor;
      for (int j = 0; j < n; ++j) {
        const int64_t at = static_cast<int64_t>(pages.at(first + j) * op.kv_stride) + c;
        total = gpu::fma(gpu::exp(scores[j] - now), load_value(values, at, op.kv_dtype), total);
      }
      out[c] = total;
    }
  }
  for (int c = gpu::thread(); c < op.dim; c += kThreads) {
    store_column(op, row, head, way, c, spans == 1, out[c], sum);
  }
  if (spans > 1 && gpu::thread() == 0) op.stats[way_place(op, row, head, way)] = WayStats{top, sum};
}

// A warp a row and head.
GPU_KERNEL(kThreads, 8)
void merge_kernel(Decode op, int64_t rows) {
  const int64_t item = static_cast<int64_t>(gpu::block_x()) * kWarps + gpu::warp();
  const int64_t row = item / op.heads;
  const int head = static_cast<int>(item % op.heads);
  if (row >= rows) return;
  const int spans = (length_of(op, row) + kSpan - 1) / kSpan, ways = gpu::min(spans, kWays);
  if (spans <= 1) return;
  const WayStats* stats = op.stats + way_place(op, row, head, 0);
  float top = -kInfinity, sum = 0.0f;
  for (int w = 0; w < ways; ++w) top = gpu::max(top, stats[w].top);
  for (int w = 0; w < ways; ++w) sum = gpu::fma(stats[w].sum, gpu::exp(stats[w].top - top), sum);
  for (int c = gpu::lane(); c < op.dim; c += 32) {
    float total = 0.0f;
    for (int w = 0; w < ways; ++w) {
      const float part = op.sums[way_place(op, row, head, w) * op.dim + c];
      total = gpu::fma(part, gpu::exp(stats[w].top - top), total);
    }
    store_value(op.y.data, row * op.y.ld + head * op.dim + c, op.dtype, total * (1.0f / sum));
  }
}

template <class T, int kFamily, int kDim>
void launch_decode(Exec& exec, const Decode& op, int64_t rows) {
  const int64_t parts = (op.group + kHeads - 1) / kHeads, heads = op.group < kHeads ? op.group : kHeads;
  const size_t shared =
      kWarps * (kHeads * sizeof(WayStats) + static_cast<size_t>(heads) * kDim * sizeof(float));
  launch(exec, "attention_decode", decode_kernel<T, kFamily, kDim>,
         Grid{static_cast<int>(rows * (op.heads / op.group) * parts), kWays, 1}, kThreads, shared, op);
}

template <class T>
void launch_decode(Exec& exec, const Decode& op, int64_t rows) {
  const auto with_width = [&](auto family) {
    if (op.dim <= 64) {
      launch_decode<T, family.value, 64>(exec, op, rows);
    } else {
      launch_decode<T, family.value, 128>(exec, op, rows);
    }
  };
  const int family = tile_family(capability(exec));
  if (family == 80) {
    with_width(std::integral_constant<int, 80>());
  } else if (family == 86) {
    with_width(std::integral_constant<int, 86>());
  } else if constexpr (std::is_same_v<T, f16>) {
    with_width(std::integral_constant<int, 75>());
  }
}

}  // namespace
}  // namespace attention

void attention_decode(Exec& exec, const AttentionDecode& op) {
  using namespace attention;
  check_decode(op);
  require(op.head_dim <= kWidestHead, "attention_decode: head_dim of at most ", kWidestHead,
          " on this device, found ", op.head_dim);
  check_view(op.q, op.q.rows, op.heads * op.head_dim, op.q.dtype, "attention_decode.q");
  check_view(op.y, op.q.rows, op.q.cols, op.q.dtype, "attention_decode.y");
  require(op.q.dtype != DType::I32 && op.keys.dtype != DType::I32,
          "attention_decode: queries and caches are f32, bf16 or f16");
  require(op.keys.ld <= kLargestStride && op.keys.rows <= std::numeric_limits<int32_t>::max(),
          "attention_decode: a pool of ", op.keys.rows, " rows with a leading dimension of ", op.keys.ld,
          " is too large");
  const ArenaScope scope(*exec.arena);
  const int64_t rows = op.q.rows;
  Decode decode{};
  decode.q = heads_of(op.q);
  decode.y = heads_of(op.y);
  decode.wide = op.head_dim % 8 == 0 && gpu::aligned16(op.q.data, op.q.ld, 2) &&
                gpu::aligned16(op.keys.data, op.keys.ld, 2) && gpu::aligned16(op.values.data, op.keys.ld, 2);
  decode.keys = op.keys.data;
  decode.values = op.values.data;
  decode.page_table = op.page_table;
  decode.max_pages = op.max_pages;
  decode.page_mask = static_cast<int32_t>(op.page_tokens - 1);
  while (int64_t{1} << decode.page_shift < op.page_tokens) ++decode.page_shift;
  decode.pages = static_cast<int32_t>(op.keys.rows / op.page_tokens);
  decode.lengths = op.lengths;
  decode.kv_stride = static_cast<uint32_t>(op.keys.ld);
  decode.heads = static_cast<int32_t>(op.heads);
  decode.group = static_cast<int32_t>(op.heads / op.kv_heads);
  decode.dim = static_cast<int32_t>(op.head_dim);
  decode.scale = op.scale;
  decode.dtype = op.q.dtype;
  decode.kv_dtype = op.keys.dtype;
  const int64_t ways = rows * op.heads * kWays;
  decode.stats = static_cast<WayStats*>(
      exec.arena->alloc(static_cast<size_t>(ways) * sizeof(WayStats), MemoryKind::Workspace));
  decode.sums = exec.arena->floats(ways * op.head_dim, MemoryKind::Workspace);
  if (op.keys.dtype == op.q.dtype && on_tensor_cores(exec, op.q.dtype, op.head_dim)) {
    if (op.q.dtype == DType::BF16) {
      launch_decode<bf16>(exec, decode, rows);
    } else {
      launch_decode<f16>(exec, decode, rows);
    }
  } else {
    launch(exec, "attention_plain_decode", plain_decode_kernel,
           Grid{static_cast<int>(rows * op.heads), kWays, 1}, kThreads,
           sizeof(float) * static_cast<size_t>(kSpan + 2 * op.head_dim), decode);
  }
  launch(exec, "attention_merge", merge_kernel,
         Grid{static_cast<int>((rows * op.heads + kWarps - 1) / kWarps), 1, 1}, kThreads, 0, decode, rows);
}

}  // namespace cuda
}  // namespace fintune
