/**
 * Two files of generations of the same documents, matched and tested.
 * @module
 */
import type { McNemar } from "../metrics/significance.js";
import { type Comparison, compareOutputs, rightOrWrong } from "./baselines/compare.js";
import { pairGenerations } from "./baselines/pair.js";
import type { Task } from "./task.js";

/** The paired tests of two systems on the same documents of a task. */
export interface GenerationsComparison {
	task: string;
	/** The task's shown metric. */
	metric: string;
	n: number;
	/** By both ways of scoring; null where the metric is not defined for one of the two. */
	leaderboard: Comparison | null;
	strict: Comparison | null;
	/** Where answers are right or wrong. */
	mcnemar: McNemar | null;
}

/**
 * Matches two files of generations by their documents, and tests whether the systems differ.
 * @throws FintuneError E_SCORING where the documents are not the same
 */
export async function compareGenerations(task: Task, fileA: string, fileB: string): Promise<GenerationsComparison> {
	const { docs, first: a, second: b } = await pairGenerations(fileA, fileB);
	const test = (scoring: "leaderboard" | "strict") => compareOutputs(task, docs, a, b, scoring, ["A", "B"]) ?? null;
	return {
		task: task.name,
		metric: task.headline,
		n: docs.length,
		leaderboard: test("leaderboard"),
		strict: test("strict"),
		mcnemar: rightOrWrong(task, docs, a, b) ?? null,
	};
}
