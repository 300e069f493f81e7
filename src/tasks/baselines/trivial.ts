/**
 * The trivial baselines of a task, scored: what a model must beat to be worth anything.
 *
 * Training rows that share a normalised text with a scored row are removed first, by the same rule that keeps them out of
 * training (`data/decontaminate.ts`).
 * @module
 */
import { decontaminate } from "../../data/decontaminate.js";
import { FintuneError } from "../../errors.js";
import { rowText } from "../splits.js";
import type { Split, Task, TaskRow } from "../task.js";
import type { BaselineMaker, ScoredBaseline, TrivialBaseline } from "./baseline.js";
import { cachedBaselines } from "./cache.js";
import { entityBaselines, tagBaselines, tripletBaselines } from "./lexicons.js";
import { optionBaselines } from "./options.js";
import { scoreBaselines } from "./scores.js";
import { answerBaselines, extractBaselines, summaryBaselines } from "./texts.js";

export interface TrivialReport {
	/** In a fixed order: majority, constants, lexicons, word counts, as far as the task and its data allow. */
	baselines: ScoredBaseline[];
	/** Rows that they learnt from, after the removal. */
	trainRows: number;
	/** Rows of train (and valid) that share a text with the scored rows. */
	removed: number;
	/** Why there is no training data, where there is none. */
	withoutTrain?: string;
}

/** The rule by which a task's trivial answers are made, told from what its documents hold. */
export function makerOf(task: Task, test: readonly TaskRow[]): BaselineMaker {
	const doc = test[0]?.doc ?? {};
	if (Array.isArray(doc.choices)) return optionBaselines;
	if (Array.isArray(doc.token)) return tagBaselines;
	if ("rmse" in task.metrics) return scoreBaselines;
	if (Object.keys(task.metrics).some((metric) => metric.startsWith("rouge"))) {
		return Array.isArray(doc.label) ? extractBaselines : summaryBaselines;
	}
	if (Array.isArray(doc.label)) return "entity_f1" in task.metrics ? entityBaselines : tripletBaselines;
	return answerBaselines;
}

/**
 * Baselines of the given rows, fitted on train (and, but for lists of names, on valid where test is scored).
 * @param cacheFolder where answers made earlier from the same rows are kept; undefined: nowhere
 */
export async function trivialBaselines(
	task: Task,
	split: Split,
	rows: readonly TaskRow[],
	dataDirs: readonly string[],
	cacheFolder?: string,
): Promise<TrivialReport> {
	const train: TaskRow[] = [];
	let withoutTrain: string | undefined;
	// A lexicon's names are those of train alone, as the published figures have it.
	const withValid = split === "test" && makerOf(task, rows) !== entityBaselines;
	for (const from of withValid ? (["train", "valid"] as const) : (["train"] as const)) {
		if (!task.hasSplit(from)) continue;
		try {
			train.push(...(await task.load(from, dataDirs)));
		} catch (error) {
			if (!(error instanceof FintuneError) || error.code !== "E_TASK_DATA") throw error;
			if (from === "train") withoutTrain = error.message;
		}
	}
	if (train.length === 0) withoutTrain ??= `the task "${task.name}" has no train split`;
	const clean = decontaminate(train, rows.map(rowText), rowText);
	const baselines = await cachedBaselines(task, clean.kept, rows, cacheFolder, () =>
		rows.length === 0 ? [] : makerOf(task, rows)(clean.kept, rows),
	);
	return {
		baselines: scoreAll(task, rows, baselines),
		trainRows: clean.kept.length,
		removed: clean.dropped.length,
		...(withoutTrain === undefined ? {} : { withoutTrain }),
	};
}

function scoreAll(task: Task, rows: readonly TaskRow[], baselines: readonly TrivialBaseline[]): ScoredBaseline[] {
	const docs = rows.map((row) => row.doc);
	return baselines.map((baseline) => ({ ...baseline, scores: task.score(docs, baseline.outputs, { bootstrap: 0 }) }));
}
