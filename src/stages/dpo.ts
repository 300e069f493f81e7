/**
 * Direct preference optimisation (Rafailov et al. 2023, eq. 7) and its relatives. In the paper's pipeline the rejected
 * answers are overlong ones that the model generated itself; the reference is the model before this stage, that is the
 * stack without its newest adapter.
 * @module
 */
import type { PairExample, SequenceExample } from "../data/examples.js";
import { sourceText } from "../data/readers.js";
import type { Model } from "../engine/model.js";
import type { Trainer } from "../engine/trainer.js";
import type { KtoRow, PreferencePair, TrainingBatch } from "../engine/types.js";
import { FintuneError } from "../errors.js";
import type { StageOutcome, TrainingContext } from "./context.js";
import type { DpoConfig } from "./schema.js";
import { trainStage } from "./train_stage.js";
import { readTrainingData, type TrainingData } from "./training_data.js";
import type { TrainingSet } from "./training_set.js";

export async function dpo(context: TrainingContext, config: DpoConfig): Promise<StageOutcome> {
	const data = await readTrainingData(context, config);
	const { summary: note, leaks: metrics } = data;
	if (config.loss_type === "kto") {
		if (data.sequences.length === 0) return { status: "skipped", note: `no usable row: ${note}`, metrics };
		const rows = data.sequences.map(ktoRow);
		const validation = data.validation?.sequences.map(ktoRow);
		return trainStage(context, config, {
			type: "dpo",
			set: ktoSet(rows, config, data.draw),
			...(validation ? { validation } : {}),
			prepare: async (_, model) => ({
				set: ktoSet(await scoredRows(model, rows, context.signal), config, data.draw),
				...(validation ? { validation: await scoredRows(model, validation, context.signal) } : {}),
			}),
			note,
			metrics,
		});
	}
	if (data.pairs.length === 0) return { status: "skipped", note: `no pair: ${note}`, metrics };
	const pairs = data.pairs.map(pairOf);
	const validation = data.validation?.pairs.map(pairOf);
	return trainStage(context, config, {
		type: "dpo",
		set: pairSet(pairs, config, data.draw),
		...(validation ? { validation } : {}),
		prepare: async (trainer) => ({
			set: pairSet(await scoredPairs(trainer, pairs, config, context.signal), config, data.draw),
			...(validation ? { validation: await scoredPairs(trainer, validation, config, context.signal) } : {}),
		}),
		note,
		metrics,
	});
}

/** Prompt and answer as one sequence each; only the answer counts. */
function pairOf({ promptIds, chosenIds, rejectedIds }: PairExample): PreferencePair {
	const sequence = (answer: Int32Array): PreferencePair["chosen"] => {
		const inputIds = new Int32Array(promptIds.length + answer.length);
		inputIds.set(promptIds);
		inputIds.set(answer, promptIds.length);
		return { inputIds, completionMask: Uint8Array.from(inputIds, (_, t) => (t >= promptIds.length ? 1 : 0)) };
	};
	return { chosen: sequence(chosenIds), rejected: sequence(rejectedIds) };
}

function pairSet(items: readonly PreferencePair[], config: DpoConfig, draw: TrainingData["draw"]): TrainingSet<PreferencePair> {
	return {
		items,
		tokens: (pair) => pair.chosen.inputIds.length + pair.rejected.inputIds.length,
		batch: (pairs, microBatches) => pairBatch(pairs, microBatches, config),
		...(draw ? { draw } : {}),
	};
}

function pairBatch(pairs: readonly PreferencePair[], microBatches: number[][], config: DpoConfig): TrainingBatch {
	if (config.loss_type === "kto") throw new FintuneError("E_INTERNAL", "kto takes rows, not pairs");
	return {
		objective: "dpo",
		lossType: config.loss_type,
		beta: config.beta,
		labelSmoothing: config.label_smoothing,
		gamma: config.simpo_gamma,
		pairs,
		microBatches,
	};
}

/** The reference never changes during the stage, so its log-probabilities are computed once. */
async function scoredPairs(
	trainer: Trainer,
	pairs: readonly PreferencePair[],
	config: DpoConfig,
	signal: AbortSignal | undefined,
): Promise<readonly PreferencePair[]> {
	const filled = await trainer.withReference(pairBatch(pairs, [pairs.map((_, i) => i)], config), {
		signal,
	});
	return filled.objective === "dpo" ? filled.pairs : pairs;
}

/** The same for kto; only the mismatched rows of the KL term change from step to step. */
async function scoredRows(model: Model, rows: readonly KtoRow[], signal: AbortSignal | undefined): Promise<readonly KtoRow[]> {
	if (model.adapterCount === 0) return rows; // the trainer says what is missing
	const scores = await model.score(rows, { adapters: model.adapterCount - 1, signal });
	return rows.map((row, i) => ({ ...row, referenceLogprob: scores[i]!.sum }));
}

/** @throws FintuneError E_DATA_ROW for a row without a label */
function ktoRow({ inputIds, completionMask, label, source }: SequenceExample): KtoRow {
	if (label === undefined) {
		throw new FintuneError("E_DATA_ROW", "the row has no label", {
			where: sourceText(source),
			expected: "label: true (desirable) or false (undesirable)",
		});
	}
	return { inputIds, completionMask, label };
}

function ktoSet(items: readonly KtoRow[], config: DpoConfig, draw: TrainingData["draw"]): TrainingSet<KtoRow> {
	return {
		items,
		tokens: (row) => 2 * row.inputIds.length,
		batch: (rows, microBatches) => ({
			objective: "kto",
			beta: config.beta,
			desirableWeight: config.desirable_weight,
			undesirableWeight: config.undesirable_weight,
			rows,
			microBatches,
		}),
		...(draw ? { draw } : {}),
	};
}
