/**
 * Comparing figures with those of an earlier run, or of another program that writes the same lines.
 * @module
 */
import { readFileSync } from "node:fs";
import { FintuneError, fromSystemError } from "../errors.js";
import { quantile } from "../metrics/bootstrap.js";
import { SeededRandom } from "../metrics/random.js";
import { median, rounded } from "./timing.js";

/** What a line must have to be compared. */
export interface ComparableFigure {
	op: string;
	shape: string;
	dtype: string;
	samples_ms: readonly number[];
	/** The other program that wrote the line. */
	peer?: string;
}

/** now / earlier of the median times, so that less than 1 is faster. */
export interface Ratio {
	ratio: number;
	/** 95 % bootstrap interval: both sides' rounds drawn again. */
	low: number;
	high: number;
}

export interface Comparison extends Ratio {
	op: string;
	shape: string;
	dtype: string;
	/** Beyond noise, and beyond what the machine itself has changed: see {@link verdictOf}. */
	verdict: "slower" | "faster" | "same";
}

/** Less than this is never called a difference: clocks and caches alone make as much. */
const margin = 0.02;
const resamples = 1000;

/** The interval of the ratio of two medians. */
export function ratioOf(now: readonly number[], earlier: readonly number[]): Ratio {
	const random = new SeededRandom(0);
	const draw = (values: readonly number[]): number =>
		median(Float64Array.from(values, () => values[random.below(values.length)] as number));
	const ratios = Float64Array.from({ length: resamples }, () => draw(now) / draw(earlier)).sort();
	return { ratio: median(now) / median(earlier), low: quantile(ratios, 0.025), high: quantile(ratios, 0.975) };
}

/**
 * Slower where the whole interval lies above 1 by more than the margin, and above the drift of the machine: the interval
 * of the yardstick (square product or copy, whichever changed more in that direction) between the two runs.
 */
export function verdictOf({ low, high }: Ratio, drift: readonly Ratio[]): Comparison["verdict"] {
	const slower = (1 + margin) * Math.max(1, ...drift.map((d) => d.high));
	const faster = (1 - margin) * Math.min(1, ...drift.map((d) => d.low));
	if (low > slower) return "slower";
	return high < faster ? "faster" : "same";
}

const keyOf = ({ op, shape, dtype }: ComparableFigure): string => `${op} ${shape} ${dtype}`;

const yardsticks = ["gemm", "copy"];

/**
 * Pairs figures by op, shape and dtype. Yardsticks in both lists tell what the machine itself has changed; those of
 * another program also tell how it multiplies, so they excuse nothing.
 */
export function compareFigures(now: readonly ComparableFigure[], earlier: readonly ComparableFigure[]): Comparison[] {
	const before = new Map(earlier.map((figure) => [keyOf(figure), figure]));
	const pairs = now.flatMap((figure) => {
		const other = before.get(keyOf(figure));
		if (!other) return [];
		const { op, shape, dtype } = figure;
		const excuses = yardsticks.includes(op) && other.peer === undefined;
		return [{ op, shape, dtype, excuses, ...ratioOf(figure.samples_ms, other.samples_ms) }];
	});
	const drift = pairs.filter(({ excuses }) => excuses);
	return pairs.map(({ excuses, ...pair }) => ({
		...pair,
		ratio: rounded(pair.ratio),
		low: rounded(pair.low),
		high: rounded(pair.high),
		verdict: verdictOf(pair, excuses ? [] : drift),
	}));
}

/**
 * Reads JSON lines of figures; lines without an op (of other benchmarks) are left out.
 * @throws FintuneError E_NOT_FOUND, E_DATA_FORMAT with the line, E_DATA_EMPTY
 */
export function readFigures(path: string): ComparableFigure[] {
	let text: string;
	try {
		text = readFileSync(path, "utf8");
	} catch (error) {
		throw fromSystemError(error, path);
	}
	const figures: ComparableFigure[] = [];
	for (const [i, line] of text.split("\n").entries()) {
		if (line.trim() === "") continue;
		const malformed = (found: string): FintuneError =>
			new FintuneError("E_DATA_FORMAT", "not a line of bench kernels --json", {
				where: `${path}:${i + 1}`,
				expected: 'one JSON object a line, with "op", "shape", "dtype" and "samples_ms"',
				found,
			});
		let figure: Partial<ComparableFigure>;
		try {
			figure = JSON.parse(line) as Partial<ComparableFigure>;
		} catch (error) {
			throw malformed((error as Error).message);
		}
		if (typeof figure !== "object" || figure === null) throw malformed(line.slice(0, 40));
		if (figure.op === undefined) continue;
		const samples = figure.samples_ms;
		if (!Array.isArray(samples) || samples.length === 0 || !samples.every((ms) => typeof ms === "number" && ms > 0)) {
			throw malformed(`samples_ms ${JSON.stringify(samples)?.slice(0, 40) ?? "missing"}`);
		}
		const { op, shape, dtype, peer } = figure;
		if (typeof op !== "string" || typeof shape !== "string" || typeof dtype !== "string") throw malformed(line.slice(0, 80));
		figures.push({ op, shape, dtype, samples_ms: samples, ...(typeof peer === "string" ? { peer } : {}) });
	}
	if (figures.length === 0) throw new FintuneError("E_DATA_EMPTY", "there is no figure", { where: path });
	return figures;
}
