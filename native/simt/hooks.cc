// The functions that code compiled with -fsanitize=thread calls around its memory accesses. Kernels are
// compiled so and linked without the sanitizer's library: what it would do is done here, by the detector.
// Host code that is compiled along with kernels calls them too and passes at once.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "simt/detector.h"

using fintune::simt::Detector;

namespace {

constexpr auto kRead = Detector::Access::Read;
constexpr auto kWrite = Detector::Access::Write;

inline __attribute__((always_inline)) void check(Detector::Access kind, const void* p, size_t bytes,
                                                 size_t alignment, const void* site) {
  const fintune::simt::Fiber* f = fintune::simt::current_fiber;
  if (f != nullptr) {
    fintune::simt::current_executor->detector().access(*f, kind, p, bytes, alignment, site);
  }
}

}  // namespace

#define SITE __builtin_return_address(0)
#define ACCESSES(bytes)                                                                \
  void __tsan_read##bytes(void* p) { check(kRead, p, bytes, bytes, SITE); }            \
  void __tsan_write##bytes(void* p) { check(kWrite, p, bytes, bytes, SITE); }          \
  void __tsan_volatile_read##bytes(void* p) { check(kRead, p, bytes, bytes, SITE); }   \
  void __tsan_volatile_write##bytes(void* p) { check(kWrite, p, bytes, bytes, SITE); } \
  void __tsan_read_write##bytes(void* p) {                                             \
    check(kRead, p, bytes, bytes, SITE);                                               \
    check(kWrite, p, bytes, bytes, SITE);                                              \
  }
#define UNALIGNED(bytes)                                                                     \
  void __tsan_unaligned_read##bytes(void* p) { check(kRead, p, bytes, 0, SITE); }            \
  void __tsan_unaligned_write##bytes(void* p) { check(kWrite, p, bytes, 0, SITE); }          \
  void __tsan_unaligned_volatile_read##bytes(void* p) { check(kRead, p, bytes, 0, SITE); }   \
  void __tsan_unaligned_volatile_write##bytes(void* p) { check(kWrite, p, bytes, 0, SITE); } \
  void __tsan_unaligned_read_write##bytes(void* p) {                                         \
    check(kRead, p, bytes, 0, SITE);                                                         \
    check(kWrite, p, bytes, 0, SITE);                                                        \
  }

// Kernels have no atomics. Host code beside them may (a static variable's guard, a shared pointer), and gets
// what it asks for, in the strictest order.
#define ATOMICS(bits, T)                                                                                  \
  T __tsan_atomic##bits##_load(const volatile T* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); } \
  void __tsan_atomic##bits##_store(volatile T* p, T v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_exchange(volatile T* p, T v, int) {                                             \
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                       \
  T __tsan_atomic##bits##_fetch_add(volatile T* p, T v, int) {                                            \
    return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                                    \
  }                                                                                                       \
  T __tsan_atomic##bits##_fetch_sub(volatile T* p, T v, int) {                                            \
    return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);                                                    \
  }                                                                                                       \
  T __tsan_atomic##bits##_fetch_and(volatile T* p, T v, int) {                                            \
    return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST);                                                    \
  }                                                                                                       \
  T __tsan_atomic##bits##_fetch_or(volatile T* p, T v, int) {                                             \
    return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST);                                                     \
  }                                                                                                       \
  T __tsan_atomic##bits##_fetch_xor(volatile T* p, T v, int) {                                            \
    return __atomic_fetch_xor(p, v, __ATOMIC_SEQ_CST);                                                    \
  }                                                                                                       \
  T __tsan_atomic##bits##_fetch_nand(volatile T* p, T v, int) {                                           \
    return __atomic_fetch_nand(p, v, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                       \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile T* p, T* expected, T v, int, int) {          \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
  }                                                                                                       \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile T* p, T* expected, T v, int, int) {            \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
  }                                                                                                       \
  T __tsan_atomic##bits##_compare_exchange_val(volatile T* p, T expected, T v, int, int) {                \
    __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);              \
    return expected;                                                                                      \
  }

#pragma GCC visibility push(hidden)
extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)
UNALIGNED(2)
UNALIGNED(4)
UNALIGNED(8)
UNALIGNED(16)

void __tsan_read_range(void* p, size_t bytes) { check(kRead, p, bytes, 0, SITE); }
void __tsan_write_range(void* p, size_t bytes) { check(kWrite, p, bytes, 0, SITE); }

void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  check(kRead, from, bytes, 0, SITE);
  check(kWrite, to, bytes, 0, SITE);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
  check(kRead, from, bytes, 0, SITE);
  check(kWrite, to, bytes, 0, SITE);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int byte, size_t bytes) {
  check(kWrite, to, bytes, 0, SITE);
  return std::memset(to, byte, bytes);
}

ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

}  // extern "C"
#pragma GCC visibility pop
