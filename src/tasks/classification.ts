/**
 * Rules C and M of the leaderboard: an option that occurs anywhere in the lower-cased output is the prediction, the first
 * one in stored order wins; rule M also accepts synonyms and falls back to a default.
 * @module
 */
import { accuracy, averageF1, confusionMatrix, countClasses, encodeLabels, matthews } from "../metrics/classification.js";
import { pyStrip } from "../metrics/pytext.js";
import { afterThinking, namedOption } from "./answers.js";
import {
	BoardCrash,
	type Doc,
	integerColumn,
	listColumn,
	meanOf,
	type Prepared,
	type Scorer,
	standardErrorOf,
} from "./scoring.js";
import type { Task } from "./task.js";

/** What the leaderboard writes down where no option was found. */
const MISSING = "missing";
/** What stands for answers that name no option or several; brackets keep them apart from options. */
const unnamed = { none: "(missing)", several: "(ambiguous)" } as const;

const boardMetrics = ["acc", "acc_stderr", "missing", "missing_stderr", "f1", "macro_f1", "mcc"] as const;
const strictMetrics = ["acc", "missing", "ambiguous", "f1", "macro_f1", "mcc"] as const;

/** Direction of every metric of rules C and M. */
export const classificationMetrics: Task["metrics"] = {
	acc: { higherIsBetter: true },
	acc_stderr: { higherIsBetter: false },
	f1: { higherIsBetter: true },
	macro_f1: { higherIsBetter: true },
	mcc: { higherIsBetter: true },
	missing: { higherIsBetter: false },
	missing_stderr: { higherIsBetter: false },
	ambiguous: { higherIsBetter: false },
};

/** How the strict score of rules C and M departs from the leaderboard's. */
export const classificationStrictRules =
	"The answer is what follows </think>; an option counts only on word borders, the longest first; the first line that names an " +
	"option decides and must name exactly one. No option and several options are wrong answers (missing, ambiguous); there are no " +
	"synonyms and no default. MCC keeps every predicted class apart.";

/** Rule M's synonyms; an option that is not among them crashes the leaderboard's code. */
const synonyms: Record<string, readonly string[]> = {
	rise: ["yes", "positive"],
	fall: ["no", "negative", "neutral"],
	good: ["yes", "positive"],
	bad: ["no", "negative", "neutral"],
};

/** Rule C. */
export const ruleC: Scorer = classificationScorer(predictPlain);

/** Rule M. @param fallback the prediction where nothing matched: "fall" (stock movement) or "good" (credit) */
export function ruleM(fallback: "fall" | "good"): Scorer {
	return classificationScorer((output, choices, row) => predictWithSynonyms(output, choices, fallback, row));
}

type Predict = (loweredOutput: string, loweredChoices: readonly string[], row: number) => string;

function predictPlain(output: string, choices: readonly string[]): string {
	return choices.find((choice) => output.includes(choice)) ?? MISSING;
}

function predictWithSynonyms(output: string, choices: readonly string[], fallback: string, row: number): string {
	for (const choice of choices) {
		if (output.includes(choice)) return choice;
		const others = Object.hasOwn(synonyms, choice) ? synonyms[choice] : undefined;
		if (!others) throw new BoardCrash("KeyError", `no synonyms are known for the option "${choice}"`, row);
		if (others.some((word) => output.includes(word))) return choice;
	}
	return fallback;
}

function classificationScorer(predict: Predict): Scorer {
	return {
		leaderboardMetrics: boardMetrics,
		strictMetrics,
		leaderboard(docs, outputs) {
			const gold: string[] = [];
			const predicted = docs.map((doc, row) => {
				const choices = listColumn(doc, "choices", row).map((choice) => choice.toLowerCase());
				gold.push(goldChoice(doc, choices, row));
				return predict(pyStrip(outputs[row] as string).toLowerCase(), choices, row);
			});
			const missing = predicted.map((p) => (p === MISSING ? 1 : 0));
			return prepare(gold, predicted, missing, "merged");
		},
		strict(docs, outputs) {
			const gold: string[] = [];
			const ambiguous = new Float64Array(docs.length);
			const missing = new Array<number>(docs.length).fill(0);
			const predicted = docs.map((doc, row) => {
				const choices = listColumn(doc, "choices", row);
				gold.push(goldChoice(doc, choices, row).toLowerCase());
				const answer = afterThinking(outputs[row] as string);
				const named = answer === undefined ? ({ kind: "none" } as const) : namedOption(answer, choices);
				if (named.kind === "several") ambiguous[row] = 1;
				if (named.kind === "none") missing[row] = 1;
				return named.kind === "one" ? (choices[named.index] as string).toLowerCase() : unnamed[named.kind];
			});
			const prepared = prepare(gold, predicted, missing, "apart");
			prepared.aggregates.ambiguous = meanOf(ambiguous);
			return prepared;
		},
	};
}

/** choices[gold] by Python's rule: -1 is the last. */
function goldChoice(doc: Doc, choices: readonly string[], row: number): string {
	const gold = integerColumn(doc, "gold", row);
	const choice = choices.at(gold);
	if (choice === undefined) throw new BoardCrash("IndexError", `gold ${gold} is outside the ${choices.length} choices`, row);
	return choice;
}

function prepare(
	gold: readonly string[],
	predicted: readonly string[],
	missing: readonly number[],
	others: "merged" | "apart",
): Prepared {
	const pairs = encodeLabels(gold, predicted);
	const acc = gold.map((g, i) => (g === predicted[i] ? 1 : 0));
	return {
		aggregates: {
			acc: (indices) => accuracy(countClasses(pairs, indices)),
			acc_stderr: standardErrorOf(acc),
			missing: meanOf(missing),
			missing_stderr: standardErrorOf(missing),
			f1: (indices) => averageF1(countClasses(pairs, indices), "weighted"),
			macro_f1: (indices) => averageF1(countClasses(pairs, indices), "macro"),
			mcc: (indices) => matthews(countClasses(pairs, indices), others),
		},
		perDocument: { acc, missing: [...missing] },
		confusion: confusionMatrix(gold, predicted),
	};
}

/** What the tasks of rule C have in common, to be spread into their definition. */
export const ruleCTask = {
	headline: "f1",
	metrics: classificationMetrics,
	strictRules: classificationStrictRules,
	columns: ["choices", "gold"],
	scorer: ruleC,
	defaultMaxNewTokens: 20,
} as const;
