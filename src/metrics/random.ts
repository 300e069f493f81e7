/**
 * Seeded random numbers for statistics, the same on every machine: a stream is named by (seed, stream) and nothing else.
 * @module
 */
import { multiplyHigh, philox4x32Into } from "../philox.js";

/** A stream of random numbers. Streams of one seed with different stream numbers are independent. */
export class SeededRandom {
	private readonly key: Uint32Array;
	private readonly counter = new Uint32Array(4);
	private readonly block = new Uint32Array(4);
	private used = 4;

	/**
	 * @param seed a non-negative safe integer
	 * @param stream an unsigned 32-bit number
	 */
	constructor(seed: number, stream = 0) {
		if (!Number.isSafeInteger(seed) || seed < 0) throw new RangeError(`a seed is a non-negative integer, found ${seed}`);
		this.key = Uint32Array.of(seed >>> 0, Math.floor(seed / 0x100000000));
		this.counter[3] = stream >>> 0;
	}

	/** The next unsigned 32-bit number. */
	next(): number {
		if (this.used === 4) this.refill();
		return this.block[this.used++] as number;
	}

	private refill(): void {
		philox4x32Into(this.counter, this.key, this.block);
		for (let i = 0; i < 3; i++) {
			this.counter[i] = (this.counter[i] as number) + 1;
			if (this.counter[i] !== 0) break;
		}
		this.used = 0;
	}

	/** A uniform number in [0, 1) with 32 bits. */
	uniform(): number {
		return this.next() / 0x100000000;
	}

	/** A uniform integer in [0, n), without the bias of a remainder (Lemire 2019). */
	below(n: number): number {
		const bound = checkedBound(n);
		for (;;) {
			const draw = this.next();
			const low = Math.imul(draw, bound) >>> 0;
			// The threshold is below the bound, so that its division is rarely needed.
			if (low >= bound || low >= ((0x100000000 - bound) >>> 0) % bound) return multiplyHigh(draw, bound);
		}
	}

	/** Fills `out` with what as many calls of `below` would return; faster. */
	fillBelow(n: number, out: Uint32Array): void {
		const bound = checkedBound(n);
		for (let i = 0; i < out.length; ) {
			// Whole blocks while nothing is left of an earlier one; a rejected draw is what `below` is for.
			if (this.used < 4 || i + 4 > out.length) {
				out[i++] = this.below(bound);
				continue;
			}
			this.refill();
			while (this.used < 4) {
				const draw = this.block[this.used] as number;
				const low = Math.imul(draw, bound) >>> 0;
				if (low < bound) break;
				out[i++] = multiplyHigh(draw, bound);
				this.used++;
			}
		}
	}

	/** Shuffles in place and returns its argument. */
	shuffle<T>(items: T[]): T[] {
		return shuffleBy(items, (bound) => this.below(bound));
	}
}

function checkedBound(n: number): number {
	const bound = n >>> 0;
	if (bound === 0 || bound !== n) throw new RangeError(`a bound is an integer in 1..2^32-1, found ${n}`);
	return bound;
}

/** Shuffles in place (Fisher-Yates, from the end) by draws of others, `below(bound)` in 0..bound - 1; returns its argument. */
export function shuffleBy<T>(items: T[], below: (bound: number) => number): T[] {
	for (let i = items.length - 1; i > 0; i--) {
		const j = below(i + 1);
		const held = items[i] as T;
		items[i] = items[j] as T;
		items[j] = held;
	}
	return items;
}
