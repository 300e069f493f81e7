/**
 * From a family's scoring rule to the scores of a task: every aggregate by the leaderboard's rule and by the corrected
 * one, nulls where the leaderboard's code would have crashed, and bootstrap intervals.
 * @module
 */
import { FintuneError } from "../errors.js";
import { bootstrapIntervals, type CorpusMetric, everyIndex } from "../metrics/bootstrap.js";
import type { ConfusionMatrix } from "../metrics/classification.js";
import type { ScoreOptions, TaskScores } from "./task.js";

export type Doc = Record<string, unknown>;

/** One rule applied to a corpus: the work per document is done, the aggregates only count. */
export interface Prepared {
	aggregates: Record<string, CorpusMetric>;
	/** What intervals and paired tests resample, where that is not the aggregate itself. */
	resampled?: Record<string, CorpusMetric>;
	/** Where answers are labels. */
	confusion?: ConfusionMatrix;
	/** Metric to one value a document. */
	perDocument?: Record<string, (number | null)[]>;
}

/** The scoring rule of a family. */
export interface Scorer {
	/** Every aggregate's name, also when none could be computed. */
	readonly leaderboardMetrics: readonly string[];
	readonly strictMetrics: readonly string[];
	leaderboard(docs: readonly Doc[], outputs: readonly string[]): Prepared;
	strict(docs: readonly Doc[], outputs: readonly string[]): Prepared;
}

/** Thrown where the leaderboard's own code raises an exception; the metric (or, in `leaderboard()`, the task) is null. */
export class BoardCrash extends Error {
	override readonly name = "BoardCrash";
	constructor(exception: string, reason: string, row?: number) {
		super(`${exception}: ${reason}${row === undefined ? "" : ` (row ${row + 1})`}`);
	}
}

/**
 * Scores a corpus.
 * @throws FintuneError E_SCORING when the lengths differ, nothing is there to score, or a document lacks a column
 */
export function buildScores(
	scorer: Scorer,
	headline: string,
	docs: readonly Doc[],
	outputs: readonly string[],
	options: ScoreOptions = {},
): TaskScores {
	checkLengths(docs, outputs);
	const { bootstrap = 1000, seed = 0 } = options;
	const errors: Record<string, string> = {};
	const board = applyRule(() => scorer.leaderboard(docs, outputs), scorer.leaderboardMetrics, docs.length, errors, "");
	const strict = applyRule(() => scorer.strict(docs, outputs), scorer.strictMetrics, docs.length, errors, "strict.");
	const scores: TaskScores = { n: docs.length, leaderboard: board.values, strict: strict.values, errors };
	const [interval, strictInterval] = intervalsOf([board, strict], headline, bootstrap, seed, docs.length);
	if (interval) scores.interval = interval;
	if (strictInterval) scores.strictInterval = strictInterval;
	if (board.prepared?.confusion) scores.confusion = board.prepared.confusion;
	if (strict.prepared?.confusion) scores.strictConfusion = strict.prepared.confusion;
	if (board.prepared?.perDocument) scores.perDocument = board.prepared.perDocument;
	return scores;
}

/** A metric over a multiset of documents, see `Task.metricOver`. */
export function metricOver(
	scorer: Scorer,
	metric: string,
	docs: readonly Doc[],
	outputs: readonly string[],
	scoring: "leaderboard" | "strict",
): CorpusMetric {
	checkLengths(docs, outputs);
	let prepared: Prepared;
	try {
		prepared = scorer[scoring](docs, outputs);
	} catch (error) {
		if (!(error instanceof BoardCrash)) throw error;
		throw new FintuneError("E_SCORING", "these documents cannot be compared", { found: error.message, cause: error });
	}
	const aggregate = prepared.resampled?.[metric] ?? prepared.aggregates[metric];
	if (!aggregate) throw new FintuneError("E_SCORING", "these documents cannot be compared", { found: `no metric ${metric}` });
	return guarded(aggregate);
}

interface Applied {
	values: Record<string, number | null>;
	prepared?: Prepared;
}

function applyRule(
	prepare: () => Prepared,
	names: readonly string[],
	n: number,
	errors: Record<string, string>,
	prefix: string,
): Applied {
	const values: Record<string, number | null> = {};
	const attempt = <T>(metrics: readonly string[], run: () => T): T | undefined => {
		try {
			return run();
		} catch (error) {
			if (!(error instanceof BoardCrash)) throw error;
			for (const metric of metrics) {
				values[metric] = null;
				errors[prefix + metric] = error.message;
			}
			return undefined;
		}
	};
	const prepared = attempt(names, prepare);
	if (!prepared) return { values };
	const all = everyIndex(n);
	for (const metric of names) {
		const value = attempt([metric], () => (prepared.aggregates[metric] as CorpusMetric)(all));
		if (value === undefined) continue;
		if (Number.isFinite(value)) values[metric] = value;
		else {
			values[metric] = null;
			errors[prefix + metric] = `the value is not a finite number (${value})`;
		}
	}
	return { values, prepared };
}

/** One interval for each rule, all over the same resamples; undefined where the rule has no value. */
function intervalsOf(
	rules: readonly Applied[],
	headline: string,
	resamples: number,
	seed: number,
	n: number,
): TaskScores["interval"][] {
	const metrics = rules.map(({ prepared, values }) =>
		resamples === 0 || values[headline] === null ? undefined : (prepared?.resampled ?? prepared?.aggregates)?.[headline],
	);
	const known = metrics.filter((metric) => metric !== undefined);
	if (known.length === 0) return [];
	const intervals = bootstrapIntervals(n, known.map(guarded), { resamples, seed });
	return metrics.map((metric) => {
		const interval = metric && intervals[known.indexOf(metric)];
		if (!interval || Number.isNaN(interval.low)) return undefined;
		return { metric: headline, low: interval.low, high: interval.high };
	});
}

/** NaN where the metric crashes on a resample. */
function guarded(metric: CorpusMetric): CorpusMetric {
	return (indices) => {
		try {
			return metric(indices);
		} catch (error) {
			if (error instanceof BoardCrash) return Number.NaN;
			throw error;
		}
	};
}

function checkLengths(docs: readonly Doc[], outputs: readonly string[]): void {
	if (docs.length !== outputs.length) {
		throw new FintuneError("E_SCORING", "documents and outputs differ in number", {
			expected: `${docs.length} outputs`,
			found: `${outputs.length}`,
		});
	}
	if (docs.length === 0) throw new FintuneError("E_SCORING", "there is nothing to score", { found: "no document" });
}

/** Mean of a value per document. */
export function meanOf(values: ArrayLike<number>): CorpusMetric {
	return (indices) => {
		let sum = 0;
		for (let i = 0; i < indices.length; i++) sum += values[indices[i] as number] as number;
		return sum / indices.length;
	};
}

/** Standard error of a mean as the leaderboard reports it: sample deviation / sqrt n, a crash for a single document. */
export function standardErrorOf(values: ArrayLike<number>): CorpusMetric {
	const mean = meanOf(values);
	return (indices) => {
		const n = indices.length;
		if (n === 1) throw new BoardCrash("ZeroDivisionError", "a standard error needs two documents");
		const m = mean(indices);
		let squares = 0;
		for (let i = 0; i < n; i++) squares += ((values[indices[i] as number] as number) - m) ** 2;
		return Math.sqrt(squares / (n - 1)) / Math.sqrt(n);
	};
}

/** A text column of a document. @throws FintuneError E_SCORING */
export function textColumn(doc: Doc, column: string, row: number): string {
	const value = doc[column];
	if (typeof value !== "string") throw missingColumn(doc, column, "text", row);
	return value;
}

/** A column that is a list of texts. @throws FintuneError E_SCORING */
export function listColumn(doc: Doc, column: string, row: number): readonly string[] {
	const value = doc[column];
	if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
		throw missingColumn(doc, column, "a list of texts", row);
	}
	return value as string[];
}

/** An integer column. @throws FintuneError E_SCORING */
export function integerColumn(doc: Doc, column: string, row: number): number {
	const value = doc[column];
	if (typeof value !== "number" || !Number.isInteger(value)) throw missingColumn(doc, column, "an integer", row);
	return value;
}

function missingColumn(doc: Doc, column: string, wanted: string, row: number): FintuneError {
	const found = doc[column] === undefined ? `only ${Object.keys(doc).join(", ") || "nothing"}` : JSON.stringify(doc[column]);
	return new FintuneError("E_SCORING", `the document has no usable "${column}"`, {
		expected: `"${column}": ${wanted}`,
		found: (found ?? "").slice(0, 200),
		where: `row ${row + 1}`,
	});
}
