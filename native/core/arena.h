// One block of memory handed out by bumping a pointer. The same code runs twice: first with a measuring
// arena, which hands out addresses that are never touched and records the peak by kind, then with a real one
// of exactly that size. So a memory plan is what the allocating code does, not an estimate.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/device.h"
#include "core/tensor.h"

namespace fintune {

enum class MemoryKind : uint8_t {
  Weights,
  Adapters,
  Gradients,
  Optimizer,
  Activations,
  Logits,
  Workspace,
  KvCache
};
constexpr int kMemoryKinds = 8;
const char* memory_kind_name(MemoryKind kind);

class Arena {
 public:
  static constexpr size_t kAlignment = 64;

  // What it reserves is memory of `device`, which must outlive it.
  explicit Arena(Device& device = host_device()) : device_(device) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Starts measuring: alloc returns addresses that must not be touched.
  void measure();
  // Takes `capacity` bytes from the device, in place of what it held. Throws OutOfMemory naming the bytes
  // asked for.
  void reserve(size_t capacity);
  bool measuring() const { return measuring_; }

  // 64-byte aligned, uninitialised. Throws OutOfMemory when a real arena is exhausted.
  void* alloc(size_t bytes, MemoryKind kind);
  View matrix(DType dtype, int64_t rows, int64_t cols, MemoryKind kind) {
    return View(alloc(static_cast<size_t>(rows * cols) * dtype_size(dtype), kind), dtype, rows, cols);
  }
  float* floats(int64_t n, MemoryKind kind) {
    return static_cast<float*>(alloc(static_cast<size_t>(n) * 4, kind));
  }

  // Stack discipline: release frees all that was allocated since the mark.
  struct Mark {
    size_t used;
    std::array<size_t, kMemoryKinds> by_kind;
  };
  Mark mark() const { return Mark{used_, by_kind_}; }
  void release(const Mark& mark);

  size_t used() const { return used_; }
  size_t peak() const { return peak_; }
  // Bytes of each kind at the moment of the peak.
  const std::array<size_t, kMemoryKinds>& peak_by_kind() const { return peak_by_kind_; }

 private:
  void give_back();

  Device& device_;
  char* base_ = nullptr;
  size_t capacity_ = 0;
  size_t used_ = 0;
  size_t peak_ = 0;
  bool measuring_ = false;
  std::array<size_t, kMemoryKinds> by_kind_{};
  std::array<size_t, kMemoryKinds> peak_by_kind_{};
};

// Frees at the end of a scope what was allocated in it.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.release(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  Arena::Mark mark_;
};

}  // namespace fintune
