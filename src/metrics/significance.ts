/**
 * Whether two systems that answered the same documents differ, and the sentence that says so.
 * @module
 */
import type { PairedBootstrap } from "./bootstrap.js";

export interface McNemar {
	/** Documents that only the first system, and only the second, has right. */
	onlyFirst: number;
	onlySecond: number;
	bothRight: number;
	bothWrong: number;
	/** Two-sided exact test: binomial(onlyFirst + onlySecond, 1/2). 1 where the two never differ. */
	pValue: number;
}

/** McNemar's exact test on right or wrong per document (McNemar 1947; exact form: Dietterich 1998, section 3.1). */
export function mcnemar(first: readonly boolean[], second: readonly boolean[]): McNemar {
	if (first.length !== second.length) throw new RangeError(`${first.length} documents against ${second.length}`);
	const result: McNemar = { onlyFirst: 0, onlySecond: 0, bothRight: 0, bothWrong: 0, pValue: 1 };
	for (const [i, right] of first.entries()) {
		if (right) result[second[i] ? "bothRight" : "onlyFirst"]++;
		else result[second[i] ? "onlySecond" : "bothWrong"]++;
	}
	const n = result.onlyFirst + result.onlySecond;
	if (n > 0) result.pValue = Math.min(1, 2 * binomialTail(n, Math.min(result.onlyFirst, result.onlySecond)));
	return result;
}

/** P(X <= k) of X ~ binomial(n, 1/2), through logarithms so that large n do not underflow. */
function binomialTail(n: number, k: number): number {
	let logTerm = -n * Math.LN2;
	let sum = Math.exp(logTerm);
	for (let i = 1; i <= k; i++) {
		logTerm += Math.log((n - i + 1) / i);
		sum += Math.exp(logTerm);
	}
	return sum;
}

/** How a difference is to be read. */
export type Verdict = "better" | "worse" | "no significant difference" | "undefined";

/** A level below which a difference counts: both the 95 % interval must leave 0 out and p be below this. */
export const significanceLevel = 0.05;

/** Whether the second system is better than the first. */
export function verdictOf(test: PairedBootstrap, higherIsBetter: boolean): Verdict {
	if (!Number.isFinite(test.difference) || !Number.isFinite(test.low)) return "undefined";
	const clear = test.pValue < significanceLevel && (test.low > 0 || test.high < 0);
	if (!clear) return "no significant difference";
	return test.difference > 0 === higherIsBetter ? "better" : "worse";
}

const signed = (value: number): string => `${value < 0 ? "" : "+"}${value.toFixed(3)}`;

/** p as it is written: never "0.000". */
export const formatP = (p: number): string => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`);

/** `+0.054, 95 % interval +0.010 to +0.098, p = 0.012`. */
export const describeDifference = (test: PairedBootstrap): string =>
	`${signed(test.difference)}, 95 % interval ${signed(test.low)} to ${signed(test.high)}, ${formatP(test.pValue)}`;

/** The verdict as a sentence about `subject` against `other`. */
export function verdictSentence(subject: string, other: string, verdict: Verdict, test: PairedBootstrap): string {
	if (verdict === "undefined") return `${subject} cannot be compared with ${other}: the metric is not defined`;
	const relation = verdict === "no significant difference" ? "not significantly different from" : `significantly ${verdict} than`;
	return `${subject} is ${relation} ${other} (${describeDifference(test)})`;
}
