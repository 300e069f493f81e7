/**
 * Rules A and X of the leaderboard: summaries compared by ROUGE.
 *
 * The leaderboard takes ROUGE from Hugging Face's evaluate, which reports the median of 1,000 bootstrap means drawn with
 * NumPy's seed 1234. BERTScore and BARTScore, which it shows as well, need models of their own and are not computed.
 * @module
 */
import { type CorpusMetric, quantile } from "../metrics/bootstrap.js";
import { NumpyRandom } from "../metrics/numpy_random.js";
import { pyStrip } from "../metrics/pytext.js";
import { type RougeKind, rouge, rougeKinds, rougeWords } from "../metrics/rouge.js";
import { afterThinking } from "./answers.js";
import type { TaskRule } from "./hub_task.js";
import { type Doc, meanOf, type Prepared, type Scorer, textColumn } from "./scoring.js";

const summaryStrictRules =
	"The plain mean over the documents instead of the median of bootstrap means (which depends on their order); the summary is " +
	"what follows </think>; one without a word is missing. BERTScore and BARTScore are not computed.";
const extractionStrictRules =
	"As the task intends: output line i, stripped, marks sentence i where it is 1 (the leaderboard compares texts with numbers, so " +
	"that its ROUGE is 0 for every model); the marks are what follows </think>, and an answer that marks nothing is missing; the plain mean over the documents. BERTScore and " +
	"BARTScore are not computed.";

const better = { higherIsBetter: true };
/** Direction of every metric of rules A and X. */
const summaryMetrics = { rouge1: better, rouge2: better, rougeL: better, missing: { higherIsBetter: false } };

type Values = Record<RougeKind, Float64Array>;

function valuesOf(pairs: readonly { target: string; prediction: string }[]): Values {
	const all = pairs.map(({ target, prediction }) => rouge(target, prediction));
	const column = (kind: RougeKind) => Float64Array.from(all, (scores) => scores[kind]);
	return { rouge1: column("rouge1"), rouge2: column("rouge2"), rougeL: column("rougeL") };
}

const perDocument = (values: Values): Record<string, number[]> =>
	Object.fromEntries(rougeKinds.map((kind) => [kind, Array.from(values[kind])]));

/** Plain means. */
function means(values: Values): Prepared {
	return {
		aggregates: Object.fromEntries(rougeKinds.map((kind) => [kind, meanOf(values[kind])])),
		perDocument: perDocument(values),
	};
}

/** Medians of bootstrap means, in the order of the documents; intervals move the plain mean. */
function bootstrapMedians(values: Values): Prepared {
	const known = new Map<string, Record<RougeKind, number>>();
	const median =
		(kind: RougeKind): CorpusMetric =>
		(indices) => {
			const key = Array.from(indices).join();
			let medians = known.get(key);
			if (!medians) {
				medians = mediansOf(values, indices);
				known.set(key, medians);
			}
			return medians[kind];
		};
	return {
		aggregates: Object.fromEntries(rougeKinds.map((kind) => [kind, median(kind)])),
		resampled: means(values).aggregates,
		perDocument: perDocument(values),
	};
}

const resamples = 1000;

function mediansOf(values: Values, indices: ArrayLike<number>): Record<RougeKind, number> {
	const n = indices.length;
	const random = new NumpyRandom(1234);
	const medians = { rouge1: 0, rouge2: 0, rougeL: 0 };
	// One stream for all kinds, in this order.
	for (const kind of rougeKinds) {
		const drawn = new Float64Array(resamples);
		for (let r = 0; r < resamples; r++) {
			let sum = 0;
			for (let i = 0; i < n; i++) sum += values[kind][indices[random.upTo(n - 1)] as number] as number;
			drawn[r] = sum / n;
		}
		medians[kind] = quantile(drawn.sort(), 0.5);
	}
	return medians;
}

/** Plain means, and the share of empty predictions. */
function strictMeans(pairs: readonly { target: string; prediction: string }[]): Prepared {
	const prepared = means(valuesOf(pairs));
	prepared.aggregates.missing = meanOf(pairs.map(({ prediction }) => (rougeWords(prediction).length === 0 ? 1 : 0)));
	return prepared;
}

/** Rule A: the output against the answer. */
export const ruleA: Scorer = {
	leaderboardMetrics: rougeKinds,
	strictMetrics: [...rougeKinds, "missing"],
	leaderboard(docs, outputs) {
		const pairs = docs.map((doc, row) => ({ target: textColumn(doc, "answer", row), prediction: outputs[row] as string }));
		return bootstrapMedians(valuesOf(pairs));
	},
	strict(docs, outputs) {
		return strictMeans(
			docs.map((doc, row) => ({
				target: textColumn(doc, "answer", row),
				prediction: afterThinking(outputs[row] as string) ?? "",
			})),
		);
	},
};

/** Rule X: the sentences that the output's lines mark against those that `label` marks. */
export const ruleX: Scorer = {
	leaderboardMetrics: rougeKinds,
	strictMetrics: [...rougeKinds, "missing"],
	leaderboard(docs) {
		// No text mark equals the number 1: nothing is ever chosen.
		docs.forEach(markedSentences);
		const zeros = new Float64Array(docs.length);
		return means({ rouge1: zeros, rouge2: zeros, rougeL: zeros });
	},
	strict(docs, outputs) {
		const pairs = docs.map((doc, row) => {
			const marks = (afterThinking(outputs[row] as string) ?? "").split("\n").map((line) => pyStrip(line) === "1");
			const sentences = textColumn(doc, "text", row).split("\n");
			return {
				target: markedSentences(doc, row),
				prediction: sentences.filter((_, i) => marks[i]).join("\n"),
			};
		});
		return strictMeans(pairs);
	},
};

/** The sentences of `text` that `label` marks by 1. */
function markedSentences(doc: Doc, row: number): string {
	const { label } = doc;
	const marks = Array.isArray(label) ? label : [];
	return textColumn(doc, "text", row)
		.split("\n")
		.filter((_, i) => marks[i] === 1)
		.join("\n");
}

/** What the tasks of rule A have in common. */
export const summaryRule: TaskRule = {
	headline: "rouge1",
	metrics: summaryMetrics,
	strictRules: summaryStrictRules,
	columns: ["answer"],
	scorer: ruleA,
	defaultMaxNewTokens: 128,
};

/** What a task of rule X is made of. */
export const extractionRule: TaskRule = {
	...summaryRule,
	strictRules: extractionStrictRules,
	columns: ["label", "text"],
	scorer: ruleX,
	defaultMaxNewTokens: 256,
};
