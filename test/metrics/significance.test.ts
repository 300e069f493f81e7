/** McNemar's exact test, and which differences are called significant. */
import { describe, expect, it } from "vitest";
import { formatP, mcnemar, verdictOf, verdictSentence } from "../../src/metrics/significance.js";

const pairs = (onlyFirst: number, onlySecond: number, both: number) => ({
	first: [...Array(onlyFirst).fill(true), ...Array(onlySecond).fill(false), ...Array(both).fill(true)] as boolean[],
	second: [...Array(onlyFirst).fill(false), ...Array(onlySecond).fill(true), ...Array(both).fill(true)] as boolean[],
});

describe("McNemar", () => {
	it("counts, and the binomial tail by hand", () => {
		const { first, second } = pairs(1, 5, 4);
		// 2 (1 + 6) / 64
		expect(mcnemar(first, second)).toEqual({
			onlyFirst: 1,
			onlySecond: 5,
			bothRight: 4,
			bothWrong: 0,
			pValue: expect.closeTo(14 / 64, 12),
		});
	});

	it("is 1 where nothing differs, and survives thousands of documents", () => {
		expect(mcnemar([true, false], [true, false]).pValue).toBe(1);
		const { first, second } = pairs(2000, 2000, 0);
		expect(mcnemar(first, second).pValue).toBe(1);
		const lopsided = pairs(1900, 2100, 0);
		// The normal approximation with continuity: z = 199 / sqrt(4000).
		expect(mcnemar(lopsided.first, lopsided.second).pValue).toBeCloseTo(0.00166, 4);
	});
});

describe("verdicts", () => {
	const test = (difference: number, low: number, high: number, pValue: number) => ({
		...{ difference, low, high, pValue },
		undefinedResamples: 0,
	});
	it("needs both the interval and p", () => {
		expect(verdictOf(test(0.1, 0.02, 0.2, 0.01), true)).toBe("better");
		expect(verdictOf(test(0.1, 0.02, 0.2, 0.06), true)).toBe("no significant difference");
		expect(verdictOf(test(0.1, -0.02, 0.2, 0.01), true)).toBe("no significant difference");
		expect(verdictOf(test(-0.1, -0.2, -0.02, 0.01), true)).toBe("worse");
	});

	it("reads errors the other way round", () => {
		expect(verdictOf(test(-0.1, -0.2, -0.02, 0.01), false)).toBe("better");
	});

	it("says so in words", () => {
		const found = test(0.1, 0.02, 0.2, 0.0004);
		expect(verdictSentence("the model", "the baseline", "better", found)).toBe(
			"the model is significantly better than the baseline (+0.100, 95 % interval +0.020 to +0.200, p < 0.001)",
		);
		expect(formatP(0.0312)).toBe("p = 0.031");
	});
});
