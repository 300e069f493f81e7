/**
 * Python's `random.Random(seed)` as far as others' orders depend on it: `shuffle`.
 * @module
 */
import { MersenneTwister } from "./mersenne_twister.js";
import { shuffleBy } from "./random.js";

/**
 * The order in which `random.Random(seed).shuffle` leaves 0..n-1 (CPython since 3.2).
 * @param seed a non-negative integer below 2^32
 */
export function pythonShuffle(n: number, seed: number): number[] {
	const words = new MersenneTwister(seed, "keyed");
	const below = (bound: number): number => {
		const bits = 32 - Math.clz32(bound);
		for (;;) {
			const value = words.next() >>> (32 - bits);
			if (value < bound) return value;
		}
	};
	return shuffleBy(
		Array.from({ length: n }, (_, i) => i),
		below,
	);
}
