import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import { bitsEqual, expectSameBits, integers, normal, random, Surroundings, targets, use } from "./support.js";

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

	it("converts between f32, bf16 and f16, between poisoned columns or packed", () => {
		use(target);
		const types = ["f32", "bf16", "f16"] as const;
		for (const from of types) {
			for (const to of types) {
				for (const [rows, cols] of [
					[1, 1],
					[5, 7],
					[3, 8],
					[70, 40],
				] as const) {
					for (const packed of [true, false]) {
						const around = new Surroundings();
						const make = (type: (typeof types)[number], values?: Float32Array) => {
							if (type !== "f16")
								return packed ? around.tensor([rows, cols], values, type) : around.strided(rows, cols, values, type);
							const t = kernels.tensor([rows, cols + (packed ? 0 : 3)], undefined, { dtype: "f16" }).columns(0, cols);
							return values ? kernels.convert(kernels.tensor([rows, cols], values), t) : t;
						};
						// Integers of 12 bits: both 16-bit types round them.
						const values = integers(rows + cols, rows * cols, 4095);
						const x = make(from, values);
						const y = kernels.convert(x, make(to));
						const want = kernels.tensor([rows, cols], undefined, { dtype: to });
						want.set(x.toFloat32Array());
						if (to === "f16") expect(y.toFloat32Array()).toEqual(want.toFloat32Array());
						else expect(bitsEqual(y.toFloat32Array(), want.toFloat32Array()), `${from} to ${to}`).toBe(true);
						around.check();
					}
				}
			}
		}
		expect(() => kernels.convert(kernels.tensor([2, 3]), kernels.tensor([3, 2]))).toThrow("convert.y: expected [2, 3]");
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
