/**
 * NumPy's legacy random numbers, for splits that others drew with them: the Mersenne Twister MT19937 (Matsumoto and
 * Nishimura 1998) and the shuffle that `numpy.random.RandomState` makes of it.
 * @module
 */

const size = 624;
const shift = 397;

class MersenneTwister {
	readonly #state = new Uint32Array(size);
	#at = size;

	constructor(seed: number) {
		this.#state[0] = seed;
		for (let i = 1; i < size; i++) {
			const last = this.#state[i - 1] as number;
			this.#state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i;
		}
	}

	#refill(): void {
		const s = this.#state;
		for (let i = 0; i < size; i++) {
			const y = ((s[i] as number) & 0x80000000) | ((s[(i + 1) % size] as number) & 0x7fffffff);
			s[i] = (s[(i + shift) % size] as number) ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
		}
		this.#at = 0;
	}

	/** The next unsigned 32-bit number. */
	next(): number {
		if (this.#at === size) this.#refill();
		let y = this.#state[this.#at++] as number;
		y ^= y >>> 11;
		y ^= (y << 7) & 0x9d2c5680;
		y ^= (y << 15) & 0xefc60000;
		return (y ^ (y >>> 18)) >>> 0;
	}

	/** A uniform integer in [0, max]: draws under the smallest mask that covers max, until one is not above it. */
	upTo(max: number): number {
		const mask = 2 ** Math.ceil(Math.log2(max + 1)) - 1;
		for (;;) {
			const value = (this.next() & mask) >>> 0;
			if (value <= max) return value;
		}
	}
}

/** `numpy.random.RandomState(seed).permutation(n)`. */
export function numpyPermutation(n: number, seed: number): number[] {
	const random = new MersenneTwister(seed);
	const order = Array.from({ length: n }, (_, i) => i);
	for (let i = n - 1; i > 0; i--) {
		const j = random.upTo(i);
		[order[i], order[j]] = [order[j] as number, order[i] as number];
	}
	return order;
}

/** What scikit-learn's `train_test_split(items, test_size=testSize, random_state=seed)` gives. */
export function trainTestSplit<T>(items: readonly T[], testSize: number, seed: number): { train: T[]; test: T[] } {
	const order = numpyPermutation(items.length, seed).map((i) => items[i] as T);
	return { train: order.slice(testSize), test: order.slice(0, testSize) };
}
