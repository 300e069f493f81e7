/**
 * Row bootstrap: how much a corpus-level metric would move with other documents, and whether two systems that answered
 * the same documents differ (Efron & Tibshirani 1993, chapters 13 and 16).
 * @module
 */
import { SeededRandom } from "./random.js";

/** A metric of a multiset of documents, named by their indices (repeats allowed). NaN where it is undefined. */
export type CorpusMetric = (indices: ArrayLike<number>) => number;

export interface BootstrapOptions {
	/** Number of resamples. Default 1,000. */
	resamples?: number;
	/** Default 0.95. */
	level?: number;
	/** Default 0. */
	seed?: number;
}

export interface BootstrapInterval {
	/** The metric on the documents themselves. */
	estimate: number;
	low: number;
	high: number;
	/** Standard deviation over the resamples. */
	standardError: number;
	/** Resamples on which the metric was undefined (NaN); they are left out. */
	undefinedResamples: number;
}

export interface PairedBootstrap {
	/** Metric of the second system minus metric of the first. */
	difference: number;
	/** Percentile interval of the difference. */
	low: number;
	high: number;
	/** Two-sided: how often a difference at least as large would arise if there were none (centred resamples). */
	pValue: number;
	undefinedResamples: number;
}

/**
 * Percentile interval of a corpus-level metric over resampled documents.
 * @param n number of documents, at least 1
 */
export function bootstrapInterval(n: number, metric: CorpusMetric, options: BootstrapOptions = {}): BootstrapInterval {
	return bootstrapIntervals(n, [metric], options)[0] as BootstrapInterval;
}

/** {@link bootstrapInterval} of several metrics over the same resamples: what each alone would give, drawn once. */
export function bootstrapIntervals(
	n: number,
	metrics: readonly CorpusMetric[],
	options: BootstrapOptions = {},
): BootstrapInterval[] {
	const { resamples = 1000, level = 0.95, seed = 0 } = options;
	const values = metrics.map((): number[] => []);
	forEachResample(n, resamples, seed, (indices) => {
		metrics.forEach((metric, m) => {
			const value = metric(indices);
			if (!Number.isNaN(value)) values[m]?.push(value);
		});
	});
	return metrics.map((metric, m) => {
		const sorted = Float64Array.from(values[m] as number[]).sort();
		return {
			estimate: metric(everyIndex(n)),
			low: quantile(sorted, (1 - level) / 2),
			high: quantile(sorted, (1 + level) / 2),
			standardError: deviation(sorted),
			undefinedResamples: resamples - sorted.length,
		};
	});
}

/**
 * Whether two systems differ on the same documents: each resample draws documents once and scores both systems on them.
 * @param first metric of the first system over the shared documents
 * @param second metric of the second system over the same documents in the same order
 */
export function pairedBootstrap(
	n: number,
	first: CorpusMetric,
	second: CorpusMetric,
	options: BootstrapOptions = {},
): PairedBootstrap {
	const { resamples = 2000, level = 0.95, seed = 0 } = options;
	const all = everyIndex(n);
	const difference = second(all) - first(all);
	const values: number[] = [];
	forEachResample(n, resamples, seed, (indices) => {
		const value = second(indices) - first(indices);
		if (!Number.isNaN(value)) values.push(value);
	});
	const sorted = Float64Array.from(values).sort();
	const slack = 1e-12;
	const extreme = values.filter((value) => Math.abs(value - difference) >= Math.abs(difference) - slack).length;
	return {
		difference,
		low: quantile(sorted, (1 - level) / 2),
		high: quantile(sorted, (1 + level) / 2),
		pValue: (extreme + 1) / (values.length + 1),
		undefinedResamples: resamples - values.length,
	};
}

/** 0..n-1. */
export function everyIndex(n: number): Uint32Array {
	return Uint32Array.from({ length: n }, (_, i) => i);
}

function forEachResample(n: number, resamples: number, seed: number, visit: (indices: Uint32Array) => void): void {
	if (n < 1) throw new RangeError("a bootstrap needs at least one document");
	const random = new SeededRandom(seed);
	const indices = new Uint32Array(n);
	for (let r = 0; r < resamples; r++) {
		random.fillBelow(n, indices);
		visit(indices);
	}
}

/** Linear interpolation between order statistics; NaN of nothing. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
	if (sorted.length === 0) return Number.NaN;
	const position = q * (sorted.length - 1);
	const below = Math.floor(position);
	const low = sorted[below] as number;
	const high = sorted[Math.min(below + 1, sorted.length - 1)] as number;
	return low + (position - below) * (high - low);
}

function deviation(values: ArrayLike<number>): number {
	const n = values.length;
	if (n < 2) return Number.NaN;
	let mean = 0;
	for (let i = 0; i < n; i++) mean += (values[i] as number) / n;
	let squares = 0;
	for (let i = 0; i < n; i++) squares += ((values[i] as number) - mean) ** 2;
	return Math.sqrt(squares / (n - 1));
}
