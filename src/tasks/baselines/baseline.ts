/**
 * What a trivial baseline is: answers that need no language model, one for each document of a task.
 * @module
 */
import type { TaskRow, TaskScores } from "../task.js";

/**
 * - `constant`: the same answer to everything, without training rows
 * - `majority`: the most frequent answer of train, or its mean
 * - `lexicon`: what train says about the words that occur
 * - `word-count`: a linear model on TF-IDF of words and word pairs
 */
export type BaselineKind = "constant" | "majority" | "lexicon" | "word-count";

export interface TrivialBaseline {
	kind: BaselineKind;
	/** What it does, e.g. `always "neutral"` or "train lexicon of names seen twice (49)". */
	name: string;
	/** Its answer to each document, as a model would have written it. */
	outputs: string[];
}

export interface ScoredBaseline extends TrivialBaseline {
	scores: TaskScores;
}

/** Makes the baselines of a family of tasks; `train` shares no text with `test`, and `test` is not empty. */
export type BaselineMaker = (train: readonly TaskRow[], test: readonly TaskRow[]) => TrivialBaseline[];

/** Items with their counts, the most frequent first; among equals the one seen first. */
export function byFrequency<T>(items: Iterable<T>): [T, number][] {
	const counts = new Map<T, number>();
	for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
	return [...counts].sort((a, b) => b[1] - a[1]);
}

/** The same answer for every row. */
export const always = (kind: BaselineKind, answer: string, test: readonly TaskRow[], name?: string): TrivialBaseline => ({
	kind,
	name: name ?? `always "${answer.length > 40 ? `${answer.slice(0, 39)}…` : answer}"`,
	outputs: test.map(() => answer),
});

/** A column that is a list of texts, or nothing. */
export const textList = (row: TaskRow, column: string): readonly string[] | undefined => {
	const value = row.doc[column];
	return Array.isArray(value) && value.every((item) => typeof item === "string") ? (value as string[]) : undefined;
};
