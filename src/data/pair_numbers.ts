/**
 * Numbers pairs of numbers in the order they are first seen: an open hash table over typed arrays, since a Map whose keys
 * do not fit 31 bits is several times slower and larger.
 * @module
 */

/** Room for two numbers in the 53 bits of a safe integer. */
const base = 2 ** 26;

export class PairNumbers {
	#keys = new Float64Array(1024).fill(-1);
	#numbers = new Int32Array(1024);
	#size = 0;

	get size(): number {
		return this.#size;
	}

	/** The number of a pair of whole numbers below 2^26; -1 where it has none, or one of the two is negative. */
	get(a: number, b: number): number {
		if (a < 0 || b < 0) return -1;
		const slot = this.#slot(a, b);
		return this.#keys[slot] === -1 ? -1 : this.#numbers[slot]!;
	}

	/** As `get`, but a pair without a number gets the next one. */
	add(a: number, b: number): number {
		if (a < 0 || b < 0) return -1;
		let slot = this.#slot(a, b);
		if (this.#keys[slot] !== -1) return this.#numbers[slot]!;
		if (2 * this.#size >= this.#keys.length) {
			this.#grow();
			slot = this.#slot(a, b);
		}
		this.#keys[slot] = a * base + b;
		this.#numbers[slot] = this.#size;
		return this.#size++;
	}

	/** Where a pair is, or would be. */
	#slot(a: number, b: number): number {
		const key = a * base + b;
		const mask = this.#keys.length - 1;
		let hash = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
		hash ^= hash >>> 15;
		let slot = Math.imul(hash, 0x2c1b3c6d) & mask;
		while (this.#keys[slot] !== -1 && this.#keys[slot] !== key) slot = (slot + 1) & mask;
		return slot;
	}

	#grow(): void {
		const [keys, numbers] = [this.#keys, this.#numbers];
		this.#keys = new Float64Array(2 * keys.length).fill(-1);
		this.#numbers = new Int32Array(2 * keys.length);
		for (const [i, key] of keys.entries()) {
			if (key === -1) continue;
			const slot = this.#slot(Math.floor(key / base), key % base);
			this.#keys[slot] = key;
			this.#numbers[slot] = numbers[i]!;
		}
	}
}
