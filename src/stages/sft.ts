/**
 * Supervised fine-tuning: negative log-likelihood of the completions (arXiv 2504.13125, the SFT loss; Hu et al. 2021
 * for LoRA), normalised over the supervised tokens of the whole optimiser step.
 * @module
 */
import type { SequenceExample } from "../data/examples.js";
import type { StageOutcome, TrainingContext } from "./context.js";
import type { SftConfig } from "./schema.js";
import { trainStage } from "./train_stage.js";
import { readTrainingData } from "./training_data.js";
import type { TrainingSet } from "./training_set.js";

export async function sft(context: TrainingContext, config: SftConfig): Promise<StageOutcome> {
	const data = await readTrainingData(context, config);
	if (data.sequences.length === 0) return { status: "skipped", note: `no usable row: ${data.summary}`, metrics: data.leaks };
	return trainStage(context, config, {
		type: "sft",
		set: sequenceSet(data.sequences, data.draw),
		...(data.validation ? { validation: data.validation.sequences } : {}),
		note: data.summary,
		metrics: data.leaks,
	});
}

/** Sequences as SFT batches. */
export function sequenceSet(
	items: readonly SequenceExample[],
	draw?: (epoch: number) => readonly number[],
): TrainingSet<SequenceExample> {
	return {
		items,
		tokens: (example) => example.inputIds.length,
		batch: (examples, microBatches) => ({
			objective: "sft",
			sequences: examples.map(({ inputIds, completionMask }) => ({ inputIds, completionMask })),
			microBatches,
		}),
		...(draw ? { draw } : {}),
	};
}
