/**
 * Rule H of the leaderboard: nine yes/no questions a headline; weighted F1 per question, plainly averaged.
 * @module
 */
import { averageF1, confusionMatrix, countClasses, encodeLabels, type LabelPairs } from "../metrics/classification.js";
import { pyStrip } from "../metrics/pytext.js";
import { afterThinking, namedOption } from "./answers.js";
import { type Doc, integerColumn, meanOf, type Prepared, type Scorer, textColumn } from "./scoring.js";

/** How the strict score of rule H departs from the leaderboard's. */
export const headlinesStrictRules =
	"The answer is what follows </think>; its first line that says yes or no (as a word, any case) must say only one of them. " +
	"Anything else is a wrong answer, not a No (missing, ambiguous).";

const YES = "0";
const NO = "1";

export const ruleH: Scorer = {
	leaderboardMetrics: ["avg_f1"],
	strictMetrics: ["avg_f1", "acc", "missing", "ambiguous"],
	leaderboard(docs, outputs) {
		const { aggregates, confusion } = prepare(docs, (row) => (pyStrip(outputs[row] as string) === "Yes" ? YES : NO));
		return { aggregates, ...(confusion ? { confusion } : {}) };
	},
	strict(docs, outputs) {
		const missing = new Float64Array(docs.length);
		const ambiguous = new Float64Array(docs.length);
		const prepared = prepare(docs, (row) => {
			const answer = afterThinking(outputs[row] as string);
			const named = answer === undefined ? ({ kind: "none" } as const) : namedOption(answer, ["Yes", "No"]);
			if (named.kind === "none") missing[row] = 1;
			if (named.kind === "several") ambiguous[row] = 1;
			return named.kind === "one" ? String(named.index) : named.kind;
		});
		prepared.aggregates.missing = meanOf(missing);
		prepared.aggregates.ambiguous = meanOf(ambiguous);
		return prepared;
	},
};

/** @param predict "0" for Yes, "1" for No, anything else for no answer */
function prepare(docs: readonly Doc[], predict: (row: number) => string): Prepared {
	const gold = docs.map((doc, row) => String(integerColumn(doc, "gold", row)));
	const predicted = docs.map((_, row) => predict(row));
	const types = encodeLabels(
		docs.map((doc, row) => textColumn(doc, "label_type", row)),
		[],
	);
	const answers = encodeLabels(gold, predicted);
	// One class for each question and answer, so that a resample is counted in one pass over all questions.
	const inQuestion = (answer: ArrayLike<number>): Int32Array =>
		Int32Array.from(answer, (a, row) => (types.gold[row] as number) * answers.classes + a);
	const pairs: LabelPairs = {
		gold: inQuestion(answers.gold),
		predicted: inQuestion(answers.predicted),
		classes: types.classes * answers.classes,
	};
	const acc = gold.map((g, row) => (g === predicted[row] ? 1 : 0));
	return {
		aggregates: {
			avg_f1: (indices) => {
				const counts = countClasses(pairs, indices);
				let sum = 0;
				let present = 0;
				for (let start = 0; start < pairs.classes; start += answers.classes) {
					const part = (all: Float64Array): Float64Array => all.subarray(start, start + answers.classes);
					const question = { n: 0, hits: part(counts.hits), gold: part(counts.gold), predicted: part(counts.predicted) };
					if (question.gold.every((g) => g === 0)) continue;
					sum += averageF1(question, "weighted");
					present++;
				}
				return sum / present;
			},
			acc: meanOf(acc),
		},
		perDocument: { acc },
		confusion: confusionMatrix(gold.map(answerName), predicted.map(answerName)),
	};
}

const answerName = (number: string): string => (number === YES ? "Yes" : number === NO ? "No" : `(${number})`);
