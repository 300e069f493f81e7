/**
 * What a training loop is given to train on.
 * @module
 */
import { packBatches } from "../data/pack.js";
import type { TrainingBatch } from "../engine/types.js";

/** Examples of one kind with what the loop has to know about them. */
export interface TrainingSet<Item> {
	items: readonly Item[];
	/** Tokens that item needs in a micro-batch (a pair: both answers with their prompts). */
	tokens(item: Item): number;
	/** One optimiser step over these items; micro-batches hold indices into `items`. */
	batch(items: readonly Item[], microBatches: number[][]): TrainingBatch;
	/** Indices to draw in an epoch, before shuffling (mixing weights); default: every item once. */
	draw?(epoch: number): readonly number[];
}

/** Micro-batches of at most so many tokens, as indices into the items. */
export const packed = <Item>(set: TrainingSet<Item>, items: readonly Item[], budget: number): number[][] =>
	packBatches(
		items.map((item) => set.tokens(item)),
		budget,
	).map(({ indices }) => indices);
