// What the host bodies of gpu.h (simt.h) ask of the executor. Every function acts on the fiber that calls it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fintune {
namespace simt {

// Where a collective stands in the source; as a default argument it is where the caller stands.
struct Where {
  const char* file;
  int line;
};

enum class SiteKind : uint8_t {
  Barrier,
  NamedBarrier,
  WarpSync,
  AsyncWait,
  Swizzle,
  WarpgroupFence,
  WarpgroupWait,
  ProxyFence
};

// One textual use of a GPU_... macro. Constant-initialised; the executor fills in `entry` at the first visit.
struct Site {
  const char* file;
  int line;
  SiteKind kind;
  struct SiteEntry* entry;
};

enum class Exchange : uint8_t { Xor, From, Up, Down };
enum class Tile : uint8_t { F16K8, F16K16, BF16K16 };
// A product of a warpgroup: c [64, columns] = a b, + c where `add`. a lies in registers, or by descriptor;
// b's lines are those of its columns, or where `transposed` of the depth.
struct ProductShape {
  Tile tile;
  int columns;
  bool add, a_in_registers, transposed;
};

void barrier(Site& site);
void named_barrier(Site& site, int id, int threads);
void warp_sync(Site& site);
void async_wait(Site& site, int groups);
// False where the site is switched off.
bool enabled(Site& site);

// The value of 64 bits that another lane gave.
uint64_t exchange(Exchange how, uint64_t value, int operand, Where where);
uint32_t vote(bool p, Where where);
void copy_async(void* to_shared, const void* global, bool valid, Where where);
void commit_async();
void load_matrices(uint32_t* r, int count, bool transposed, const void* row, Where where);
void multiply_accumulate(Tile tile, float* c, const uint32_t* a, const uint32_t* b, Where where);
// Of warpgroups (warpgroup.h).
void warpgroup_fence(Site& site);
void warpgroup_wait(Site& site, int groups);
void proxy_fence(Site& site);
void warpgroup_commit(Where where);
void warpgroup_product(const ProductShape& shape, float* c, const uint32_t* a, uint64_t a_descriptor,
                       uint64_t b_descriptor, Where where);
// As descriptors hold it: a multiple of 1024 is one in the host's memory too.
uint32_t shared_address(const void* p);
// Memory accesses of more than the language's own types.
void read16(void* to, const void* from);
void write16(void* to, const void* from);

// Constant during a kernel, so that the compiler may keep them.
__attribute__((const)) int thread_index();
__attribute__((const)) int thread_count();
__attribute__((const)) int block_index(int axis);
__attribute__((const)) int grid_size(int axis);
__attribute__((const)) char* shared_memory();

}  // namespace simt
}  // namespace fintune
