// Single kernels of the CPU backend in a process of its own, so that a build for another processor can be
// compared, under an emulator, with the addon of this one:
//   kernels OP SIZE... < inputs > outputs          both f32, one array behind the other
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "cpu/dispatch.h"
#include "ops/table.h"

namespace fintune {
namespace {

// Arrays that are read from stdin, or written to stdout.
class Arrays {
 public:
  View in(int64_t rows, int64_t cols) {
    const View v = make(rows, cols, DType::F32);
    read(v.f32(), v.count());
    return v;
  }
  // The same, rounded to bf16.
  View in_bf16(int64_t rows, int64_t cols) {
    const View v = make(rows, cols, DType::BF16), wide = in(rows, cols);
    for (int64_t i = 0; i < v.count(); ++i) v.as<bf16>()[i] = to_bf16(wide.f32()[i]);
    return v;
  }
  std::vector<int32_t> in_ints(int64_t n) {
    const View v = in(1, n);
    return std::vector<int32_t>(v.f32(), v.f32() + n);
  }
  View out(int64_t rows, int64_t cols) {
    outputs_.push_back(make(rows, cols, DType::F32));
    return outputs_.back();
  }
  void write() const {
    for (const View& v : outputs_) {
      if (std::fwrite(v.data, 1, v.bytes(), stdout) != v.bytes()) fail(ErrorCode::Io, "cannot write");
    }
  }

 private:
  View make(int64_t rows, int64_t cols, DType dtype) {
    memory_.emplace_back(new char[static_cast<size_t>(rows * cols) * 4]());
    return View(memory_.back().get(), dtype, rows, cols);
  }
  void read(float* to, int64_t n) {
    const size_t count = static_cast<size_t>(n);
    if (std::fread(to, 4, count, stdin) != count) fail(ErrorCode::Io, "expected ", n, " more values");
  }

  std::vector<std::unique_ptr<char[]>> memory_;
  std::vector<View> outputs_;
};

// As the addon does it: once dry for the size of the workspace, then for real.
template <typename Op>
void run(void (*op)(Exec&, const Op&), const Op& arguments, bool rowwise = false) {
  ThreadPool threads(2);
  Exec exec;
  exec.threads = &threads;
  exec.rowwise = rowwise;
  Arena measure, arena;
  measure.measure();
  exec.arena = &measure;
  exec.dry = true;
  op(exec, arguments);
  arena.reserve(measure.peak());
  exec.arena = &arena;
  exec.dry = false;
  op(exec, arguments);
}

using Sizes = std::vector<int64_t>;

void linear(const Sizes& n, Arrays& arrays) {
  const int64_t rows = n.at(0), in = n.at(1), out = n.at(2), r = n.at(3);
  LinearForward f;
  f.x = arrays.in(rows, in);
  f.weight = n.at(5) ? arrays.in_bf16(out, in) : arrays.in(out, in);
  LoraPair pair;
  pair.a = arrays.in(r, in);
  pair.b = arrays.in(out, r);
  pair.scale = 2;
  const View dy = arrays.in(rows, out);
  f.adapters = &pair;
  f.adapter_count = 1;
  f.y = arrays.out(rows, out);
  f.u = arrays.out(rows, r);
  run(cpu_table().linear_forward, f, n.at(4) != 0);
  LinearBackward b;
  b.dy = dy;
  b.x = f.x;
  b.weight = f.weight;
  b.adapters = &pair;
  b.adapter_count = 1;
  b.u = f.u;
  b.dx = arrays.out(rows, in);
  b.da = arrays.out(r, in);
  b.db = arrays.out(out, r);
  run(cpu_table().linear_backward, b);
}

void rmsnorm(const Sizes& n, Arrays& arrays) {
  RmsNormForward f{};
  f.x = arrays.in(n.at(0), n.at(1));
  f.weight = arrays.in(1, n.at(1)).f32();
  f.eps = 1e-5f;
  f.y = arrays.out(n.at(0), n.at(1));
  f.rstd = arrays.out(1, n.at(0)).f32();
  run(cpu_table().rmsnorm_forward, f);
}

void swiglu(const Sizes& n, Arrays& arrays) {
  SwigluForward f;
  f.gate = arrays.in(n.at(0), n.at(1));
  f.up = arrays.in(n.at(0), n.at(1));
  f.h = arrays.out(n.at(0), n.at(1));
  run(cpu_table().swiglu_forward, f);
}

void attention(const Sizes& n, Arrays& arrays) {
  const int64_t rows = n.at(0), heads = n.at(1), kv_heads = n.at(2), dim = n.at(3), sequences = n.at(4);
  const std::vector<int32_t> starts = arrays.in_ints(sequences + 1);
  AttentionForward f{};
  f.q = arrays.in(rows, heads * dim);
  f.k = arrays.in(rows, kv_heads * dim);
  f.v = arrays.in(rows, kv_heads * dim);
  f.cu_seqlens = starts.data();
  f.sequences = sequences;
  f.heads = heads;
  f.kv_heads = kv_heads;
  f.head_dim = dim;
  f.scale = 0.25f;
  f.y = arrays.out(rows, heads * dim);
  f.lse = arrays.out(rows, heads).f32();
  run(cpu_table().attention_forward, f);
}

void logprob(const Sizes& n, Arrays& arrays) {
  const int64_t rows = n.at(0), width = n.at(1), vocab = n.at(2);
  LinearLogprob f{};
  f.hidden = arrays.in(rows, width);
  f.weight = arrays.in(vocab, width);
  const std::vector<int32_t> targets = arrays.in_ints(rows);
  f.targets = targets.data();
  f.weights = arrays.in(1, rows).f32();
  f.logprob = arrays.out(1, rows).f32();
  f.dhidden = arrays.out(rows, width);
  run(cpu_table().linear_logprob, f);
}

int main_or_throw(int argc, char** argv) {
  const std::map<std::string, void (*)(const Sizes&, Arrays&)> ops = {
      {"linear", linear},       {"rmsnorm", rmsnorm}, {"swiglu", swiglu},
      {"attention", attention}, {"logprob", logprob},
  };
  Sizes sizes;
  for (int i = 2; i < argc; ++i) sizes.push_back(std::atoll(argv[i]));
  Arrays arrays;
  ops.at(argc > 1 ? argv[1] : "")(sizes, arrays);
  arrays.write();
  return 0;
}

}  // namespace
}  // namespace fintune

int main(int argc, char** argv) {
  try {
    return fintune::main_or_throw(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
