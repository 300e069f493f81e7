/**
 * Numbers of the checks: storage types, seeded inputs, and the measure by which a result is right.
 */
import { bf16Bits, f16Bits, normalValues } from "../../dist/bench/tensors.js";
import { SeededRandom } from "../../dist/metrics/random.js";

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** @type {Record<string, (x: number) => number>} What a value becomes when it is stored. */
export const stored = {
	f32: Math.fround,
	bf16: (x) => {
		if (!Number.isFinite(x)) return x;
		word[0] = bf16Bits(x) << 16;
		return float[0];
	},
	f16: (x) => {
		if (!Number.isFinite(x)) return x;
		const bits = f16Bits(x);
		const exponent = (bits >> 10) & 31;
		const fraction = bits & 1023;
		const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
		return bits & 0x8000 ? -size : size;
	},
};

/** Inputs of one check, each drawn from a stream of its own. */
export class Draw {
	#seed;
	#stream = 0;
	#store;

	/** @param {number} seed @param {string} dtype of activations and weights */
	constructor(seed, dtype) {
		this.#seed = seed;
		this.#store = stored[dtype];
	}
	/** f32, normal(0, std). */
	floats(n, std = 1) {
		return normalValues(this.#seed, this.#stream++, n, std);
	}
	/** As f32, but with values that the activations' type holds. */
	values(n, std = 1) {
		return this.floats(n, std).map(this.#store);
	}
	/** Whole numbers of -range .. range: every type holds them, and f32 their sums. */
	integers(n, range) {
		const random = new SeededRandom(this.#seed, 1000 + this.#stream++);
		return Float32Array.from({ length: n }, () => random.below(2 * range + 1) - range);
	}
	/** 0 .. bound-1. */
	indices(n, bound) {
		const random = new SeededRandom(this.#seed, 2000 + this.#stream++);
		return Int32Array.from({ length: n }, () => random.below(bound));
	}
}

/** Largest and root mean square difference; not a number anywhere is infinitely wrong. */
export function errors(actual, expected) {
	if (actual.length !== expected.length) throw new Error(`${actual.length} values, expected ${expected.length}`);
	let max = 0;
	let sum = 0;
	for (let i = 0; i < actual.length; i++) {
		const e = Math.abs(actual[i] - expected[i]);
		if (Number.isNaN(e)) return { max: Number.POSITIVE_INFINITY, rms: Number.POSITIVE_INFINITY };
		max = Math.max(max, e);
		sum += e * e;
	}
	return { max, rms: Math.sqrt(sum / Math.max(1, actual.length)) };
}

export const largest = (values) => values.reduce((m, x) => Math.max(m, Math.abs(x)), 0);

/** A few units of f32, for results that a plain loop happens to hit exactly. */
const exactSlack = 2 ** -20;

/**
 * The rule of fintune's kernel tests: not worse than twice a plain loop in the same type.
 * @param loop what the plain loop made
 * @param unit widens the slack where a result is a small difference of larger numbers
 */
export function atMostTwice(actual, truth, loop, unit = 1) {
	const ours = errors(actual, truth);
	const plain = errors(loop, truth);
	const slack = exactSlack * unit * largest(truth);
	return {
		error_rms: ours.rms,
		plain_rms: plain.rms,
		error_max: ours.max,
		plain_max: plain.max,
		ok: ours.rms <= 2 * plain.rms + slack && ours.max <= 2 * plain.max + 2 * slack,
	};
}

/** Every value within `tolerance`, relative to the largest of the truth. */
export function within(actual, truth, tolerance) {
	const error = errors(actual, truth).max / (largest(truth) || 1);
	return { error, tolerance, ok: error <= tolerance };
}

/** |a - b| / |b| */
export function relativeL2(a, b) {
	if (a.length !== b.length) throw new Error(`${a.length} values, expected ${b.length}`);
	let difference = 0;
	let norm = 0;
	for (let i = 0; i < a.length; i++) {
		difference += (a[i] - b[i]) ** 2;
		norm += b[i] ** 2;
	}
	return Math.sqrt(difference) / (Math.sqrt(norm) || 1);
}
