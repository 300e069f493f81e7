// launch() is the only way a kernel is started. Its host side, launch_kernel, is the device's own: queued on
// its stream, or run at once by the executor in test builds.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include "ops/legend.h"

// Executed within a kernel by test builds, where it reads the host's memory.
#ifdef FINTUNE_SIMT
#define FINTUNE_UNWATCHED __attribute__((no_sanitize("thread")))
#else
#define FINTUNE_UNWATCHED
#endif

namespace fintune {
namespace cuda {

struct Grid {
  int x = 1, y = 1, z = 1;
};

// A kernel with its arguments bound. `arguments` points at them one by one, each of as many bytes as `sizes`
// says (0 ends both), `call` runs the kernel as a plain function on them (test builds).
struct Launch {
  const char* name;
  const void* kernel;
  Grid grid;
  int threads;
  size_t shared_bytes;
  void** arguments;
  const size_t* sizes;
  void (*call)(const void* kernel, void** arguments);
};
// Raises the kernel's limit of dynamic shared memory where needed, counts launches, and throws Device where
// the device refuses.
void launch_kernel(Exec& exec, const Launch& launch);

namespace detail {

// A kernel's function pointer as data and back, and its arguments by their types.
template <class... P>
struct Bound {
  using Kernel = void (*)(P...);

  template <size_t... I>
  static void run(Exec& exec, Launch& launch, std::tuple<P...>& values, std::index_sequence<I...>) {
    void* arguments[sizeof...(P) + 1] = {const_cast<void*>(static_cast<const void*>(&std::get<I>(values)))...,
                                         nullptr};
    static constexpr size_t sizes[] = {sizeof(P)..., 0};
    launch.arguments = arguments;
    launch.sizes = sizes;
    launch.call = call<I...>;
    launch_kernel(exec, launch);
  }

  template <size_t... I>
  FINTUNE_UNWATCHED static void call(const void* kernel, void** arguments) {
    reinterpret_cast<Kernel>(const_cast<void*>(kernel))(*static_cast<P*>(arguments[I])...);
  }
};

}  // namespace detail

// Blocks of `threads` threads (whole warps) over the grid, arguments converted to the kernel's parameters.
// Nothing happens in dry runs, or where the grid is empty; call it all the same.
template <class... P, class... A>
void launch(Exec& exec, const char* name, void (*kernel)(P...), Grid grid, int threads, size_t shared_bytes,
            A&&... arguments) {
  static_assert((std::is_trivially_copyable_v<P> && ...), "parameters of a kernel are plain data");
  if (exec.dry || grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  std::tuple<P...> values(std::forward<A>(arguments)...);
  Launch bound{name,   reinterpret_cast<const void*>(kernel), grid, threads, shared_bytes, nullptr, nullptr,
               nullptr};
  detail::Bound<P...>::run(exec, bound, values, std::index_sequence_for<P...>());
}

// 75, 80, 86, 89, 90, 100 or 120: ten times the compute capability of the device.
int capability(const Exec& exec);
int multiprocessors(const Exec& exec);

// A copy of a host array of descriptions in the device's memory, taken from the arena as workspace.
template <class T>
const T* to_device(Exec& exec, const T* host, int64_t n) {
  static_assert(std::is_trivially_copyable_v<T>, "descriptions are plain data");
  const size_t bytes = static_cast<size_t>(n) * sizeof(T);
  void* to = exec.arena->alloc(bytes, MemoryKind::Workspace);
  if (!exec.dry && n > 0) exec.device->upload(to, host, bytes);
  return static_cast<const T*>(to);
}

}  // namespace cuda
}  // namespace fintune
