/**
 * Training of all parameters on plain text, from random weights where the model folder has none.
 * @module
 */
import { hasWeights } from "../engine/weight_files.js";
import type { StageOutcome, TrainingContext } from "./context.js";
import type { PretrainConfig } from "./schema.js";
import { sequenceSet } from "./sft.js";
import { trainStage } from "./train_stage.js";
import { readTrainingData } from "./training_data.js";

export async function pretrain(context: TrainingContext, config: PretrainConfig): Promise<StageOutcome> {
	const data = await readTrainingData(context, config);
	if (data.sequences.length === 0) return { status: "skipped", note: `no usable row: ${data.summary}`, metrics: data.leaks };
	const { dir } = context.session.folder();
	return trainStage(context, config, {
		type: "pretrain",
		set: sequenceSet(data.sequences, data.draw),
		...(data.validation ? { validation: data.validation.sequences } : {}),
		...(hasWeights(dir) ? {} : { random: { seed: config.seed ?? context.seed, std: config.initializer_range } }),
		note: data.summary,
		metrics: data.leaks,
	});
}
