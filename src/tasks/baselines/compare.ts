/**
 * A system's answers against others' on the same documents: the paired bootstrap of a task's shown metric, by both ways of
 * scoring, and the words for it.
 * @module
 */
import { FintuneError } from "../../errors.js";
import { type CorpusMetric, everyIndex, type PairedBootstrap, pairedBootstrap } from "../../metrics/bootstrap.js";
import { type McNemar, mcnemar, type Verdict, verdictOf, verdictSentence } from "../../metrics/significance.js";
import type { Task } from "../task.js";
import type { ScoredBaseline } from "./baseline.js";

export type Scoring = "leaderboard" | "strict";
type Docs = readonly Record<string, unknown>[];

export interface Comparison extends PairedBootstrap {
	/** Scores of the first and the second system; the difference is second minus first. */
	first: number;
	second: number;
	/** How the second compares with the first. */
	verdict: Verdict;
	/** The verdict as a sentence, with difference, 95 % interval and p. */
	sentence: string;
}

/**
 * Compares two systems; undefined where the metric is not defined for one of them.
 * @param names of the first and the second system, for the sentence
 * @param metric the task's shown one unless another is named
 */
export function compareOutputs(
	task: Task,
	docs: Docs,
	first: readonly string[],
	second: readonly string[],
	scoring: Scoring,
	names: readonly [string, string],
	metric = task.headline,
	seed = 0,
): Comparison | undefined {
	try {
		const metrics = [first, second].map((outputs) => task.metricOver(docs, outputs, scoring, metric)) as [
			CorpusMetric,
			CorpusMetric,
		];
		const all = everyIndex(docs.length);
		const scores = metrics.map((metric) => metric(all)) as [number, number];
		if (!scores.every(Number.isFinite)) return undefined;
		const test = pairedBootstrap(docs.length, metrics[0], metrics[1], { seed });
		const verdict = verdictOf(test, task.metrics[metric]?.higherIsBetter ?? true);
		const sentence = verdictSentence(names[1], names[0], verdict, test);
		return { first: scores[0], second: scores[1], ...test, verdict, sentence };
	} catch (error) {
		if (error instanceof FintuneError && error.code === "E_SCORING") return undefined;
		throw error;
	}
}

/** McNemar's test where the task says right or wrong for each document. */
export function rightOrWrong(task: Task, docs: Docs, first: readonly string[], second: readonly string[]): McNemar | undefined {
	const right = (outputs: readonly string[]): boolean[] | undefined =>
		task.score(docs, outputs, { bootstrap: 0 }).perDocument?.acc?.map((value) => value === 1);
	const [a, b] = [right(first), right(second)];
	return a && b ? mcnemar(a, b) : undefined;
}

/** The best of the baselines by the task's shown metric; undefined where none has a score. */
export function bestBaseline(
	task: Task,
	baselines: readonly ScoredBaseline[],
	scoring: Scoring,
): { baseline: ScoredBaseline; score: number } | undefined {
	const up = task.metrics[task.headline]?.higherIsBetter ?? true;
	let best: { baseline: ScoredBaseline; score: number } | undefined;
	for (const baseline of baselines) {
		const score = baseline.scores[scoring][task.headline];
		if (typeof score !== "number") continue;
		if (!best || (up ? score > best.score : score < best.score)) best = { baseline, score };
	}
	return best;
}

/** A model against the best trivial baseline; undefined where there is none or the metric is not defined. */
export function againstBest(
	task: Task,
	docs: Docs,
	outputs: readonly string[],
	baselines: readonly ScoredBaseline[],
	scoring: Scoring,
): ({ name: string; kind: string; score: number } & Omit<Comparison, "first" | "second">) | undefined {
	const best = bestBaseline(task, baselines, scoring);
	if (!best) return undefined;
	const { name, kind } = best.baseline;
	const names = [`the best trivial baseline, ${name}: ${best.score.toFixed(3)}`, "the model"] as const;
	const compared = compareOutputs(task, docs, best.baseline.outputs, outputs, scoring, names);
	if (!compared) return undefined;
	const { first: _first, second: _second, ...test } = compared;
	return { name, kind, score: best.score, ...test };
}
