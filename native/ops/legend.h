// The dimension letters of every signature, and what all ops share.
//
//   T tokens in the packed batch   N sequences   D model width   H query heads   G key/value heads   K head
//   dim F ffn width   V vocabulary   R LoRA rank   IN, OUT sizes of a linear (weight [OUT, IN], y = x W^T)
//
// Packing: sequences lie one behind the other; cu_seqlens [N+1] holds their starts (cu_seqlens[0] = 0,
// cu_seqlens[N] = T); positions restart at each sequence; attention never crosses it. Empty sequences are
// allowed.
//
// Activations are f32 or bf16 (View::dtype), on a GPU also f16; every op computes in float32 or wider and
// rounds once when it stores. Statistics (rstd, lse, log-probabilities) and gradients of parameters are f32.
//
// Determinism: every op gives the same bits for the same inputs, whatever the number of threads.
//
// Checks: an op throws Error(Argument) with expected and found sizes; it never reads or writes beyond a view.
// What lies on a GPU (ids, positions, numbers of rows) is checked by those who upload it: there an op makes
// NaN of one that is out of range, or passes it over.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/arena.h"
#include "core/device.h"
#include "core/tensor.h"
#include "core/threads.h"

namespace fintune {

// What an op runs on. `dry`: allocate workspace as always, then return without touching any data (memory
// plan).
struct Exec {
  ThreadPool* threads = nullptr;
  // Every pointer that an op takes to numbers (ids, positions, cu_seqlens, tensors, statistics) is this
  // device's memory. Arrays of descriptions (LoraPair, AdamWTensor, View, key and value pointers) and single
  // results (GlobalNorm::norm) are the host's.
  Device* device = &host_device();
  Arena* arena = nullptr;  // workspace is taken within an ArenaScope of the op
  bool dry = false;
  // Rows of products: `rowwise` asks for the small-batch kernel, in which a row's bits do not depend on how
  // many other rows there are, nor on the kernel chosen for them (decoding). The dense kernel (rowwise =
  // false) has the same independence of the number of rows, but other bits than rowwise.
  bool rowwise = false;
  // Operands of matrix products are rounded to this type before they are multiplied (accumulation is f32):
  // F32 or BF16, on a GPU also F16.
  DType compute = DType::F32;
  const std::atomic<bool>* aborted = nullptr;  // polled between layers, never inside an op
};

}  // namespace fintune
