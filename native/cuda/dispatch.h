// The door of the CUDA backend: what this build and this machine have, and opening a device. Every build has
// this door; in one without CUDA (absent.cc) it says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ops/backend.h"

namespace fintune {
namespace cuda {

struct Build {
  bool present = false;
  std::string toolkit;                     // "13.0"
  std::vector<std::string> architectures;  // machine code for each: "75", ..., "90a", ..., "120"
  std::string ptx;           // what later GPUs compile from when the program loads: "120"; "" without
  std::string driver_floor;  // the oldest driver that runs it: "580"
  std::string driver_floor_blackwell;  // that knows GPUs of compute capability 10.0 and later, too
};
const Build& build();

struct Gpu {
  int index = 0;
  std::string name;
  int capability = 0;  // 75, 80, 86, 89, 90, 100, 120, ...
  int multiprocessors = 0;
  size_t memory_total = 0;
  size_t memory_free = 0;  // 0 where it was not measured
  std::string refused;     // why this build cannot use it; "" where it can
};

struct Survey {
  int driver = 0;  // the newest CUDA that the driver knows: 13000 for 13.0; 0 without a driver
  std::vector<Gpu> gpus;
  std::string reason;  // why there is none that can be used; "" where there is one
};
// Never throws. `measure` also opens each GPU, which takes a moment and some of its memory, to learn whether
// that works and how much memory is free.
Survey survey(bool measure);

// What multiplies large dense matrices on a GPU.
struct Products {
  std::string library;      // "cuBLASLt 13.1.0 (libcublasLt.so.13)"; "" where our own kernels do
  std::string reason;       // why they do
  std::string passed_over;  // beside a library: what is not used, and why
  // Products of this process that were meant for the library: by it; by our own kernels, since it did not
  // offer them; and the first of those.
  int64_t by_library = 0, by_own = 0;
  std::string first_own;
};
// Opens the library if that was not tried yet. Never throws.
Products products();
// Files that may be that library, tried before the system's; heeded until the first product.
void set_product_libraries(const std::vector<std::string>& files);

// What a GPU does from the call of one to that of the other, which waits for all that is queued. A span is a
// stretch of time in which it always has work; queueing a span's first piece counts as work, which is a few
// microseconds. Not for two threads at once. Throw Device.
struct Busy {
  double seconds = 0;  // of all spans
  int64_t spans = 0;
};
void start_busy_meter(int index);
Busy stop_busy_meter(int index);

// The device of that index with its ops; opened with the first call, and there until the process ends. After
// an error that destroyed its context it is opened anew, as soon as nothing lies in its memory any more.
// Throws Device (saying what there is) where it cannot be opened.
Backend backend(int index);

}  // namespace cuda
}  // namespace fintune
