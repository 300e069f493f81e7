/**
 * Philox4x32-10, the counter-based random generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
 * as 1, 2, 3" (SC 2011), section 3.3; the same function as native/core/philox.h. Counter-based: any draw can be made
 * without those before it, so that an order of rows depends on seed and epoch alone, a weight on seed, name and place.
 * @module
 */
import { FintuneError } from "./errors.js";

const multiplier0 = 0xd2511f53;
const multiplier1 = 0xcd9e8d57;
const weyl0 = 0x9e3779b9;
const weyl1 = 0xbb67ae85;

/** High 32 bits of the product of two unsigned 32-bit integers (or the signed ones of the same bits). */
export function multiplyHigh(a: number, b: number): number {
	const aLow = a & 0xffff;
	const aHigh = a >>> 16;
	const bLow = b & 0xffff;
	const bHigh = b >>> 16;
	// Each sum stays below 2^32: (2^16 - 1)^2 + 2^16 - 1.
	const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) >>> 0;
	const carry = (Math.imul(aLow, bHigh) + (middle & 0xffff)) >>> 0;
	return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (carry >>> 16)) >>> 0;
}

/**
 * One block of Philox4x32 with ten rounds.
 * @param counter four unsigned 32-bit words, lowest first
 * @param key two unsigned 32-bit words, lowest first
 * @param out receives four unsigned 32-bit words
 */
export function philox4x32Into(counter: ArrayLike<number>, key: ArrayLike<number>, out: Uint32Array): void {
	// Signed 32-bit integers are what an engine keeps in registers.
	let c0 = (counter[0] as number) | 0;
	let c1 = (counter[1] as number) | 0;
	let c2 = (counter[2] as number) | 0;
	let c3 = (counter[3] as number) | 0;
	let k0 = (key[0] as number) | 0;
	let k1 = (key[1] as number) | 0;
	for (let round = 0; round < 10; round++) {
		const high0 = multiplyHigh(multiplier0, c0);
		const low0 = Math.imul(multiplier0, c0);
		const high1 = multiplyHigh(multiplier1, c2);
		const low1 = Math.imul(multiplier1, c2);
		c0 = high1 ^ c1 ^ k0;
		c1 = low1;
		c2 = high0 ^ c3 ^ k1;
		c3 = low0;
		k0 = (k0 + weyl0) | 0;
		k1 = (k1 + weyl1) | 0;
	}
	out[0] = c0;
	out[1] = c1;
	out[2] = c2;
	out[3] = c3;
}

/** {@link philox4x32Into} with an answer of its own: four unsigned 32-bit words. */
export function philox4x32(counter: ArrayLike<number>, key: ArrayLike<number>): [number, number, number, number] {
	const out = new Uint32Array(4);
	philox4x32Into(counter, key, out);
	return [...out] as [number, number, number, number];
}

/** A stream of random integers: the key is the seed, two words of the counter name the stream. */
export class PhiloxStream {
	readonly #key: [number, number];
	readonly #stream: [number, number];
	#block = 0;
	#words: number[] = [];

	/**
	 * @param seed integer from 0 to 2^53 - 1
	 * @param stream two integers from 0 to 2^32 - 1 that tell this stream from others of the same seed
	 * Errors: E_ARGUMENT for a seed or stream outside.
	 */
	constructor(seed: number, stream: readonly [number, number] = [0, 0]) {
		if (!Number.isSafeInteger(seed) || seed < 0) {
			throw new FintuneError("E_ARGUMENT", "a seed must be an integer from 0 to 2^53 - 1", { found: String(seed) });
		}
		if (!stream.every((word) => Number.isInteger(word) && word >= 0 && word <= 0xffffffff)) {
			throw new FintuneError("E_ARGUMENT", "a stream must be two integers from 0 to 2^32 - 1", { found: stream.join(", ") });
		}
		this.#key = [seed >>> 0, Math.floor(seed / 2 ** 32)];
		this.#stream = [stream[0], stream[1]];
	}

	/** The next 32 random bits, as an unsigned integer. */
	nextUint32(): number {
		if (this.#words.length === 0) {
			const counter = [this.#block >>> 0, Math.floor(this.#block / 2 ** 32), ...this.#stream] as [number, number, number, number];
			this.#words = philox4x32(counter, this.#key).reverse();
			this.#block++;
		}
		return this.#words.pop()!;
	}

	/** A uniform integer from 0 to bound - 1 (bound from 1 to 2^32), without bias: draws beyond a multiple of bound are thrown away. */
	nextBelow(bound: number): number {
		const limit = 2 ** 32 - (2 ** 32 % bound);
		let draw = this.nextUint32();
		while (draw >= limit) draw = this.nextUint32();
		return draw % bound;
	}
}

/** A u32 that differs from text to text (FNV-1a over UTF-8). */
export function hashText(text: string, basis = 0x811c9dc5): number {
	let hash = basis;
	for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
	return hash >>> 0;
}
