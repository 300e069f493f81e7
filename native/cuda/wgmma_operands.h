// Products of warpgroups whose operands both lie in shared memory, by lines of either kind; beside wgmma.h,
// which says how they lie and what comes before and after.
//
// wgmma_operands<T, kColumns, a_across, b_across>(c, a, b): c [64, kColumns] += a b, kColumns 64, 128 or 256;
// a [64, 16] and b [16, kColumns] by lines of the depth, or where `across` of the rows or columns, as
// wgmma_transposed takes b.
#pragma once

#include "cuda/wgmma.h"

#ifdef FINTUNE_SIMT
#include "simt/wgmma_operands.h"
#else
#include "cuda/wgmma_operands_ptx.h"
#endif
