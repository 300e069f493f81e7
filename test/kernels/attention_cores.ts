/**
 * Attention of 16-bit activations as tests of the tensor core kernels run it, on device simt.
 * @module
 */
import { expect } from "vitest";
import { kernels, type Tensor } from "../../src/engine/kernels.js";
import { type AttentionShape, attention, attentionBackward } from "./reference.js";
import { bf16, bitsEqual, expectTwice, f16, normal, once, starts } from "./support.js";

export type Half = "bf16" | "f16";
export interface Inputs {
	q: Float32Array;
	k: Float32Array;
	v: Float32Array;
	dy: Float32Array;
}
type Name = "y" | "lse" | "dq" | "dk" | "dv";
export type Results = Record<Name, Float32Array>;

export const tokensOf = (s: AttentionShape): number => s.lengths.reduce((a, b) => a + b, 0);
/** What tensor cores do to the operands that the op computes itself. */
export const operands = { bf16, f16 };

export const rounded = (values: Float32Array, dtype: Half): Float32Array => values.map(operands[dtype]);

export function inputs(s: AttentionShape, dtype: Half, seed = 1): Inputs {
	const make = (i: number, heads: number) => rounded(normal(seed + i, tokensOf(s) * heads * s.dim), dtype);
	return { q: make(0, s.heads), k: make(1, s.kvHeads), v: make(2, s.kvHeads), dy: make(3, s.heads) };
}

/** Forward and backward on the tensor cores; `kept` is what the backward pass is given instead of the forward's own. */
export function run(s: AttentionShape, x: Inputs, dtype: Half, kept?: { y: Float32Array; lse: Float32Array }, left = 0): Results {
	kernels.setDevice("simt");
	const tokens = tokensOf(s);
	// Within wider rows, `left` columns from their start: aligned for multiples of 8 only.
	const put = (heads: number, values?: Float32Array): Tensor => {
		const [cols, width] = [heads * s.dim, heads * s.dim + left];
		if (left === 0) return kernels.tensor([tokens, cols], values, { dtype, guard: true });
		const outer = kernels.tensor([tokens, width], new Float32Array(tokens * width).fill(Number.NaN), {
			dtype,
			guard: true,
		});
		const inner = outer.columns(left, cols);
		inner.set(values ?? new Float32Array(tokens * cols));
		return inner;
	};
	const [q, k, v, dy] = [put(s.heads, x.q), put(s.kvHeads, x.k), put(s.kvHeads, x.v), put(s.heads, x.dy)];
	const cuSeqlens = kernels.tensor([s.lengths.length + 1], starts(s.lengths));
	const options = { cuSeqlens, heads: s.heads, kvHeads: s.kvHeads, scale: s.scale, compute: dtype };
	const forward = kernels.attention(q, k, v, { ...options, y: put(s.heads) });
	const given = kept ? { y: put(s.heads, kept.y), lse: kernels.tensor([tokens, s.heads], kept.lse) } : forward;
	const out = { dq: put(s.heads), dk: put(s.kvHeads), dv: put(s.kvHeads) };
	kernels.attentionBackward(q, k, v, given, dy, { ...options, ...out });
	return Object.fromEntries(Object.entries({ ...forward, ...out }).map(([name, t]) => [name, t.toFloat32Array()])) as Results;
}

export function expectSame(a: Results, b: Results, what: string): void {
	for (const name of Object.keys(a) as Name[]) expect(bitsEqual(a[name], b[name]), `${what}: ${name}`).toBe(true);
}

export function expectTwicePlain(s: AttentionShape, dtype: Half, left = 0): void {
	const x = inputs(s, dtype);
	const { want, loop, kept, back, backLoop } = once([s, dtype], () => {
		const want = attention(x.q, x.k, x.v, s);
		const kept = { y: rounded(Float32Array.from(want.y), dtype), lse: Float32Array.from(want.lse) };
		return {
			want,
			kept,
			loop: attention(x.q, x.k, x.v, s, Math.fround, operands[dtype]),
			back: attentionBackward(x.q, x.k, x.v, kept.y, kept.lse, x.dy, s),
			backLoop: attentionBackward(x.q, x.k, x.v, kept.y, kept.lse, x.dy, s, Math.fround, operands[dtype]),
		};
	});
	const got = run(s, x, dtype, kept, left);
	const store = (values: Float64Array) => rounded(Float32Array.from(values), dtype);
	expectTwice(got.y, want.y, store(loop.y), "y", 2 ** -22);
	expectTwice(got.lse, want.lse, loop.lse, "lse", 2 ** -22);
	for (const name of ["dq", "dk", "dv"] as const) expectTwice(got[name], back[name], store(backLoop[name]), name, 2 ** -21);
}
