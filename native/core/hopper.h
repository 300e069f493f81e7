// Whether attention and dense products may use the tensor cores of sm_90 as warpgroups do: a choice of the
// process.
#pragma once

namespace fintune {

// $FINTUNE_HOPPER ("1", or "0" and "" for no; throws Argument for anything else) until it is set. Off unless
// asked for: no GPU has confirmed these kernels yet.
bool hopper();
void set_hopper(bool on);

}  // namespace fintune
