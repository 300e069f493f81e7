/**
 * Attention of 16-bit activations on the tensor cores of device simt, for each of the tile shapes that GPUs get:
 * sm_75 (f16 only), sm_80 and its like, sm_86 and its like.
 */
import { describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import {
	expectSame,
	expectTwicePlain,
	type Inputs,
	inputs,
	operands,
	type Results,
	rounded,
	run,
	tokensOf,
} from "./attention_cores.js";
import { Pages } from "./pages.js";
import { attention } from "./reference.js";
import { bitsEqual, errors, expectTwice, integers, normal, starts } from "./support.js";

const simt = kernels.simt;
const families = [
	[75, "f16"],
	[80, "bf16"],
	[80, "f16"],
	[86, "bf16"],
] as const;

describe.skipIf(!simt).each(families)("attention on tensor cores, sm_%i, %s", (capability, dtype) => {
	it.each([
		[[129, 1, 0, 64], 2, 1, 64],
		[[1, 127, 49], 2, 1, 128],
		[[47, 130], 1, 1, 80],
		[[0, 0, 65, 96, 0], 2, 1, 96],
		[[3], 4, 1, 64],
		[[33, 5], 14, 2, 64],
		[[40], 12, 2, 128],
		[[31], 9, 3, 64],
		[[17, 2], 8, 8, 16],
		[[50], 2, 1, 72],
		[[37], 2, 2, 20],
	] as const)("stays within twice a plain loop: lengths %j, %i / %i heads of %i", (lengths, heads, kvHeads, dim) => {
		simt?.setCapability(capability);
		const s = { lengths, heads, kvHeads, dim, scale: 1 / Math.sqrt(dim) };
		expectTwicePlain(s, dtype);
	});

	// Heads of 20 are copied into wider ones.
	it.each([64, 20])(
		"gives the same bits wherever rows lie, with every schedule and moment at which copies land: heads of %i",
		(dim) => {
			simt?.setCapability(capability);
			const s = { lengths: dim === 64 ? [70, 1, 33] : [9, 1, 20], heads: 2, kvHeads: 1, dim, scale: 0.2 };
			const x = inputs(s, dtype);
			const first = run(s, x, dtype);
			expectSame(run(s, x, dtype, undefined, 3), first, "unaligned");
			expectSame(run(s, x, dtype, undefined, 8), first, "in wider rows");
			for (const mode of ["early", "late", "random"] as const) {
				simt?.setAsyncMode(mode);
				for (let seed = 1; seed <= 7; seed++) {
					simt?.setSeed(seed);
					expectSame(run(s, x, dtype), first, `${mode}, seed ${seed}`);
				}
			}
		},
	);

	it("gives a sequence the same bits alone and beside others, few or many", () => {
		simt?.setCapability(capability);
		const shape = { heads: 2, kvHeads: 1, dim: 16, scale: 0.3 };
		const lengths = [70, 1, 0, 40];
		const parts = lengths.map((n, i) => inputs({ ...shape, lengths: [n] }, dtype, 100 * i));
		const alone = parts.map((x, i) => run({ ...shape, lengths: [lengths[i] as number] }, x, dtype));
		// More than 128 sequences: blocks look for their tile another way.
		const filler = inputs({ ...shape, lengths: [1] }, dtype, 7);
		for (const more of [0, 130]) {
			const all = [...parts.slice(0, 2), ...Array.from({ length: more }, () => filler), ...parts.slice(2)];
			const join = (name: keyof Inputs) => Float32Array.from(all.flatMap((x) => [...x[name]]));
			const s = { ...shape, lengths: all.map((x) => x.k.length / 16) };
			const out = run(s, { q: join("q"), k: join("k"), v: join("v"), dy: join("dy") }, dtype);
			const start = starts(s.lengths);
			parts.forEach((_, i) => {
				const place = i < 2 ? i : i + more;
				for (const [name, per] of Object.entries({ y: 32, lse: 2, dq: 32, dk: 16, dv: 16 })) {
					const slice = out[name as keyof Results].slice((start[place] as number) * per, (start[place + 1] as number) * per);
					expect(bitsEqual(slice, (alone[i] as Results)[name as keyof Results]), `${name} of sequence ${i}, ${more} more`).toBe(
						true,
					);
				}
			});
		}
	});

	it("gives rows from a multiple of 32 on the same bits whatever the queries before", () => {
		simt?.setCapability(capability);
		// The second scale makes large exponents, which a warp's rows decide about together.
		for (const [dim, scale] of [
			[64, 0.2],
			[128, 500],
		] as const) {
			const s = { lengths: [133, 70], heads: 2, kvHeads: 1, dim, scale };
			const x = inputs(s, dtype);
			const { y } = run(s, x, dtype);
			const q = x.q.map((value, i) => (i < 96 * 2 * dim || (i >= 133 * 2 * dim && i < (133 + 32) * 2 * dim) ? 0 : value));
			const rest = run(s, { ...x, q }, dtype).y;
			for (const [first, last] of [
				[96, 133],
				[133 + 32, 203],
			] as const) {
				const rows = (of: Float32Array) => of.slice(first * 2 * dim, last * 2 * dim);
				expect(bitsEqual(rows(rest), rows(y)), `rows ${first} .. ${last}, scale ${scale}`).toBe(true);
			}
		}
	});

	it("computes no tile of which no row is wanted", () => {
		simt?.setCapability(capability);
		const s = { lengths: [133, 70], heads: 2, kvHeads: 1, dim: 64, scale: 0.2 };
		const x = inputs(s, dtype);
		const { y } = run(s, x, dtype);
		const put = (values: Float32Array, heads: number) => kernels.tensor([203, heads * s.dim], values, { dtype });
		const wanted = kernels.attention(put(x.q, 2), put(x.k, 1), put(x.v, 1), {
			...{ heads: 2, kvHeads: 1, scale: s.scale, compute: dtype },
			cuSeqlens: kernels.tensor([3], starts(s.lengths)),
			wantedFrom: kernels.tensor([2], Int32Array.of(129, 5)),
			y: put(new Float32Array(203 * 128).fill(7), 2),
		}).y;
		const got = wanted.toFloat32Array();
		// Tiles are 64 or 128 queries.
		expect(got.subarray(0, 128 * 128).every((value) => value === 7)).toBe(true);
		for (const [first, last] of [
			[129, 133],
			[133 + 5, 203],
		] as const) {
			const rows = (of: Float32Array) => of.slice(first * 128, last * 128);
			expect(bitsEqual(rows(got), rows(y)), `rows ${first} .. ${last}`).toBe(true);
		}
	});

	it("averages whole numbers exactly where all scores are equal", () => {
		simt?.setCapability(capability);
		const s = { lengths: [128, 4], heads: 2, kvHeads: 1, dim: 16, scale: 1 };
		const v = integers(1, tokensOf(s) * s.dim, 8);
		const { y } = run(s, { ...inputs(s, dtype), q: new Float32Array(tokensOf(s) * 32), v }, dtype);
		const means = new Float32Array(y.length);
		let row = 0;
		for (const length of s.lengths) {
			const first = row;
			for (let i = 0; i < length; i++, row++) {
				for (let c = 0; c < 32; c++) {
					let sum = 0;
					for (let j = first; j <= row; j++) sum += v[j * s.dim + (c % 16)] as number;
					means[row * 32 + c] = sum / (i + 1);
				}
			}
		}
		const exact = rounded(means, dtype);
		// 1 / (i + 1) is exact for powers of two only.
		for (const i of [0, 1, 3, 7, 15, 31, 63, 127, 128, 129, 131]) {
			expect([...y.subarray(i * 32, i * 32 + 32)], `row ${i}`).toEqual([...exact.subarray(i * 32, i * 32 + 32)]);
		}
	});

	it("survives scores of any size, and keeps NaN within its sequence", () => {
		simt?.setCapability(capability);
		const s = { lengths: [70, 5], heads: 1, kvHeads: 1, dim: 8, scale: 1 };
		const x = inputs(s, dtype);
		const factor = dtype === "bf16" ? 1e15 : 2e4;
		const q = rounded(
			x.q.map((a) => a * factor),
			dtype,
		);
		const big = run(s, { ...x, q }, dtype);
		expect(Object.values(big).every((a) => a.every(Number.isFinite))).toBe(true);
		// Softmax has become the maximum.
		expect(errors(big.y, attention(q, x.k, x.v, s).y).max).toBeLessThan(0.01);
		const k = x.k.slice();
		k[70 * 8] = Number.NaN; // the second sequence's first key
		const { y, dq } = run(s, { ...x, k }, dtype);
		for (const a of [y, dq]) {
			expect(a.subarray(0, 70 * 8).every(Number.isFinite)).toBe(true);
			for (let i = 70; i < 75; i++) expect(a[i * 8]).toBeNaN();
		}
	});

	it("takes a negative scale", () => {
		simt?.setCapability(capability);
		expectTwicePlain({ lengths: [20], heads: 2, kvHeads: 1, dim: 16, scale: -0.3 }, dtype);
	});

	it.each([
		[[1, 15, 16, 17, 255], 2, 1, 64],
		[[256, 257, 600], 4, 2, 128],
		[[40], 20, 1, 80],
		[[70], 14, 2, 64],
		[[5, 33], 3, 3, 96],
		[[300], 2, 2, 20],
	] as const)(
		"decodes within twice a plain loop, the same bits alone: lengths %j, %i / %i heads of %i",
		(lengths, heads, kvHeads, dim) => {
			simt?.setCapability(capability);
			const scale = 1 / Math.sqrt(dim);
			const q = lengths.map((_, i) => rounded(normal(i, heads * dim), dtype));
			const caches = lengths.map((n, i) => [10, 50].map((seed) => rounded(normal(seed + i, n * kvHeads * dim), dtype)));
			const decode = (rows: readonly number[], left = 0, pageTokens = 32): Float32Array => {
				kernels.setDevice("simt");
				const pages = new Pages(
					rows.map((i) => lengths[i] as number),
					pageTokens,
					pageTokens,
				);
				const pool = (which: number) => {
					const of = rows.map((i) => caches[i]?.[which] as Float32Array);
					const shape = [pages.rows, kvHeads * dim + left];
					const nan = new Float32Array(pages.rows * (kvHeads * dim + left)).fill(Number.NaN);
					const inner = kernels.tensor(shape, nan, { dtype, guard: true }).columns(left, kvHeads * dim);
					inner.set(pages.lay(of, kvHeads * dim));
					return inner;
				};
				return kernels
					.attentionDecode(
						kernels.tensor([rows.length, heads * dim], Float32Array.from(rows.flatMap((i) => [...(q[i] as Float32Array)])), {
							dtype,
						}),
						pool(0),
						pool(1),
						kernels.tensor([rows.length, pages.maxPages], pages.table, { guard: true }),
						kernels.tensor(
							[rows.length],
							Int32Array.from(rows, (i) => lengths[i] as number),
						),
						{ heads, kvHeads, pageTokens, scale, compute: dtype },
					)
					.toFloat32Array();
			};
			const order = lengths.map((_, i) => i);
			const got = decode(order);
			expect(bitsEqual(decode(order, 3), got), "unaligned").toBe(true);
			expect(bitsEqual(decode(order, 0, 16), got), "pages of 16").toBe(true);
			expect(bitsEqual(decode(order, 0, 256), got), "pages of 256").toBe(true);
			expect(bitsEqual(decode([...order].reverse()).slice(0, heads * dim), got.slice(-heads * dim)), "in another place").toBe(
				true,
			);
			lengths.forEach((n, t) => {
				const [k, v] = caches[t] as [Float32Array, Float32Array];
				const row = got.subarray(t * heads * dim, (t + 1) * heads * dim);
				expect(bitsEqual(decode([t]), row.slice()), `row ${t} alone`).toBe(true);
				const whole = new Float32Array(n * heads * dim);
				whole.set(q[t] as Float32Array, (n - 1) * heads * dim);
				const s = { lengths: [n], heads, kvHeads, dim, scale, lastOnly: true };
				const last = (a: Float64Array) => a.subarray((n - 1) * heads * dim);
				const loop = rounded(Float32Array.from(last(attention(whole, k, v, s, Math.fround, operands[dtype]).y)), dtype);
				expectTwice(row, last(attention(whole, k, v, s).y), loop, `row ${t}`, 2 ** -22);
			});
		},
	);
});
