// What the host bodies of cuda/tma.h (tma.h) ask of the executor, beside runtime.h: in a header of its own,
// so that kernels without TMA are not compiled anew when it changes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simt/runtime.h"

namespace fintune {
namespace simt {

// Kinds of sites that follow those of runtime.h.
namespace tma_site {
constexpr SiteKind after_last(int n) {
  return static_cast<SiteKind>(static_cast<int>(SiteKind::ProxyFence) + n);
}
constexpr SiteKind MbarrierArrive = after_last(1), MbarrierAnnounce = after_last(2),
                   MbarrierWait = after_last(3);
}  // namespace tma_site

// What a tensor map holds here: elements of 16 bits, sizes in elements.
struct BoxMap {
  const char* data;
  int64_t rows, columns, ld;
  int box_rows, box_columns;
};

void mbarrier_init(const void* barrier, int warps, Where where);
void mbarrier_arrive(Site& site, const void* barrier);
void mbarrier_announce(Site& site, const void* barrier, int bytes);
void mbarrier_wait(Site& site, const void* barrier, int parity);
void copy_box(void* to_shared, const BoxMap& map, int column, int row, const void* barrier, Where where);
// More, or fewer, than the warpgroup's threads have.
void set_registers(bool more, int registers, Where where);

}  // namespace simt
}  // namespace fintune
