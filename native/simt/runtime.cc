// What kernels ask of the executor, on the fiber that runs; warpgroup.cc has the warpgroups' part.
#include "simt/runtime.h"

#include <cstring>

#include "simt/detector.h"
#include "simt/executor.h"
#include "simt/sites.h"

namespace fintune {
namespace simt {
namespace {

void check_access(const void* p, Detector::Access kind, const void* site) {
  current_executor->detector().access(*current_fiber, kind, p, 16, 16, site);
}

}  // namespace

void barrier(Site& site) {
  if (!visit(site).enabled) return;
  current_executor->request(Meeting::Barrier, {site.file, site.line}, 0, 0);
  current_executor->meet();
}

void named_barrier(Site& site, int id, int threads) {
  if (!visit(site).enabled) return;
  current_executor->request(Meeting::NamedBarrier, {site.file, site.line}, id, threads);
  current_executor->meet();
}

void warp_sync(Site& site) {
  if (!visit(site).enabled) return;
  current_executor->request(Meeting::WarpSync, {site.file, site.line}, 0, 0);
  current_executor->meet();
}

void async_wait(Site& site, int groups) {
  if (visit(site).enabled) current_executor->wait_async(groups, {site.file, site.line});
}

bool enabled(Site& site) { return visit(site).enabled; }

uint64_t exchange(Exchange how, uint64_t value, int operand, Where where) {
  Request& r = current_executor->request(Meeting::Exchange, where, static_cast<int>(how), 0);
  r.operand = operand;
  r.value = value;
  return current_executor->meet();
}

uint32_t vote(bool p, Where where) {
  current_executor->request(Meeting::Vote, where, 0, 0).value = p ? 1 : 0;
  return static_cast<uint32_t>(current_executor->meet());
}

void copy_async(void* to_shared, const void* global, bool valid, Where where) {
  current_executor->copy_async(to_shared, global, valid, where, __builtin_return_address(0));
}

void commit_async() { ++current_fiber->groups; }

void load_matrices(uint32_t* r, int count, bool transposed, const void* row, Where where) {
  Request& request = current_executor->request(Meeting::LoadMatrices, where, transposed ? 1 : 0, count);
  request.row = row;
  request.site = __builtin_return_address(0);
  request.matrices = r;
  current_executor->meet();
}

void multiply_accumulate(Tile tile, float* c, const uint32_t* a, const uint32_t* b, Where where) {
  Request& r = current_executor->request(Meeting::MultiplyAccumulate, where, static_cast<int>(tile), 0);
  r.c = c;
  r.a = a;
  r.b = b;
  current_executor->meet();
}

void read16(void* to, const void* from) {
  check_access(from, Detector::Access::Read, __builtin_return_address(0));
  std::memcpy(to, from, 16);
}

void write16(void* to, const void* from) {
  check_access(to, Detector::Access::Write, __builtin_return_address(0));
  std::memcpy(to, from, 16);
}

int thread_index() { return current_fiber->thread; }
int thread_count() { return current_executor->kernel().threads; }
int block_index(int axis) { return current_executor->block()[axis]; }
int grid_size(int axis) {
  const Dim3& g = current_executor->kernel().grid;
  return axis == 0 ? g.x : axis == 1 ? g.y : g.z;
}
char* shared_memory() { return current_executor->shared(); }

}  // namespace simt
}  // namespace fintune
