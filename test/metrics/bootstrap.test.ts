import { describe, expect, it } from "vitest";
import {
	bootstrapInterval,
	bootstrapIntervals,
	type CorpusMetric,
	everyIndex,
	pairedBootstrap,
	quantile,
} from "../../src/metrics/bootstrap.js";
import { SeededRandom } from "../../src/metrics/random.js";

const meanOf = (values: readonly number[]) => (indices: ArrayLike<number>) => {
	let sum = 0;
	for (let i = 0; i < indices.length; i++) sum += values[indices[i] as number] as number;
	return sum / indices.length;
};
const coin = (random: SeededRandom, n: number, p: number) => Array.from({ length: n }, () => (random.uniform() < p ? 1 : 0));

describe("quantile", () => {
	it("interpolates linearly between order statistics", () => {
		expect(quantile([1, 2, 3, 4], 0.5)).toBe(2.5);
		expect(quantile([1, 2, 3, 4], 0)).toBe(1);
		expect(quantile([1, 2, 3, 4], 1)).toBe(4);
		expect(quantile([], 0.5)).toBeNaN();
	});
});

describe("bootstrap interval", () => {
	it("is the same for the same seed, and another for another", () => {
		const values = coin(new SeededRandom(5), 60, 0.6);
		const first = bootstrapInterval(60, meanOf(values), { seed: 1, resamples: 300 });
		expect(bootstrapInterval(60, meanOf(values), { seed: 1, resamples: 300 })).toEqual(first);
		const other = bootstrapInterval(60, meanOf(values), { seed: 2, resamples: 300 });
		expect(other.standardError).not.toBe(first.standardError);
	});

	it("has the standard error of a mean", () => {
		const values = coin(new SeededRandom(9), 400, 0.3);
		const p = meanOf(values)(everyIndex(400));
		const { standardError, low, high, estimate } = bootstrapInterval(400, meanOf(values), { resamples: 2000 });
		expect(estimate).toBe(p);
		expect(standardError / Math.sqrt((p * (1 - p)) / 400)).toBeGreaterThan(0.93);
		expect(standardError / Math.sqrt((p * (1 - p)) / 400)).toBeLessThan(1.07);
		expect(low).toBeLessThan(p);
		expect(high).toBeGreaterThan(p);
	});

	it("covers the truth about 95 times in 100", () => {
		let covered = 0;
		for (let trial = 0; trial < 300; trial++) {
			const values = coin(new SeededRandom(11, trial), 100, 0.7);
			const { low, high } = bootstrapInterval(100, meanOf(values), { resamples: 300, seed: trial });
			if (low <= 0.7 && 0.7 <= high) covered++;
		}
		// Binomial(300, 0.95) has deviation 3.8; a percentile interval of 100 coins covers a little less than 95 %.
		expect(covered).toBeGreaterThan(300 * 0.9);
		expect(covered).toBeLessThan(300 * 0.99);
	});

	it("leaves out resamples on which the metric is undefined, and says how many", () => {
		const metric = (indices: ArrayLike<number>) => (Array.from(indices).includes(0) ? 1 : Number.NaN);
		const result = bootstrapInterval(3, metric, { resamples: 1000 });
		expect(result.undefinedResamples).toBeGreaterThan(230); // (2/3)^3 = 0.296
		expect(result.undefinedResamples).toBeLessThan(360);
		expect(result.low).toBe(1);
	});
});

describe("paired bootstrap", () => {
	it("finds a real difference and says which way", () => {
		const random = new SeededRandom(21);
		const first = coin(random, 300, 0.5);
		const second = first.map((hit) => (hit === 1 || random.uniform() < 0.25 ? 1 : 0));
		const result = pairedBootstrap(300, meanOf(first), meanOf(second));
		expect(result.difference).toBeGreaterThan(0.05);
		expect(result.pValue).toBeLessThan(0.005);
		expect(result.low).toBeGreaterThan(0);
	});

	it("is more certain than two separate intervals, because it draws the same documents for both", () => {
		const random = new SeededRandom(23);
		const first = coin(random, 300, 0.5);
		const second = first.map((hit, i) => (i % 50 === 0 ? 1 : hit));
		const paired = pairedBootstrap(300, meanOf(first), meanOf(second));
		const alone = bootstrapInterval(300, meanOf(first));
		expect(paired.high - paired.low).toBeLessThan((alone.high - alone.low) / 2);
	});

	it("calls a system no different from itself, and errs about one time in twenty where there is no difference", () => {
		const same = coin(new SeededRandom(1), 80, 0.5);
		expect(pairedBootstrap(80, meanOf(same), meanOf(same), { resamples: 200 })).toMatchObject({ difference: 0, pValue: 1 });
		let rejected = 0;
		for (let trial = 0; trial < 300; trial++) {
			const random = new SeededRandom(31, trial);
			const result = pairedBootstrap(120, meanOf(coin(random, 120, 0.6)), meanOf(coin(random, 120, 0.6)), {
				resamples: 200,
				seed: trial,
			});
			if (result.pValue < 0.05) rejected++;
		}
		expect(rejected).toBeGreaterThan(3);
		expect(rejected).toBeLessThan(32);
	});
});

it("several metrics over the same resamples are what each alone gives", () => {
	const values = Array.from({ length: 37 }, (_, i) => (i * 7) % 11);
	const mean: CorpusMetric = (indices) => Array.from(indices).reduce((a, i) => a + (values[i] as number), 0) / indices.length;
	const first: CorpusMetric = (indices) => (indices[0] === 0 ? Number.NaN : (values[indices[0] as number] as number));
	const options = { resamples: 200, seed: 3 };
	expect(bootstrapIntervals(37, [mean, first], options)).toEqual(
		[mean, first].map((metric) => bootstrapInterval(37, metric, options)),
	);
	expect(bootstrapInterval(37, first, options).undefinedResamples).toBeGreaterThan(0);
});
