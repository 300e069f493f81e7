// Included by the one .cc file of each CPU op. Those files are compiled once per instruction set, with
// FINTUNE_ISA naming it (generic, avx2, avx512, avx512bf16), into a namespace of that name; dispatch.cc picks
// a table at run time.
#pragma once

#include "ops/table.h"

#ifndef FINTUNE_ISA
#error "compile native/cpu/*.cc with -DFINTUNE_ISA=<instruction set>"
#endif

namespace fintune {
namespace cpu {
namespace FINTUNE_ISA {

void embedding_forward(Exec&, const EmbeddingForward&);
void embedding_backward(Exec&, const EmbeddingBackward&);
void rmsnorm_forward(Exec&, const RmsNormForward&);
void rmsnorm_backward(Exec&, const RmsNormBackward&);
void rope(Exec&, const Rope&);
void attention_forward(Exec&, const AttentionForward&);
void attention_backward(Exec&, const AttentionBackward&);
void attention_decode(Exec&, const AttentionDecode&);
void swiglu_forward(Exec&, const SwigluForward&);
void swiglu_backward(Exec&, const SwigluBackward&);
void linear_forward(Exec&, const LinearForward&);
void linear_backward(Exec&, const LinearBackward&);
void linear_logprob(Exec&, const LinearLogprob&);
void adamw(Exec&, const AdamW&);
void global_norm(Exec&, const GlobalNorm&);
void sample(Exec&, const Sample&);
void gather_rows(Exec&, const GatherRows&);
void scatter_rows(Exec&, const ScatterRows&);
void store_rows(Exec&, const StoreRows&);
void convert(Exec&, const Convert&);

const OpTable& table();

}  // namespace FINTUNE_ISA
}  // namespace cpu
}  // namespace fintune
