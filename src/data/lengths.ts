/**
 * Lengths of examples and what happens to those beyond max_length. Nothing is ever cut.
 * @module
 */
import { FintuneError } from "../errors.js";
import type { Example } from "./example_types.js";
import { Problems } from "./problems.js";
import { sourceText } from "./readers.js";

/** What to do with an example longer than max_length: refuse the data, or leave it out and count it. */
export type LengthPolicy = "error" | "drop";

/** Tokens per example: those of the longer sequence of a pair. */
export interface LengthTable {
	/** Examples before any was dropped. */
	count: number;
	min: number;
	median: number;
	p95: number;
	max: number;
	/** Tokens of all examples together (both sequences of a pair). */
	tokens: number;
	maxLength?: number;
	/** Examples longer than maxLength. */
	over: number;
	/** Of these, how many were left out. */
	dropped: number;
}

/** Tokens of an example's longest sequence. */
export function exampleLength(example: Example): number {
	if (example.kind === "sequence") return example.inputIds.length;
	return example.promptIds.length + Math.max(example.chosenIds.length, example.rejectedIds.length);
}

/** The value below or at which a share q of the sorted values lies (nearest rank). */
const quantile = (sorted: Float64Array, q: number): number => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0;

/**
 * Applies max_length and makes the table of lengths.
 * @param maxLength tokens; undefined: no limit
 * Errors: FintuneErrors E_DATA_TOO_LONG under the policy "error", naming the rows; E_DATA_EMPTY where all are dropped.
 */
export function limitLength(
	examples: readonly Example[],
	options: { maxLength?: number; policy?: LengthPolicy; maxErrors?: number } = {},
): { examples: Example[]; lengths: LengthTable } {
	const { maxLength, policy = "error" } = options;
	const limit = maxLength ?? Number.POSITIVE_INFINITY;
	const sorted = Float64Array.from(examples, exampleLength).sort();
	const kept = examples.filter((example) => exampleLength(example) <= limit);
	const over = examples.length - kept.length;
	if (over > 0 && policy === "error") throwTooLong(examples, limit, sorted, options.maxErrors);
	if (examples.length > 0 && kept.length === 0) {
		throw new FintuneError("E_DATA_EMPTY", `all ${over} examples are longer than max_length`, {
			expected: `at most ${limit} tokens`,
			found: `the shortest has ${sorted[0]}`,
		});
	}
	const lengths: LengthTable = {
		count: examples.length,
		min: sorted[0] ?? 0,
		median: quantile(sorted, 0.5),
		p95: quantile(sorted, 0.95),
		max: sorted.at(-1) ?? 0,
		tokens: examples.reduce((sum, example) => sum + allTokens(example), 0),
		...(maxLength === undefined ? {} : { maxLength }),
		over,
		dropped: over,
	};
	return { examples: kept, lengths };
}

const allTokens = (example: Example): number =>
	example.kind === "sequence"
		? example.inputIds.length
		: 2 * example.promptIds.length + example.chosenIds.length + example.rejectedIds.length;

function throwTooLong(examples: readonly Example[], limit: number, sorted: Float64Array, maxErrors: number | undefined): never {
	const problems = new Problems(maxErrors);
	for (const example of examples) {
		const length = exampleLength(example);
		if (length <= limit) continue;
		const first = problems.total === 0;
		problems.add(
			new FintuneError("E_DATA_TOO_LONG", "the example is longer than max_length", {
				expected: `at most ${limit} tokens`,
				found: String(length),
				where: sourceText(example.source),
				...(first ? { hint: `raise max_length (the longest has ${sorted.at(-1)} tokens) or choose to drop long rows` } : {}),
			}),
		);
	}
	problems.throwIfAny("row");
	throw new FintuneError("E_INTERNAL", "no example was too long after all");
}
