/**
 * Attention's forward pass on the warpgroups of an sm_90, which device simt executes: products in the background,
 * descriptors, fences and waits. The backward pass behind it is the usual one, on its outputs.
 * @module
 */
import { describe, expect, it } from "vitest";
import { attentionForward, attentionForwardHopper } from "../../src/bench/ops/attention.js";
import { kernels } from "../../src/engine/kernels.js";
import { expectEverySiteNeeded } from "../simt/sites.js";
import { expectSame, expectTwicePlain, type Half, inputs, rounded, run, tokensOf } from "./attention_cores.js";
import { type AttentionShape, attention } from "./reference.js";
import { bitsEqual, errors, expectTwice, integers, starts } from "./support.js";
import { expectMeasuredBeside, expectServesHeads, useWarpgroups, visitsOf } from "./warpgroups.js";

const simt = kernels.simt;
const file = "attention_hopper.cuh";
const dtypes: readonly Half[] = ["bf16", "f16"];

/** How often threads have come to a site of the warpgroups' kernels. */
const visits = (): number => visitsOf(file);

/** The forward pass alone. */
function forward(
	s: AttentionShape,
	x: ReturnType<typeof inputs>,
	dtype: Half,
	wantedFrom?: readonly number[],
): { y: Float32Array; lse: Float32Array } {
	kernels.setDevice("simt");
	const put = (heads: number, values?: Float32Array) =>
		kernels.tensor([tokensOf(s), heads * s.dim], values, { dtype, guard: true });
	const options = {
		cuSeqlens: kernels.tensor([s.lengths.length + 1], starts(s.lengths)),
		heads: s.heads,
		kvHeads: s.kvHeads,
		scale: s.scale,
		compute: dtype,
		y: put(s.heads),
		...(wantedFrom && { wantedFrom: kernels.tensor([wantedFrom.length], Int32Array.from(wantedFrom)) }),
	};
	const out = kernels.attention(put(s.heads, x.q), put(s.kvHeads, x.k), put(s.kvHeads, x.v), options);
	return { y: out.y.toFloat32Array(), lse: out.lse.toFloat32Array() };
}

describe.skipIf(!simt)("attention on warpgroups", () => {
	useWarpgroups();

	it("serves heads of 64 and 128 on an sm_90, when asked for", () => {
		expectServesHeads(file, (dim) => {
			const s = { lengths: [5], heads: 1, kvHeads: 1, dim, scale: 1 };
			forward(s, inputs(s, "bf16"), "bf16");
		});
	});

	it("computes no tile of which no row is wanted", () => {
		const s = { lengths: [200, 40], heads: 1, kvHeads: 1, dim: 64, scale: 0.2 };
		const x = inputs(s, "bf16");
		const { y } = forward(s, x, "bf16");
		const some = forward(s, x, "bf16", [193, 5]).y;
		// Tiles are 128 or 192 queries; outputs were 0 before.
		expect(y.subarray(0, 128 * 64).some((value) => value !== 0)).toBe(true);
		expect(some.subarray(0, 128 * 64).every((value) => value === 0)).toBe(true);
		for (const [first, last] of [
			[193, 200],
			[205, 240],
		] as const) {
			const rows = (of: Float32Array) => of.slice(first * 64, last * 64);
			expect(bitsEqual(rows(some), rows(y)), `rows ${first} .. ${last}`).toBe(true);
		}
	});

	it("is measured beside the kernels that it replaces, on a device that has it", () => {
		expectMeasuredBeside(file, [[attentionForward, attentionForwardHopper]], { T: 3, S: 2, H: 1, G: 1, K: 64 });
	});

	for (const dtype of dtypes) {
		it.each([
			[[129, 1, 0, 64], 2, 1, 64],
			[[191, 193], 1, 1, 64],
			[[321], 2, 2, 64],
			[[1, 127, 49], 2, 1, 128],
			[[257, 128], 1, 1, 128],
			[[0, 0, 65, 0], 2, 1, 128],
			[[3], 4, 1, 64],
			[[33, 5], 14, 2, 64],
			[[40], 12, 2, 128],
			[[31], 9, 3, 64],
		] as const)(`stays within twice a plain loop: ${dtype}, lengths %j, %i / %i heads of %i`, (lengths, heads, kvHeads, dim) => {
			const before = visits();
			expectTwicePlain({ lengths, heads, kvHeads, dim, scale: 1 / Math.sqrt(dim) }, dtype);
			expect(visits()).toBeGreaterThan(before);
		});
	}

	it.each([
		["bf16", 64, 193],
		["f16", 128, 130],
	] as const)("gives the same bits with every schedule: %s, heads of %i", (dtype, dim, length) => {
		const s = { lengths: [length, 1, 33], heads: 2, kvHeads: 1, dim, scale: 0.2 };
		const x = inputs(s, dtype);
		const first = run(s, x, dtype);
		expectSame(run(s, x, dtype, undefined, 3), first, "unaligned");
		expectSame(run(s, x, dtype, undefined, 8), first, "in wider rows");
		const { y, lse } = forward(s, x, dtype);
		for (const mode of ["early", "late", "random"] as const) {
			simt?.setAsyncMode(mode);
			for (let seed = 1; seed <= (mode === "random" ? 20 : 5); seed++) {
				simt?.setSeed(seed);
				const again = forward(s, x, dtype);
				expect(bitsEqual(again.y, y) && bitsEqual(again.lse, lse), `${mode}, seed ${seed}`).toBe(true);
			}
		}
	});

	it("gives a sequence the same bits alone and beside others", () => {
		const shape = { heads: 2, kvHeads: 1, dim: 64, scale: 0.3 };
		const lengths = [200, 1, 0, 70];
		const parts = lengths.map((n, i) => inputs({ ...shape, lengths: [n] }, "bf16", 100 * i));
		const join = (name: "q" | "k" | "v" | "dy") => Float32Array.from(parts.flatMap((x) => [...x[name]]));
		const all = forward({ ...shape, lengths }, { q: join("q"), k: join("k"), v: join("v"), dy: join("dy") }, "bf16");
		const start = starts(lengths);
		parts.forEach((x, i) => {
			const alone = forward({ ...shape, lengths: [lengths[i] as number] }, x, "bf16");
			const slice = (of: Float32Array, per: number) => of.slice((start[i] as number) * per, (start[i + 1] as number) * per);
			expect(bitsEqual(slice(all.y, 128), alone.y), `y of sequence ${i}`).toBe(true);
			expect(bitsEqual(slice(all.lse, 2), alone.lse), `lse of sequence ${i}`).toBe(true);
		});
	});

	it.each([64, 128])("gives a sequence the same bits whatever lies behind it: heads of %i", (dim) => {
		// Ends within a tile, within the 32 rows that are copied at once, and at their ends.
		for (const length of [1, 31, 64, 140]) {
			const s = { heads: 1, kvHeads: 1, dim, scale: 0.3, lengths: [length, 40] };
			const x = inputs(s, "bf16");
			const want = forward(s, x, "bf16");
			for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 1e38]) {
				const change = (of: Float32Array) => of.slice().fill(value, length * dim);
				const got = forward(s, { ...x, q: change(x.q), k: change(x.k), v: change(x.v) }, "bf16");
				const own = (of: Float32Array, per: number) => of.slice(0, length * per);
				expect(bitsEqual(own(got.y, dim), own(want.y, dim)), `y of ${length} before ${value}`).toBe(true);
				expect(bitsEqual(own(got.lse, 1), own(want.lse, 1)), `lse of ${length} before ${value}`).toBe(true);
			}
		}
	});

	it("averages whole numbers exactly where all scores are equal", () => {
		const s = { lengths: [256, 4], heads: 1, kvHeads: 1, dim: 128, scale: 1 };
		const v = integers(1, tokensOf(s) * s.dim, 4);
		const x = { ...inputs(s, "f16"), q: new Float32Array(tokensOf(s) * s.dim), v };
		const { y } = forward(s, x, "f16");
		// 1 / n is exact for powers of two only.
		for (const [first, n] of [1, 2, 4, 8, 16, 32, 64, 128, 256].map((n) => [0, n] as const).concat([[256, 4]])) {
			const means = Float32Array.from({ length: s.dim }, (_, c) => {
				let sum = 0;
				for (let j = first; j < first + n; j++) sum += v[j * s.dim + c] as number;
				return sum / n;
			});
			const row = first + n - 1;
			expect([...y.subarray(row * s.dim, (row + 1) * s.dim)], `row ${row}`).toEqual([...rounded(means, "f16")]);
		}
	});

	it("survives scores of any size, and keeps NaN within its sequence", () => {
		const s = { lengths: [70, 5], heads: 1, kvHeads: 1, dim: 64, scale: 1 };
		const x = inputs(s, "bf16");
		const q = rounded(
			x.q.map((a) => a * 1e15),
			"bf16",
		);
		const big = run(s, { ...x, q }, "bf16");
		expect(Object.values(big).every((a) => a.every(Number.isFinite))).toBe(true);
		// Softmax has become the maximum.
		expect(errors(big.y, attention(q, x.k, x.v, s).y).max).toBeLessThan(0.01);
		for (const name of ["k", "v"] as const) {
			const poisoned = x[name].slice();
			poisoned.fill(Number.NaN, 70 * 64, 71 * 64); // the second sequence's first row
			const { y } = forward(s, { ...x, [name]: poisoned }, "bf16");
			expect(y.subarray(0, 70 * 64).every(Number.isFinite), name).toBe(true);
			for (let i = 70; i < 75; i++) expect(y[i * 64]).toBeNaN();
		}
	});

	it.each([
		// Four tiles of keys, for which all slots are used twice; the last has both rows that TMA brings and others.
		[64, [440]],
		[128, [440]],
	] as const)("needs every synchronisation and swizzle: heads of %i", (dim, lengths) => {
		const s = { lengths, heads: 1, kvHeads: 1, dim, scale: 1 / Math.sqrt(dim) };
		const x = inputs(s, "bf16");
		const want = attention(x.q, x.k, x.v, s);
		const first = forward(s, x, "bf16");
		expectTwice(first.lse, want.lse, first.lse, "lse", 2 ** -12);
		expectEverySiteNeeded(
			() => {
				const { y, lse } = forward(s, x, "bf16");
				expect(bitsEqual(y, first.y) && bitsEqual(lse, first.lse), "the same bits").toBe(true);
			},
			{ capability: 90, seeds: 2 },
		);
	});
});
