/**
 * Pages of a key/value cache as the tests lay them: shuffled over a pool with pages to spare, NaN where no token lies.
 * @module
 */
import { random } from "./support.js";

export class Pages {
	/** [rows, maxPages]; -1 where a row has no page, which nobody may look at. */
	readonly table: Int32Array;
	readonly maxPages: number;
	readonly pool: number;

	constructor(
		readonly lengths: readonly number[],
		readonly pageTokens: number,
		seed = 1,
	) {
		const each = lengths.map((n) => Math.ceil(n / pageTokens));
		this.maxPages = Math.max(...each) + 1;
		this.pool = each.reduce((a, b) => a + b, 0) + 2;
		const draw = random(seed);
		const order = Array.from({ length: this.pool }, (_, page) => ({ page, key: draw() })).sort((a, b) => a.key - b.key);
		let next = 0;
		this.table = new Int32Array(lengths.length * this.maxPages).fill(-1);
		each.forEach((n, row) => {
			for (let p = 0; p < n; p++) this.table[row * this.maxPages + p] = (order[next++] as { page: number }).page;
		});
	}

	/** The pool [pool * pageTokens, cols] that holds each row's values [length, cols]. */
	lay(values: readonly Float32Array[], cols: number): Float32Array {
		const all = new Float32Array(this.pool * this.pageTokens * cols).fill(Number.NaN);
		values.forEach((of, row) => {
			for (let j = 0; j < (this.lengths[row] as number); j++) {
				const page = this.table[row * this.maxPages + Math.floor(j / this.pageTokens)] as number;
				all.set(of.subarray(j * cols, (j + 1) * cols), (page * this.pageTokens + (j % this.pageTokens)) * cols);
			}
		});
		return all;
	}

	get rows(): number {
		return this.pool * this.pageTokens;
	}
}
