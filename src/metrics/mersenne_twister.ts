/**
 * The Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), for draws that others made with it: NumPy's legacy generator
 * and Python's `random`.
 * @module
 */

const size = 624;
const shift = 397;

export class MersenneTwister {
	readonly #state = new Uint32Array(size);
	#at = size;

	/** @param seed `seeded`: as NumPy's `RandomState(seed)` takes it; `keyed`: as Python's `random.seed(seed)` does */
	constructor(seed: number, form: "seeded" | "keyed" = "seeded") {
		if (form === "seeded") this.#seed(seed);
		else this.#key(seed);
	}

	#seed(seed: number): void {
		this.#state[0] = seed;
		for (let i = 1; i < size; i++) {
			const last = this.#state[i - 1] as number;
			this.#state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i;
		}
	}

	/** `init_by_array` of a key of one word. */
	#key(word: number): void {
		this.#seed(19650218);
		const s = this.#state;
		let i = 1;
		const mixed = (factor: number): number => {
			const last = s[i - 1] as number;
			return (s[i] as number) ^ Math.imul(last ^ (last >>> 30), factor);
		};
		const step = (): void => {
			if (++i < size) return;
			s[0] = s[size - 1] as number;
			i = 1;
		};
		for (let k = 0; k < size; k++) {
			s[i] = mixed(1664525) + word;
			step();
		}
		for (let k = 1; k < size; k++) {
			s[i] = mixed(1566083941) - i;
			step();
		}
		s[0] = 0x80000000;
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
}
