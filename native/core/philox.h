// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a counter-based
// generator, so a random number is a function of (key, counter) and needs no state in a checkpoint.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace fintune {

template <int kWords>
struct PhiloxWords {
  uint32_t words[kWords];
  FINTUNE_HD uint32_t operator[](int i) const { return words[i]; }
};

FINTUNE_HD inline PhiloxWords<4> philox4x32(PhiloxWords<4> counter, PhiloxWords<2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * counter[0];
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * counter[2];
    counter = {{static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
                static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)}};
    key.words[0] += 0x9E3779B9u;
    key.words[1] += 0xBB67AE85u;
  }
  return counter;
}

// Uniform in [0, 1) with 24 bits, exact in float.
FINTUNE_HD inline float philox_uniform(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

}  // namespace fintune
