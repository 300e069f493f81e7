/**
 * The batch of one benchmarked step: how its tokens are cut into sequences and micro-batches, and random ids for them.
 * @module
 */
import type { TrainingBatch, TrainingShape, TrainSequence } from "../engine/types.js";
import { FintuneError } from "../errors.js";
import { SeededRandom } from "../metrics/random.js";
import { sequenceLengths } from "./op.js";

/** What is asked for. */
export interface StepCut {
	objective: "sft" | "dpo";
	/** Of the step. */
	tokens: number;
	/** Of a sequence. */
	length: number;
	/** Of a micro-batch at most; default: all. */
	microBatchTokens?: number | undefined;
}

/** How the tokens of a step are cut. */
export interface StepPlan {
	lengths: number[];
	/** Indices of sequences (sft) or pairs (dpo) that are computed together. */
	microBatches: number[][];
	/** The largest micro-batch, for the memory plan. */
	largest: TrainingShape;
}

/**
 * Sequences of one length fill the tokens, the last one takes what is left; a last single token is left out.
 * @throws FintuneError E_USAGE where that gives a sequence that predicts nothing
 */
export function planStep(cut: StepCut): StepPlan {
	const { objective, tokens, length } = cut;
	const lengths = sequenceLengths(tokens, length);
	// A single token predicts nothing.
	if (lengths.at(-1) === 1) lengths.pop();
	const unit = objective === "dpo" ? 2 : 1;
	if (objective === "dpo" && lengths.length % 2 === 1) {
		// The last sequence has no partner: it is cut in two.
		const last = lengths.pop() as number;
		lengths.push(Math.ceil(last / 2), Math.floor(last / 2));
	}
	if (lengths.length === 0 || lengths.some((n) => n < 2)) {
		throw new FintuneError("E_USAGE", "too few tokens for a step", {
			expected: `sequences of at least 2 tokens${unit === 2 ? ", in pairs" : ""}`,
			found: `--tokens ${tokens} --length ${length}`,
		});
	}
	const budget = cut.microBatchTokens ?? tokens;
	const microBatches: number[][] = [];
	let filled = Number.POSITIVE_INFINITY;
	for (let i = 0; i < lengths.length / unit; i++) {
		const size = lengths.slice(i * unit, (i + 1) * unit).reduce((a, b) => a + b, 0);
		if (filled + size > budget) {
			microBatches.push([]);
			filled = 0;
		}
		microBatches.at(-1)?.push(i);
		filled += size;
	}
	const sizes = microBatches.map((batch) => batch.flatMap((i) => lengths.slice(i * unit, (i + 1) * unit)));
	const total = (batch: readonly number[]): number => batch.reduce((a, b) => a + b, 0);
	const largest = sizes.reduce((a, b) => (total(b) > total(a) ? b : a));
	return { lengths, microBatches, largest: { lengths: largest, objective } };
}

/** Uniform token ids, other ones in every step. */
export function randomBatch(step: StepPlan, vocabulary: number, index: number, objective: "sft" | "dpo"): TrainingBatch {
	const random = new SeededRandom(7, index);
	const sequences: TrainSequence[] = step.lengths.map((n) => ({
		inputIds: Int32Array.from({ length: n }, () => random.below(vocabulary)),
	}));
	const { microBatches } = step;
	if (objective === "sft") return { objective, sequences, microBatches };
	const pairs = Array.from({ length: sequences.length / 2 }, (_, i) => ({
		chosen: sequences[2 * i] as TrainSequence,
		rejected: sequences[2 * i + 1] as TrainSequence,
	}));
	return { objective, beta: 0.1, pairs, microBatches };
}
