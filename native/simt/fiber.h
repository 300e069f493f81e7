// Cooperative threads: stacks with guard pages, and the switch between two of them.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace fintune {
namespace simt {

// Where a suspended fiber goes on.
struct Context {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t machine;
#endif
};

// Prepares `context` to begin with entry() on the stack [low, low + bytes). entry must not return.
void prepare(Context& context, char* low, size_t bytes, void (*entry)());
// Suspends the caller into `from` and goes on at `to`.
void switch_context(Context& from, Context& to);

// Stacks of equal size, each below it a page that must not be touched. Mapped once, touched lazily.
class Stacks {
 public:
  static constexpr size_t kBytes = 128 * 1024;

  explicit Stacks(int count);
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  char* low(int i) const { return base_ + static_cast<size_t>(i) * (kBytes + page_) + page_; }
  int count() const { return count_; }

 private:
  char* base_;
  size_t page_;
  int count_;
};

}  // namespace simt
}  // namespace fintune
