/**
 * The ops as their headers write them, in plain loops. `r` rounds after every operation: identity gives the double
 * reference, Math.fround the plain f32 loop that a kernel is held against.
 * @module
 */
import { expectClose, type Numbers, numericGradient } from "./support.js";

export type Round = (x: number) => number;
export const exact: Round = (x) => x;

const at = (a: Numbers, i: number): number => a[i] as number;

export function rmsnorm(x: Numbers, w: Numbers, eps: number, rows: number, cols: number, r: Round = exact) {
	const y = new Float64Array(rows * cols);
	const rstd = new Float64Array(rows);
	for (let t = 0; t < rows; t++) {
		let sum = 0;
		for (let j = 0; j < cols; j++) sum = r(sum + r(at(x, t * cols + j) ** 2));
		rstd[t] = r(1 / r(Math.sqrt(r(r(sum / cols) + eps))));
		for (let j = 0; j < cols; j++) y[t * cols + j] = r(r(at(x, t * cols + j) * at(rstd, t)) * at(w, j));
	}
	return { y, rstd };
}

export function rmsnormBackward(
	dy: Numbers,
	x: Numbers,
	w: Numbers,
	rstd: Numbers,
	rows: number,
	cols: number,
	r: Round = exact,
) {
	const dx = new Float64Array(rows * cols);
	const dw = new Float64Array(cols);
	for (let t = 0; t < rows; t++) {
		const n = (j: number) => r(at(x, t * cols + j) * at(rstd, t));
		const g = (j: number) => r(at(dy, t * cols + j) * at(w, j));
		let sum = 0;
		for (let j = 0; j < cols; j++) sum = r(sum + r(g(j) * n(j)));
		const mean = r(sum / cols);
		for (let j = 0; j < cols; j++) {
			dx[t * cols + j] = r(at(rstd, t) * r(g(j) - r(n(j) * mean)));
			dw[j] = r(at(dw, j) + r(at(dy, t * cols + j) * n(j)));
		}
	}
	return { dx, dw };
}

const sigmoid = (x: number, r: Round): number => r(1 / r(1 + r(Math.exp(-x))));

export function swiglu(gate: Numbers, up: Numbers, r: Round = exact): Float64Array {
	return Float64Array.from(gate, (a, i) => r(r(a * sigmoid(a, r)) * at(up, i)));
}

export function swigluBackward(gate: Numbers, up: Numbers, dh: Numbers, r: Round = exact) {
	const dgate = new Float64Array(gate.length);
	const dup = new Float64Array(gate.length);
	for (let i = 0; i < gate.length; i++) {
		const a = at(gate, i);
		const s = sigmoid(a, r);
		dup[i] = r(at(dh, i) * r(a * s));
		dgate[i] = r(r(at(dh, i) * at(up, i)) * r(s * r(1 + r(a * r(1 - s)))));
	}
	return { dgate, dup };
}

export interface AttentionShape {
	lengths: readonly number[];
	heads: number;
	kvHeads: number;
	dim: number;
	scale: number;
	/** Only the last row of each sequence. */
	lastOnly?: boolean;
}

/** Packed causal attention by whole rows of scores. */
export function attention(q: Numbers, k: Numbers, v: Numbers, s: AttentionShape, r: Round = exact) {
	const tokens = s.lengths.reduce((a, b) => a + b, 0);
	const y = new Float64Array(tokens * s.heads * s.dim);
	const lse = new Float64Array(tokens * s.heads);
	forEachRow(s, (start, i, h, g) => {
		const scores = Array.from({ length: i + 1 }, (_, j) => r(s.scale * product(q, start + i, h, s.heads, k, start + j, g, s, r)));
		const max = Math.max(...scores);
		const p = scores.map((x) => r(Math.exp(r(x - max))));
		const sum = p.reduce((a, b) => r(a + b), 0);
		lse[(start + i) * s.heads + h] = r(max + r(Math.log(sum)));
		for (let c = 0; c < s.dim; c++) {
			let total = 0;
			for (let j = 0; j <= i; j++) total = r(total + r(at(p, j) * at(v, ((start + j) * s.kvHeads + g) * s.dim + c)));
			y[((start + i) * s.heads + h) * s.dim + c] = r(total / sum);
		}
	});
	return { y, lse };
}

export function attentionBackward(
	q: Numbers,
	k: Numbers,
	v: Numbers,
	y: Numbers,
	lse: Numbers,
	dy: Numbers,
	s: AttentionShape,
	r: Round = exact,
) {
	const dq = new Float64Array(q.length);
	const dk = new Float64Array(k.length);
	const dv = new Float64Array(v.length);
	forEachRow(s, (start, i, h, g) => {
		const row = ((start + i) * s.heads + h) * s.dim;
		let delta = 0;
		for (let c = 0; c < s.dim; c++) delta = r(delta + r(at(dy, row + c) * at(y, row + c)));
		for (let j = 0; j <= i; j++) {
			const key = ((start + j) * s.kvHeads + g) * s.dim;
			const score = r(s.scale * product(q, start + i, h, s.heads, k, start + j, g, s, r));
			const p = r(Math.exp(r(score - at(lse, (start + i) * s.heads + h))));
			const ds = r(p * r(product(dy, start + i, h, s.heads, v, start + j, g, s, r) - delta));
			for (let c = 0; c < s.dim; c++) {
				dv[key + c] = r(at(dv, key + c) + r(p * at(dy, row + c)));
				dk[key + c] = r(at(dk, key + c) + r(r(s.scale * ds) * at(q, row + c)));
				dq[row + c] = r(at(dq, row + c) + r(r(s.scale * ds) * at(k, key + c)));
			}
		}
	});
	return { dq, dk, dv };
}

function forEachRow(s: AttentionShape, fn: (start: number, i: number, h: number, g: number) => void): void {
	let start = 0;
	for (const length of s.lengths) {
		for (let i = s.lastOnly ? Math.max(0, length - 1) : 0; i < length; i++) {
			for (let h = 0; h < s.heads; h++) fn(start, i, h, Math.floor(h / (s.heads / s.kvHeads)));
		}
		start += length;
	}
}

function product(a: Numbers, i: number, h: number, heads: number, b: Numbers, j: number, g: number, s: AttentionShape, r: Round) {
	let sum = 0;
	for (let c = 0; c < s.dim; c++) sum = r(sum + r(at(a, (i * heads + h) * s.dim + c) * at(b, (j * s.kvHeads + g) * s.dim + c)));
	return sum;
}

/** a [m, k] b^T [n, k] (+ c). */
export function multiplyTransposed(a: Numbers, b: Numbers, m: number, n: number, k: number, r: Round = exact): Float64Array {
	const y = new Float64Array(m * n);
	for (let i = 0; i < m; i++) {
		for (let j = 0; j < n; j++) {
			let sum = 0;
			for (let c = 0; c < k; c++) sum = r(sum + r(at(a, i * k + c) * at(b, j * k + c)));
			y[i * n + j] = sum;
		}
	}
	return y;
}

export function transpose(a: Numbers, rows: number, cols: number): Float64Array {
	const t = new Float64Array(rows * cols);
	for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) t[j * rows + i] = at(a, i * cols + j);
	return t;
}

/** a [m, k] b [k, n]. */
export const multiply = (a: Numbers, b: Numbers, m: number, n: number, k: number, r: Round = exact): Float64Array =>
	multiplyTransposed(a, transpose(b, k, n), m, n, k, r);

export const add = (a: Numbers, b: Numbers, factor = 1, r: Round = exact): Float64Array =>
	Float64Array.from(a, (x, i) => r(x + r(factor * at(b, i))));

/** A reference's own gradient against central differences of its value. */
export const expectGradient = (found: Numbers, value: (x: Float64Array) => number, at: Numbers, what: string): void =>
	expectClose(found, numericGradient(value, at), 1e-8, what);
