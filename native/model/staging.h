// Arrays that cross between the host and the device an op runs on. Where the device is the host they are used
// in place; elsewhere they lie in the arena for as long as its scope.
#pragma once

#include "ops/legend.h"

namespace fintune {

// What ops may read in place of the host's array of n elements. Null stays null.
template <typename T>
const T* staged(Exec& exec, const T* host, int64_t n) {
  if (host == nullptr || exec.device->is_host()) return host;
  const size_t bytes = static_cast<size_t>(n) * sizeof(T);
  void* p = exec.arena->alloc(bytes, MemoryKind::Workspace);
  if (!exec.dry) exec.device->upload(p, host, bytes);
  return static_cast<const T*>(p);
}

// Where an op may write what fetch() then brings to the host's array of n elements. Null stays null.
template <typename T>
T* room_for(Exec& exec, T* host, int64_t n, MemoryKind kind = MemoryKind::Workspace) {
  if (host == nullptr || exec.device->is_host()) return host;
  return static_cast<T*>(exec.arena->alloc(static_cast<size_t>(n) * sizeof(T), kind));
}
template <typename T>
void fetch(Exec& exec, T* host, const T* room, int64_t n) {
  if (exec.dry || host == room) return;
  exec.device->download(host, room, static_cast<size_t>(n) * sizeof(T));
}

}  // namespace fintune
