// Cases of the executor's self-test: each runs kernels on the device and checks what comes out, or that a
// fault is found. test/simt/executor.test.ts runs them one by one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "cuda/gpu.h"
#include "cuda/launch.h"
#include "simt/device.h"
#include "simt/sites.h"

namespace selftest {

using namespace fintune;

struct Case {
  const char* name;
  void (*run)();
};
std::vector<Case>& cases();

struct Register {
  Register(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

// CASE("what must hold") { ... }
#define SELFTEST_JOIN2(a, b) a##b
#define SELFTEST_JOIN(a, b) SELFTEST_JOIN2(a, b)
#define CASE(title) SELFTEST_CASE(title, __COUNTER__)
#define SELFTEST_CASE(title, n)                                                                  \
  static void SELFTEST_JOIN(case_, n)();                                                         \
  static const ::selftest::Register SELFTEST_JOIN(register_, n)(title, SELFTEST_JOIN(case_, n)); \
  static void SELFTEST_JOIN(case_, n)()

template <typename... Parts>
void expect(bool holds, const Parts&... parts) {
  if (!holds) fail(ErrorCode::Internal, "FAILED: ", parts...);
}

inline simt::SimtDevice& device() { return simt::simt_device(); }
inline simt::Executor& executor() { return device().executor(); }

// An array in the device's memory.
template <class T>
class Memory {
 public:
  explicit Memory(size_t n) : n_(n), p_(static_cast<T*>(device().allocate(n * sizeof(T)))) {}
  explicit Memory(const std::vector<T>& values) : Memory(values.size()) {
    device().upload(p_, values.data(), n_ * sizeof(T));
  }
  ~Memory() { device().release(p_, n_ * sizeof(T)); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  T* get() const { return p_; }
  std::vector<T> values() const {
    std::vector<T> v(n_);
    device().download(v.data(), p_, n_ * sizeof(T));
    return v;
  }

 private:
  size_t n_;
  T* p_;
};

template <class... P, class... A>
void launch(void (*kernel)(P...), cuda::Grid grid, int threads, size_t shared_bytes, A&&... arguments) {
  Exec exec;
  exec.device = &device();
  cuda::launch(exec, "kernel", kernel, grid, threads, shared_bytes, std::forward<A>(arguments)...);
}

// notes.cc: kernels tell the host what they do.
void note(int value);
std::vector<int> take_notes();

// Runs fn with `n` seeds in each mode of asynchronous copies.
void for_schedules(int n, const std::function<void()>& fn);

// fn must throw an error whose message has all the parts, with every schedule.
void expect_fault(const std::function<void()>& fn, const std::vector<std::string>& parts);

}  // namespace selftest
