import { describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
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
			const spare = 3; // rows of a cache that are not filled yet
			const q = normal(1, lengths.length * heads * dim).map(store);
			const keys = lengths.map((n, i) => normal(10 + i, n * kvHeads * dim).map(stored(kv)));
			const values = lengths.map((n, i) => normal(50 + i, n * kvHeads * dim).map(stored(kv)));
			const cache = (filled: Float32Array) => {
				const nan = new Float32Array(spare * kvHeads * dim).fill(Number.NaN);
				const rows = filled.length / (kvHeads * dim) + spare;
				return around.strided(rows, kvHeads * dim, Float32Array.from([...filled, ...nan]), kv);
			};
			const y = around.strided(lengths.length, heads * dim, undefined, dtype);
			kernels.attentionDecode(
				around.strided(lengths.length, heads * dim, q, dtype),
				keys.map(cache),
				values.map(cache),
				around.tensor([lengths.length], Int32Array.from(lengths), "i32"),
				{ heads, kvHeads, y },
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

	it("gives a row the same bits alone and in any batch, with any number of threads", () => {
		use(isa);
		const [heads, kvHeads, dim] = [6, 2, 32];
		const lengths = [1, 200, 33, 128];
		const q = lengths.map((_, i) => normal(i, heads * dim));
		const caches = lengths.map((n, i) => [normal(20 + i, n * kvHeads * dim), normal(40 + i, n * kvHeads * dim)] as const);
		const decode = (rows: readonly number[]) => {
			const pick = (which: 0 | 1) =>
				rows.map((i) => kernels.tensor([lengths[i] as number, kvHeads * dim], (caches[i] as (typeof caches)[0])[which]));
			const queries = kernels.tensor(
				[rows.length, heads * dim],
				Float32Array.from(rows.flatMap((i) => [...(q[i] as Float32Array)])),
			);
			const seen = kernels.tensor(
				[rows.length],
				Int32Array.from(rows, (i) => lengths[i] as number),
			);
			return kernels.attentionDecode(queries, pick(0), pick(1), seen, { heads, kvHeads }).toFloat32Array();
		};
		const alone = lengths.map((_, i) => decode([i]));
		for (const order of [
			[0, 1, 2, 3],
			[3, 1, 0, 2],
		]) {
			const all = decode(order);
			order.forEach((i, place) => {
				expect(bitsEqual(all.slice(place * heads * dim, (place + 1) * heads * dim), alone[i] as Float32Array)).toBe(true);
			});
		}
		expectSameBits(() => [decode([0, 1, 2, 3])]);
	});
});

it("refuses a row without keys, and caches that do not fit", () => {
	const q = kernels.tensor([1, 8]);
	const cache = kernels.tensor([4, 8]);
	const length = (n: number) => kernels.tensor([1], Int32Array.of(n));
	expect(() => kernels.attentionDecode(q, [cache], [cache], length(0), { heads: 1, kvHeads: 1 })).toThrow("row 0 has length 0");
	expect(() => kernels.attentionDecode(q, [cache], [cache], length(5), { heads: 1, kvHeads: 1 })).toThrow("at least 5 rows");
	expect(() => kernels.attentionDecode(q, [], [], length(1), { heads: 1, kvHeads: 1 })).toThrow(
		"keys and values for each of 1 rows",
	);
});
