import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import { expectSameBits, integers, normal, random, Surroundings, targets, use } from "./support.js";

/** `n` different numbers below `limit`, in any order. */
function distinct(seed: number, n: number, limit: number): Int32Array {
	const u = random(seed);
	const all = Int32Array.from({ length: limit }, (_, i) => i);
	for (let i = limit - 1; i > 0; i--) {
		const j = Math.floor(u() * (i + 1));
		[all[i], all[j]] = [all[j] as number, all[i] as number];
	}
	return all.slice(0, n);
}

describe.each(targets)("rows, %s", (target) => {
	it.each(["f32", "bf16"] as const)("moves rows of %s of any shape, between poisoned columns or packed", (dtype) => {
		use(target);
		const shape = fc.record({
			whole: fc.integer({ min: 1, max: 40 }),
			cols: fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(8, 16, 64)),
			share: fc.double({ min: 0, max: 1, noNaN: true }),
			packed: fc.boolean(),
			seed: fc.integer(),
		});
		fc.assert(
			fc.property(shape, ({ whole, cols, share, packed, seed }) => {
				const n = Math.round(share * whole);
				const around = new Surroundings();
				const matrix = (rows: number, values?: Float32Array) =>
					packed ? around.tensor([rows, cols], values, dtype) : around.strided(rows, cols, values, dtype);
				const x = integers(seed, whole * cols, 100);
				const rows = distinct(seed, n, whole);
				const ids = kernels.tensor([n], rows);
				const row = (values: Float32Array, i: number) => values.subarray(i * cols, (i + 1) * cols);

				const gathered = kernels.gatherRows(matrix(whole, x), ids, { y: matrix(n) }).toFloat32Array();
				rows.forEach((from, i) => {
					expect(row(gathered, i), `gathered row ${i}`).toEqual(row(x, from));
				});

				const old = integers(seed + 1, whole * cols, 100);
				const scattered = kernels.scatterRows(matrix(n, gathered), ids, matrix(whole, old)).toFloat32Array();
				const expected = new Float32Array(whole * cols);
				rows.forEach((to) => {
					expected.set(row(x, to), to * cols);
				});
				expect(scattered).toEqual(expected);

				const kept = matrix(whole, old);
				kernels.storeRows(matrix(n, gathered), ids, kept);
				const stored = old.slice();
				rows.forEach((to) => {
					stored.set(row(x, to), to * cols);
				});
				expect(kept.toFloat32Array()).toEqual(stored);
				around.check();
			}),
			{ numRuns: 25, seed: 7 },
		);
	});

	it("moves the same bits always", () => {
		use(target);
		const [whole, cols] = [60, 70];
		const x = kernels.tensor([whole, cols], normal(1, whole * cols));
		const old = normal(2, whole * cols);
		const ids = kernels.tensor([37], distinct(3, 37, whole));
		expectSameBits(() => {
			const y = kernels.gatherRows(x, ids);
			const kept = kernels.tensor([whole, cols], old);
			kernels.storeRows(y, ids, kept);
			return [y, kernels.scatterRows(y, ids, kernels.tensor([whole, cols], old)), kept].map((t) => t.toFloat32Array());
		});
	});

	it("moves i32", () => {
		use(target);
		const x = kernels.tensor(
			[4, 3],
			Int32Array.from({ length: 12 }, (_, i) => i - 5),
		);
		const rows = kernels.tensor([2], Int32Array.of(3, 1));
		expect([...kernels.gatherRows(x, rows).toInt32Array()]).toEqual([4, 5, 6, -2, -1, 0]);
	});
});
