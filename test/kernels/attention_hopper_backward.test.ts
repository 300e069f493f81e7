/**
 * Attention's backward pass on the warpgroups of an sm_90, which device simt executes: against plain loops, exactly on
 * whole numbers, with every schedule, beside NaN, and every synchronisation and swizzle needed.
 * @module
 */
import { describe, expect, it } from "vitest";
import { attentionBackward, attentionBackwardHopper } from "../../src/bench/ops/attention.js";
import { kernels } from "../../src/engine/kernels.js";
import { expectEverySiteNeeded } from "../simt/sites.js";
import { expectTwicePlain, type Half, type Inputs, inputs, type Results, rounded, run, tokensOf } from "./attention_cores.js";
import type { AttentionShape } from "./reference.js";
import { bitsEqual, integers, starts } from "./support.js";
import { expectMeasuredBeside, expectServesHeads, useWarpgroups, visitsOf } from "./warpgroups.js";

const simt = kernels.simt;
const file = "attention_pairs.cuh";
const gradients = ["dq", "dk", "dv"] as const;
type Gradients = Pick<Results, (typeof gradients)[number]>;

/** How often threads have come to a site of the backward pass on warpgroups. */
const visits = (): number => visitsOf(file);

function expectSame(a: Gradients, b: Gradients, what: string): void {
	for (const name of gradients) expect(bitsEqual(a[name], b[name]), `${what}: ${name}`).toBe(true);
}

/** The backward pass alone, as often as it is called. */
function backward(s: AttentionShape, x: Inputs, dtype: Half): () => Gradients {
	kernels.setDevice("simt");
	const put = (heads: number, values?: Float32Array) => kernels.tensor([tokensOf(s), heads * s.dim], values, { dtype });
	const [q, k, v, dy] = [put(s.heads, x.q), put(s.kvHeads, x.k), put(s.kvHeads, x.v), put(s.heads, x.dy)];
	const cuSeqlens = kernels.tensor([s.lengths.length + 1], starts(s.lengths));
	const options = { cuSeqlens, heads: s.heads, kvHeads: s.kvHeads, scale: s.scale, compute: dtype };
	const forward = kernels.attention(q, k, v, options);
	return () => {
		const { dq, dk, dv } = kernels.attentionBackward(q, k, v, forward, dy, options);
		return { dq: dq.toFloat32Array(), dk: dk.toFloat32Array(), dv: dv.toFloat32Array() };
	};
}

/** dq, dk and dv where every key that a query sees has weight 1 and y is 0: sums of whole numbers. */
function sums(s: AttentionShape, x: Inputs): Record<(typeof gradients)[number], Float64Array> {
	const { heads, kvHeads, dim, scale } = s;
	const [dq, dk, dv] = [x.q, x.k, x.v].map(({ length }) => new Float64Array(length)) as [
		Float64Array,
		Float64Array,
		Float64Array,
	];
	const start = starts(s.lengths);
	s.lengths.forEach((length, n) => {
		for (let h = 0; h < heads; h++) {
			const row = (i: number) => (((start[n] as number) + i) * heads + h) * dim;
			const keyRow = (j: number) => (((start[n] as number) + j) * kvHeads + Math.floor((h * kvHeads) / heads)) * dim;
			for (let i = 0; i < length; i++) {
				for (let j = 0; j <= i; j++) {
					const [query, key] = [row(i), keyRow(j)];
					let ds = 0;
					for (let c = 0; c < dim; c++) ds += (x.dy[query + c] as number) * (x.v[key + c] as number);
					for (let c = 0; c < dim; c++) {
						dq[query + c] = (dq[query + c] as number) + scale * ds * (x.k[key + c] as number);
						dk[key + c] = (dk[key + c] as number) + scale * ds * (x.q[query + c] as number);
						dv[key + c] = (dv[key + c] as number) + (x.dy[query + c] as number);
					}
				}
			}
		}
	});
	return { dq, dk, dv };
}

describe.skipIf(!simt)("attention's backward pass on warpgroups", () => {
	useWarpgroups();

	it("serves heads of 64 and 128 on an sm_90, when asked for", () => {
		expectServesHeads(file, (dim) => {
			const s = { lengths: [5], heads: 1, kvHeads: 1, dim, scale: 1 };
			backward(s, inputs(s, "bf16"), "bf16")();
		});
	});

	it("is measured beside the kernels that it replaces, on a device that has it", () => {
		expectMeasuredBeside(file, [[attentionBackward, attentionBackwardHopper]], { T: 3, S: 2, H: 1, G: 1, K: 64 });
	});

	// attention_hopper.test.ts has more of them, for both directions.
	it.each([
		["bf16", [63, 64, 65], 1, 1, 64, 0.125],
		["f16", [127, 128, 67], 2, 1, 64, 0.125],
		["bf16", [192, 1, 193], 1, 1, 64, 0.125],
		["f16", [63, 65, 1], 2, 2, 128, 0.1],
		["bf16", [191, 0, 2], 1, 1, 128, 0.1],
		["bf16", [259], 3, 1, 64, 0.125],
		["f16", [129, 61], 6, 2, 128, 0.1],
		["bf16", Array.from({ length: 60 }, (_, i) => (i * 5) % 7), 2, 1, 64, 0.125],
		["f16", Array.from({ length: 140 }, (_, i) => 1 + (i % 2)), 2, 1, 128, 0.1],
		["bf16", [70], 2, 1, 64, -0.3],
		["f16", [40, 30], 2, 1, 128, 0],
	] as const)("stays within twice a plain loop: %s, lengths %j, %i / %i heads of %i, scale %f", (...of) => {
		const [dtype, lengths, heads, kvHeads, dim, scale] = of;
		const before = visits();
		expectTwicePlain({ lengths, heads, kvHeads, dim, scale }, dtype);
		expect(visits()).toBeGreaterThan(before);
	});

	it.each([
		["bf16", [1, 2, 63, 64, 65], 2, 1, 64],
		["f16", [127, 128, 129], 2, 2, 64],
		["bf16", [191, 192, 193], 1, 1, 64],
		["f16", [257], 3, 1, 64],
		["f16", [1, 2, 63, 64, 65], 2, 1, 128],
		["bf16", [127, 128, 129], 2, 2, 128],
		["bf16", [131, 0, 257], 3, 1, 128],
	] as const)("adds whole numbers exactly: %s, lengths %j, %i / %i heads of %i", (dtype, lengths, heads, kvHeads, dim) => {
		const s = { lengths, heads, kvHeads, dim, scale: 0.5 };
		const tokens = tokensOf(s);
		const make = (seed: number, of: number) => integers(seed, tokens * of * dim, 1);
		const x = { q: make(1, heads), k: make(2, kvHeads), v: make(3, kvHeads), dy: make(4, heads) };
		// Rounding must not lift a weight above 1: with an lse that is too small all are 1.
		const kept = { y: new Float32Array(tokens * heads * dim), lse: new Float32Array(tokens * heads).fill(-1000) };
		const [got, want] = [run(s, x, dtype, kept), sums(s, x)];
		for (const name of gradients) {
			expect(
				bitsEqual(
					got[name],
					rounded(Float32Array.from(want[name]), dtype).map((a) => a + 0),
				),
				name,
			).toBe(true);
		}
	});

	it.each([
		["bf16", 64, 193],
		["f16", 128, 130],
	] as const)("gives the same bits with every schedule: %s, heads of %i", (dtype, dim, length) => {
		const s = { lengths: [length, 1, 33], heads: 2, kvHeads: 1, dim, scale: 0.2 };
		const x = inputs(s, dtype);
		const again = backward(s, x, dtype);
		const first = again();
		expectSame(run(s, x, dtype, undefined, 3), first, "unaligned");
		expectSame(run(s, x, dtype, undefined, 8), first, "in wider rows");
		for (const mode of ["early", "late", "random"] as const) {
			simt?.setAsyncMode(mode);
			for (let seed = 1; seed <= 20; seed++) {
				simt?.setSeed(seed);
				expectSame(again(), first, `${mode}, seed ${seed}`);
			}
		}
	});

	it("gives a sequence the same bits alone and beside others", () => {
		const shape = { heads: 2, kvHeads: 1, dim: 64, scale: 0.3 };
		const lengths = [200, 1, 0, 70];
		const parts = lengths.map((n, i) => inputs({ ...shape, lengths: [n] }, "bf16", 100 * i));
		const join = (name: keyof Inputs) => Float32Array.from(parts.flatMap((x) => [...x[name]]));
		const all = backward({ ...shape, lengths }, { q: join("q"), k: join("k"), v: join("v"), dy: join("dy") }, "bf16")();
		const start = starts(lengths);
		parts.forEach((x, i) => {
			const alone = backward({ ...shape, lengths: [lengths[i] as number] }, x, "bf16")();
			for (const [name, per] of [
				["dq", 128],
				["dk", 64],
				["dv", 64],
			] as const) {
				const slice = all[name].slice((start[i] as number) * per, (start[i + 1] as number) * per);
				expect(bitsEqual(slice, alone[name]), `${name} of sequence ${i}`).toBe(true);
			}
		});
	});

	it.each([64, 128])("keeps NaN within its sequence: heads of %i", (dim) => {
		const s = { lengths: [70, 65, 5], heads: 1, kvHeads: 1, dim, scale: 1 };
		const x = inputs(s, "bf16");
		const first = backward(s, x, "bf16")();
		for (const name of ["q", "k", "v", "dy"] as const) {
			const poisoned = x[name].slice();
			poisoned.fill(Number.NaN, 70 * dim, 135 * dim); // the second sequence
			const got = backward(s, { ...x, [name]: poisoned }, "bf16")();
			for (const gradient of gradients) {
				for (const [from, to] of [
					[0, 70],
					[135, 140],
				] as const) {
					const rows = (of: Float32Array) => of.slice(from * dim, to * dim);
					expect(bitsEqual(rows(got[gradient]), rows(first[gradient])), `${name}: ${gradient} from ${from}`).toBe(true);
				}
			}
			expect(got.dq[70 * dim]).toBeNaN();
		}
	});

	it("survives scores of any size", () => {
		const s = { lengths: [70, 5], heads: 1, kvHeads: 1, dim: 64, scale: 1 };
		const x = inputs(s, "bf16");
		const q = rounded(
			x.q.map((a) => a * 1e15),
			"bf16",
		);
		const big = backward(s, { ...x, q }, "bf16")();
		expect(Object.values(big).every((a) => a.every(Number.isFinite))).toBe(true);
	});

	it.each([
		[64, [330]],
		[128, [260]],
	] as const)("needs every synchronisation and swizzle: heads of %i", (dim, lengths) => {
		const s = { lengths, heads: 2, kvHeads: 1, dim, scale: 1 / Math.sqrt(dim) };
		const again = backward(s, inputs(s, "bf16"), "bf16");
		const first = again();
		expectEverySiteNeeded(() => expectSame(again(), first, "the same bits"), { capability: 90, seeds: 2 });
	});
});
