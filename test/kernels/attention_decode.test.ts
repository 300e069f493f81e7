import { describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import { Pages } from "./pages.js";
import { attention } from "./reference.js";
import { bitsEqual, expectSameBits, expectTwice, normal, Surroundings, stored, targets, use } from "./support.js";

describe.each(targets)("attention_decode, %s", (isa) => {
	it.each([
		[[1, 2, 127, 128, 129], 2, 1, 64, "f32", "f32"],
		[[300], 6, 2, 20, "f32", "f32"],
		[[17, 64], 7, 1, 80, "bf16", "bf16"],
		[[5, 131], 3, 3, 96, "f32", "bf16"],
		[[40], 4, 2, 18, "bf16", "f32"],
	] as const)(
		"stays within twice a plain loop: lengths %j, %i / %i heads of %i, %s, cache %s",
		(lengths, heads, kvHeads, dim, dtype, kv) => {
			use(isa);
			const around = new Surroundings();
			const store = stored(dtype);
			const q = normal(1, lengths.length * heads * dim).map(store);
			const keys = lengths.map((n, i) => normal(10 + i, n * kvHeads * dim).map(stored(kv)));
			const values = lengths.map((n, i) => normal(50 + i, n * kvHeads * dim).map(stored(kv)));
			const pages = new Pages(lengths, 16);
			const pool = (of: Float32Array[]) => around.strided(pages.rows, kvHeads * dim, pages.lay(of, kvHeads * dim), kv);
			const y = around.strided(lengths.length, heads * dim, undefined, dtype);
			kernels.attentionDecode(
				around.strided(lengths.length, heads * dim, q, dtype),
				pool(keys),
				pool(values),
				around.tensor([lengths.length, pages.maxPages], pages.table, "i32"),
				around.tensor([lengths.length], Int32Array.from(lengths), "i32"),
				{ heads, kvHeads, pageTokens: 16, y },
			);
			around.check();
			const got = y.toFloat32Array();
			lengths.forEach((n, t) => {
				// As the last row of a whole sequence.
				const whole = new Float32Array(n * heads * dim);
				whole.set(q.subarray(t * heads * dim, (t + 1) * heads * dim), (n - 1) * heads * dim);
				const shape = { lengths: [n], heads, kvHeads, dim, scale: 1 / Math.sqrt(dim), lastOnly: true };
				const [k, v] = [keys[t] as Float32Array, values[t] as Float32Array];
				const last = (a: Float64Array) => a.subarray((n - 1) * heads * dim);
				const want = last(attention(whole, k, v, shape).y);
				const loop = last(attention(whole, k, v, shape, Math.fround).y).map(store);
				expectTwice(got.subarray(t * heads * dim, (t + 1) * heads * dim), want, loop, `row ${t}`, 2 ** -22);
			});
		},
	);

	it("gives a row the same bits alone, in any batch and on any pages, with any number of threads", () => {
		use(isa);
		const [heads, kvHeads, dim] = [6, 2, 32];
		const lengths = [1, 200, 33, 128, 31, 32, 64];
		const q = lengths.map((_, i) => normal(i, heads * dim));
		const caches = lengths.map((n, i) => [normal(20 + i, n * kvHeads * dim), normal(40 + i, n * kvHeads * dim)] as const);
		const decode = (rows: readonly number[], pageTokens = 32, seed = 1) => {
			const pages = new Pages(
				rows.map((i) => lengths[i] as number),
				pageTokens,
				seed,
			);
			const pick = (which: 0 | 1) => {
				const of = rows.map((i) => (caches[i] as (typeof caches)[0])[which]);
				return kernels.tensor([pages.rows, kvHeads * dim], pages.lay(of, kvHeads * dim));
			};
			const table = kernels.tensor([rows.length, pages.maxPages], pages.table);
			const queries = kernels.tensor(
				[rows.length, heads * dim],
				Float32Array.from(rows.flatMap((i) => [...(q[i] as Float32Array)])),
			);
			const seen = kernels.tensor(
				[rows.length],
				Int32Array.from(rows, (i) => lengths[i] as number),
			);
			const options = { heads, kvHeads, pageTokens };
			return kernels.attentionDecode(queries, pick(0), pick(1), table, seen, options).toFloat32Array();
		};
		const alone = lengths.map((_, i) => decode([i]));
		for (const order of [
			[0, 1, 2, 3, 4, 5, 6],
			[3, 1, 5, 0, 6, 4, 2],
		]) {
			const all = decode(order);
			for (const [pageTokens, seed] of [
				[16, 2],
				[32, 3],
				[256, 4],
			] as const) {
				expect(bitsEqual(decode(order, pageTokens, seed), all), `pages of ${pageTokens}`).toBe(true);
			}
			order.forEach((i, place) => {
				expect(bitsEqual(all.slice(place * heads * dim, (place + 1) * heads * dim), alone[i] as Float32Array)).toBe(true);
			});
		}
		expectSameBits(() => [decode([0, 1, 2, 3, 4, 5, 6])]);
	});
});

it("refuses a row without keys, and pages that do not fit", () => {
	const q = kernels.tensor([1, 8]);
	const pool = kernels.tensor([32, 8]);
	const decode = (length: number, table: number[], pageTokens = 16, keys = pool) =>
		kernels.attentionDecode(
			q,
			keys,
			pool,
			kernels.tensor([1, table.length], Int32Array.from(table)),
			kernels.tensor([1], Int32Array.of(length)),
			{ heads: 1, kvHeads: 1, pageTokens },
		);
	expect(() => decode(17, [1, 0])).not.toThrow();
	expect(() => decode(16, [1, 7])).not.toThrow();
	expect(() => decode(0, [0])).toThrow("row 0 has length 0, expected 1 .. 16");
	expect(() => decode(17, [0])).toThrow("row 0 has length 17, expected 1 .. 16");
	expect(() => decode(17, [0, 2])).toThrow("page 1 of row 0 is 2, expected 0 .. 1");
	expect(() => decode(1, [-1])).toThrow("page 0 of row 0 is -1");
	expect(() => decode(1, [0], 24)).toThrow("pages of 16, 32, 64, ... tokens, found 24");
	expect(() => decode(1, [0], 8)).toThrow("found 8");
	expect(() => decode(1, [0], 16, kernels.tensor([24, 8]))).toThrow("whole pages of 16 rows of 8 f32");
	expect(() => decode(1, [0], 16, kernels.tensor([32, 16]))).toThrow("found 32 rows of 16 f32");
});
