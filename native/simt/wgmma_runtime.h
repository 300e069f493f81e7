// What the host bodies of cuda/wgmma_operands.h ask of the executor, beside runtime.h: in a header of its
// own, so that other kernels are not compiled anew when it changes.
#pragma once

#include "simt/runtime.h"

namespace fintune {
namespace simt {

// As warpgroup_product, of operands in shared memory; the lines of a are those of its rows, or where
// `a_across` of the depth.
void warpgroup_operands(const ProductShape& shape, bool a_across, float* c, uint64_t a_descriptor,
                        uint64_t b_descriptor, Where where);

}  // namespace simt
}  // namespace fintune
