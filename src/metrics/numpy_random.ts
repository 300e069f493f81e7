/**
 * NumPy's legacy random numbers, for splits and resamples that others drew with them: what `numpy.random.RandomState` makes
 * of the Mersenne Twister.
 * @module
 */
import { MersenneTwister } from "./mersenne_twister.js";
import { shuffleBy } from "./random.js";

/** `numpy.random.RandomState(seed)`. */
export class NumpyRandom {
	readonly #words: MersenneTwister;

	constructor(seed: number) {
		this.#words = new MersenneTwister(seed);
	}

	/** A uniform integer in [0, max]: draws under the smallest mask that covers max, until one is not above it. */
	upTo(max: number): number {
		// Nothing is drawn where there is no choice.
		if (max === 0) return 0;
		const mask = 2 ** Math.ceil(Math.log2(max + 1)) - 1;
		for (;;) {
			const value = (this.#words.next() & mask) >>> 0;
			if (value <= max) return value;
		}
	}
}

/** `numpy.random.RandomState(seed).permutation(n)`. */
export function numpyPermutation(n: number, seed: number): number[] {
	const random = new NumpyRandom(seed);
	return shuffleBy(
		Array.from({ length: n }, (_, i) => i),
		(bound) => random.upTo(bound - 1),
	);
}

/** What scikit-learn's `train_test_split(items, test_size=testSize, random_state=seed)` gives. */
export function trainTestSplit<T>(items: readonly T[], testSize: number, seed: number): { train: T[]; test: T[] } {
	const order = numpyPermutation(items.length, seed).map((i) => items[i] as T);
	return { train: order.slice(testSize), test: order.slice(0, testSize) };
}
