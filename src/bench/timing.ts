/**
 * Timing in interleaved rounds: each round runs every case once, in an order of its own, so that a machine that slows
 * down or warms up does so for all of them.
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { kernels } from "../engine/kernels.js";
import { quantile } from "../metrics/bootstrap.js";
import { SeededRandom } from "../metrics/random.js";

export interface TimedCase {
	run(): void;
	/** Before every run, not timed. */
	reset?(): void;
}

export interface TimingOptions {
	rounds: number;
	/** Milliseconds of running before the first round, at least; every case runs at least once. */
	warmup: number;
	/** Called before every timed run: throws out of the caches what the last one left there. */
	chill?: (() => void) | undefined;
}

/** Milliseconds of each case in each round. */
export async function timeInterleaved(cases: readonly TimedCase[], options: TimingOptions): Promise<Float64Array[]> {
	const start = performance.now();
	do {
		for (const c of cases) {
			timeOnce(c, undefined);
			// The process stays stoppable and its progress visible between two runs.
			await setImmediate();
		}
	} while (performance.now() - start < options.warmup);
	const times = cases.map(() => new Float64Array(options.rounds));
	const order = cases.map((_, i) => i);
	for (let round = 0; round < options.rounds; round++) {
		for (const i of new SeededRandom(0, round).shuffle([...order])) {
			(times[i] as Float64Array)[round] = timeOnce(cases[i] as TimedCase, options.chill);
			await setImmediate();
		}
	}
	return times;
}

function timeOnce(c: TimedCase, chill: (() => void) | undefined): number {
	c.reset?.();
	chill?.();
	kernels.startTimer();
	c.run();
	return kernels.stopTimer();
}

export interface Spread {
	p20: number;
	p50: number;
	p80: number;
}

export function spread(values: ArrayLike<number>): Spread {
	const sorted = Float64Array.from(values).sort();
	return { p20: quantile(sorted, 0.2), p50: quantile(sorted, 0.5), p80: quantile(sorted, 0.8) };
}

export const median = (values: ArrayLike<number>): number => spread(values).p50;

/** Four significant digits: more would be noise. */
export const rounded = (value: number): number => (Number.isFinite(value) ? Number(value.toPrecision(4)) : value);
