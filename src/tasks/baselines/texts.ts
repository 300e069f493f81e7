/**
 * Trivial answers to tasks whose answer is free text: the most frequent answer, and the opening of the document.
 * @module
 */
import { rowText } from "../splits.js";
import type { TaskRow } from "../task.js";
import { always, type BaselineMaker, byFrequency, type TrivialBaseline } from "./baseline.js";

/** Questions with a short answer: the most frequent answer of train. */
export const answerBaselines: BaselineMaker = (train, test) => {
	const majority = byFrequency(train.map((row) => row.answer))[0]?.[0];
	return majority === undefined ? [] : [always("majority", majority, test)];
};

/** Summaries: the first sentence, and the first words, as many as an answer has. */
export const summaryBaselines: BaselineMaker = (train, test) => {
	const words = Math.max(1, Math.round(median((train.length > 0 ? train : test).map((row) => countWords(row.answer)))));
	return [
		{ kind: "constant", name: "the first sentence", outputs: test.map((row) => firstSentence(rowText(row))) },
		{
			kind: "constant",
			name: `the first ${words} words`,
			outputs: test.map((row) => rowText(row).trim().split(/\s+/).slice(0, words).join(" ")),
		},
	];
};

/** Extracts by 0/1 marks, one a sentence: the first sentences, as many as are usually marked. */
export const extractBaselines: BaselineMaker = (train, test) => {
	const marks = (row: TaskRow): unknown[] => (Array.isArray(row.doc.label) ? row.doc.label : []);
	const chosen = (row: TaskRow): number => marks(row).filter((mark) => Number(mark) === 1).length;
	const count = Math.max(1, Math.round(median((train.length > 0 ? train : test).map(chosen))));
	const lead = (n: number): TrivialBaseline => ({
		kind: "constant",
		name: n === 1 ? "the first sentence" : `the first ${n} sentences`,
		outputs: test.map((row) =>
			marks(row)
				.map((_, i) => (i < n ? "1" : "0"))
				.join("\n"),
		),
	});
	return count === 1 ? [lead(1)] : [lead(1), lead(count)];
};

const countWords = (text: string): number => text.trim().split(/\s+/).length;

const firstSentence = (text: string): string => /^[\s\S]*?[.!?\n](?=\s|$)/.exec(text.trim())?.[0] ?? text.trim();

function median(values: readonly number[]): number {
	const sorted = [...values].sort((a, b) => a - b);
	return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}
