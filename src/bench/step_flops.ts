/**
 * Operations of one LoRA training step by formula, in parts. Only what the result needs is counted: recomputed
 * activations, the head's second pass of a preference loss and a reference that was scored before are overhead, so that
 * tokens a second and the share of the peak tell the same story.
 * @module
 */
import { linearModules } from "../engine/modules.js";
import type { ModelConfig } from "../engine/types.js";

/** What a step computes. */
export interface StepShape {
	/** Lengths of all sequences of the step. */
	lengths: readonly number[];
	/** Tokens whose prediction counts: rows of the head. */
	targets: number;
	/** Rank of the trained adapter on all linears. */
	rank: number;
}

/** Multiplications and additions, each counted. */
export interface StepFlops {
	/** 2 T P with P the weights of all linears. */
	linear_forward: number;
	/** dX: as many. The weights are frozen, so there is no dW. */
	linear_backward: number;
	/** 2 n D V over the n rows that count. */
	head_forward: number;
	head_backward: number;
	/** x A^T and u B^T: 2 T R (IN + OUT) over all linears. */
	lora_forward: number;
	/** dU, dX, dA and dB: twice as many. */
	lora_backward: number;
	/** q k^T and p v over the pairs of a query and a key it sees: 4 H K a pair, in every layer. */
	attention_forward: number;
	/** q k^T again, dp, dv, dq and dk: 10 H K a pair. */
	attention_backward: number;
	total: number;
}

export function stepFlops(config: ModelConfig, { lengths, targets, rank }: StepShape): StepFlops {
	const tokens = lengths.reduce((sum, n) => sum + n, 0);
	const modules = linearModules(config);
	const weights = modules.reduce((sum, m) => sum + m.inFeatures * m.outFeatures, 0);
	const edges = modules.reduce((sum, m) => sum + m.inFeatures + m.outFeatures, 0);
	const pairs = lengths.reduce((sum, n) => sum + (n * (n + 1)) / 2, 0);
	const linear = 2 * tokens * weights;
	const head = 2 * targets * config.hiddenSize * config.vocabSize;
	const lora = 2 * tokens * rank * edges;
	const attention = pairs * config.numLayers * config.numHeads * config.headDim;
	const parts = {
		linear_forward: linear,
		linear_backward: linear,
		head_forward: head,
		head_backward: head,
		lora_forward: lora,
		lora_backward: 2 * lora,
		attention_forward: 4 * attention,
		attention_backward: 10 * attention,
	};
	return { ...parts, total: Object.values(parts).reduce((sum, n) => sum + n, 0) };
}
