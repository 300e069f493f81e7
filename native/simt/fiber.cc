// Stacks, and the switch: by hand on x86-64 (six registers and the stack pointer, no system call), by the C
// library elsewhere.
#include "simt/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"

#if defined(__x86_64__)
extern "C" __attribute__((visibility("hidden"))) void fintune_simt_switch(void** from, void* to);
asm(R"(
.text
.hidden fintune_simt_switch
.globl fintune_simt_switch
.type fintune_simt_switch, @function
fintune_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size fintune_simt_switch, . - fintune_simt_switch
)");
#endif

namespace fintune {
namespace simt {

#if defined(__x86_64__)

void prepare(Context& context, char* low, size_t bytes, void (*entry)()) {
  // As the switch leaves it: six registers, then the address to return to. A function is entered with the
  // stack pointer 8 below a multiple of 16, and finds a return address of 0.
  void** top = reinterpret_cast<void**>(low + bytes) - 1;
  *top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context.stack_pointer = top;
}

void switch_context(Context& from, Context& to) {
  fintune_simt_switch(&from.stack_pointer, to.stack_pointer);
}

#else

void prepare(Context& context, char* low, size_t bytes, void (*entry)()) {
  getcontext(&context.machine);
  context.machine.uc_stack.ss_sp = low;
  context.machine.uc_stack.ss_size = bytes;
  context.machine.uc_link = nullptr;
  makecontext(&context.machine, entry, 0);
}

void switch_context(Context& from, Context& to) { swapcontext(&from.machine, &to.machine); }

#endif

Stacks::Stacks(int count) : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))), count_(count) {
  const size_t total = static_cast<size_t>(count) * (kBytes + page_);
  void* p = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) fail(ErrorCode::OutOfMemory, "no memory for the stacks of ", count, " threads");
  base_ = static_cast<char*>(p);
  for (int i = 0; i < count; ++i) mprotect(low(i) - page_, page_, PROT_NONE);
}

Stacks::~Stacks() { munmap(base_, static_cast<size_t>(count_) * (kBytes + page_)); }

}  // namespace simt
}  // namespace fintune
