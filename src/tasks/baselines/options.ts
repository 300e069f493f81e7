/**
 * Trivial answers to tasks with options: one option for everything, the most frequent answer (of each question, where a
 * task asks several), and a word-count classifier.
 * @module
 */
import type { TaskRow } from "../task.js";
import { always, type BaselineMaker, byFrequency, type TrivialBaseline, textList } from "./baseline.js";
import { wordCountClassifier } from "./word_count.js";

/** More options than this are not each tried as the constant answer. */
const fewOptions = 9;

/** The question that a row belongs to, of tasks that ask several about one text (Headlines). */
const questionOf = (row: TaskRow): string => (typeof row.doc.label_type === "string" ? row.doc.label_type : "");

export const optionBaselines: BaselineMaker = (train, test) => {
	const majority = byFrequency(train.map((row) => row.answer))[0]?.[0];
	const found: TrivialBaseline[] = majority === undefined ? [] : [always("majority", majority, test)];
	for (const option of optionsOf(test)) if (option !== majority) found.push(always("constant", option, test));
	if (majority === undefined) return found;
	const questions = groupIndices(test.map(questionOf));
	if (questions.size > 1) found.push(majorityOfEachQuestion(train, test, majority));
	const counted = wordCounts(train, test, majority);
	return counted ? [...found, counted] : found;
};

/** The options, where they are few and the same in every row. */
function optionsOf(rows: readonly TaskRow[]): readonly string[] {
	const first = rows[0] && textList(rows[0], "choices");
	if (!first || first.length > fewOptions) return [];
	const key = JSON.stringify(first);
	return rows.every((row) => JSON.stringify(row.doc.choices) === key) ? first : [];
}

function majorityOfEachQuestion(train: readonly TaskRow[], test: readonly TaskRow[], overall: string): TrivialBaseline {
	const answers = new Map<string, string>();
	for (const [question, rows] of groupIndices(train.map(questionOf))) {
		answers.set(question, byFrequency(rows.map((i) => train[i]!.answer))[0]![0]);
	}
	return {
		kind: "majority",
		name: "most frequent answer of each question",
		outputs: test.map((row) => answers.get(questionOf(row)) ?? overall),
	};
}

/** A classifier for each question; a question that train does not answer twice gets its only answer. */
function wordCounts(train: readonly TaskRow[], test: readonly TaskRow[], overall: string): TrivialBaseline | undefined {
	const outputs = test.map(() => overall);
	const trainOf = groupIndices(train.map(questionOf));
	const classify = wordCountClassifier();
	let fitted = 0;
	for (const [question, places] of groupIndices(test.map(questionOf))) {
		const rows = (trainOf.get(question) ?? []).map((i) => train[i]!);
		if (rows.length === 0) continue;
		const answers = classify(
			rows,
			places.map((i) => test[i]!),
		);
		for (const [k, i] of places.entries()) outputs[i] = answers[k]!;
		if (new Set(rows.map((row) => row.answer)).size > 1) fitted++;
	}
	return fitted === 0 ? undefined : { kind: "word-count", name: "word counts (TF-IDF, logistic regression)", outputs };
}

function groupIndices(keys: readonly string[]): Map<string, number[]> {
	const groups = new Map<string, number[]>();
	for (const [i, key] of keys.entries()) {
		const group = groups.get(key);
		if (group) group.push(i);
		else groups.set(key, [i]);
	}
	return groups;
}
