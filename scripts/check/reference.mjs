/**
 * The ops as their headers write them, in plain loops on plain arrays. `r` rounds after every operation: identity gives
 * the double reference, Math.fround the plain f32 loop that a kernel is held against; `operand` rounds what goes into a
 * product.
 *
 * Sizes are numbers; arrays are row-major, of any kind that has a length.
 * @typedef {Float32Array | Float64Array | Int32Array | readonly number[]} Numbers
 * @typedef {(x: number) => number} Round
 * @typedef {{lengths: readonly number[], heads: number, kvHeads: number, dim: number, scale: number, lastOnly?: boolean}}
 *   AttentionShape lastOnly: only the last row of each sequence
 */

/** @type {Round} */
export const exact = (x) => x;

export function rmsnorm(x, w, eps, rows, cols, r = exact) {
	const y = new Float64Array(rows * cols);
	const rstd = new Float64Array(rows);
	for (let t = 0; t < rows; t++) {
		let sum = 0;
		for (let j = 0; j < cols; j++) sum = r(sum + r(x[t * cols + j] ** 2));
		rstd[t] = r(1 / r(Math.sqrt(r(r(sum / cols) + eps))));
		for (let j = 0; j < cols; j++) y[t * cols + j] = r(r(x[t * cols + j] * rstd[t]) * w[j]);
	}
	return { y, rstd };
}

export function rmsnormBackward(dy, x, w, rstd, rows, cols, r = exact) {
	const dx = new Float64Array(rows * cols);
	const dw = new Float64Array(cols);
	for (let t = 0; t < rows; t++) {
		const n = (j) => r(x[t * cols + j] * rstd[t]);
		const g = (j) => r(dy[t * cols + j] * w[j]);
		let sum = 0;
		for (let j = 0; j < cols; j++) sum = r(sum + r(g(j) * n(j)));
		const mean = r(sum / cols);
		for (let j = 0; j < cols; j++) {
			dx[t * cols + j] = r(rstd[t] * r(g(j) - r(n(j) * mean)));
			dw[j] = r(dw[j] + r(dy[t * cols + j] * n(j)));
		}
	}
	return { dx, dw };
}

const sigmoid = (x, r) => r(1 / r(1 + r(Math.exp(-x))));

export function swiglu(gate, up, r = exact) {
	return Float64Array.from(gate, (a, i) => r(r(a * sigmoid(a, r)) * up[i]));
}

export function swigluBackward(gate, up, dh, r = exact) {
	const dgate = new Float64Array(gate.length);
	const dup = new Float64Array(gate.length);
	for (let i = 0; i < gate.length; i++) {
		const a = gate[i];
		const s = sigmoid(a, r);
		dup[i] = r(dh[i] * r(a * s));
		dgate[i] = r(r(dh[i] * up[i]) * r(s * r(1 + r(a * r(1 - s)))));
	}
	return { dgate, dup };
}

/** Packed causal attention by whole rows of scores. */
export function attention(q, k, v, s, r = exact) {
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
			for (let j = 0; j <= i; j++) total = r(total + r(p[j] * v[((start + j) * s.kvHeads + g) * s.dim + c]));
			y[((start + i) * s.heads + h) * s.dim + c] = r(total / sum);
		}
	});
	return { y, lse };
}

export function attentionBackward(q, k, v, y, lse, dy, s, r = exact) {
	const dq = new Float64Array(q.length);
	const dk = new Float64Array(k.length);
	const dv = new Float64Array(v.length);
	forEachRow(s, (start, i, h, g) => {
		const row = ((start + i) * s.heads + h) * s.dim;
		let delta = 0;
		for (let c = 0; c < s.dim; c++) delta = r(delta + r(dy[row + c] * y[row + c]));
		for (let j = 0; j <= i; j++) {
			const key = ((start + j) * s.kvHeads + g) * s.dim;
			const score = r(s.scale * product(q, start + i, h, s.heads, k, start + j, g, s, r));
			const p = r(Math.exp(r(score - lse[(start + i) * s.heads + h])));
			const ds = r(p * r(product(dy, start + i, h, s.heads, v, start + j, g, s, r) - delta));
			for (let c = 0; c < s.dim; c++) {
				dv[key + c] = r(dv[key + c] + r(p * dy[row + c]));
				dk[key + c] = r(dk[key + c] + r(r(s.scale * ds) * q[row + c]));
				dq[row + c] = r(dq[row + c] + r(r(s.scale * ds) * k[key + c]));
			}
		}
	});
	return { dq, dk, dv };
}

/** fn(start of the sequence, row in it, query head, key/value head) */
function forEachRow(s, fn) {
	let start = 0;
	for (const length of s.lengths) {
		for (let i = s.lastOnly ? Math.max(0, length - 1) : 0; i < length; i++) {
			for (let h = 0; h < s.heads; h++) fn(start, i, h, Math.floor(h / (s.heads / s.kvHeads)));
		}
		start += length;
	}
}

function product(a, i, h, heads, b, j, g, s, r) {
	let sum = 0;
	for (let c = 0; c < s.dim; c++) sum = r(sum + r(a[(i * heads + h) * s.dim + c] * b[(j * s.kvHeads + g) * s.dim + c]));
	return sum;
}

/** a [m, k] b^T [n, k] (+ c). */
export function multiplyTransposed(a, b, m, n, k, r = exact) {
	const y = new Float64Array(m * n);
	for (let i = 0; i < m; i++) {
		for (let j = 0; j < n; j++) {
			let sum = 0;
			for (let c = 0; c < k; c++) sum = r(sum + r(a[i * k + c] * b[j * k + c]));
			y[i * n + j] = sum;
		}
	}
	return y;
}

export function transpose(a, rows, cols) {
	const t = new Float64Array(rows * cols);
	for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) t[j * rows + i] = a[i * cols + j];
	return t;
}

/** a [m, k] b [k, n]. */
export const multiply = (a, b, m, n, k, r = exact) => multiplyTransposed(a, transpose(b, k, n), m, n, k, r);

export const add = (a, b, factor = 1, r = exact) => Float64Array.from(a, (x, i) => r(x + r(factor * b[i])));

const dense = (values, operand) => Float64Array.from(values, operand);

/** Every element times s. */
const times = (values, s, r) => values.map((x) => r(s * x));

/**
 * x W^T + bias + sum of s_i (x A_i^T) B_i^T, and its gradients; da and db of the last adapter, dweight as if the weight were trained.
 * @param {{rows: number, inputs: number, outputs: number, ranks: readonly number[], scales: readonly number[]}} c
 * @param {{x: Numbers, w: Numbers, bias: Numbers, dy: Numbers, a: Numbers[], b: Numbers[]}} v
 */
export function linear(c, v, r = exact, operand = exact) {
	const { rows, inputs, outputs } = c;
	const [x, w, dy] = [v.x, v.w, v.dy].map((values) => dense(values, operand));
	let y = multiplyTransposed(x, w, rows, outputs, inputs, r).map((s, i) => r(s + v.bias[i % outputs]));
	let dx = multiply(dy, w, rows, inputs, outputs, r);
	let [u, da, db] = [0, 0, 0].map((n) => new Float64Array(n));
	c.ranks.forEach((rank, i) => {
		const [a, b, s] = [dense(v.a[i], operand), dense(v.b[i], operand), c.scales[i]];
		u = multiplyTransposed(x, a, rows, rank, inputs, r);
		const su = dense(times(u, s, r), operand);
		y = add(y, multiplyTransposed(su, b, rows, outputs, rank, r), 1, r);
		const du = dense(times(multiply(dy, b, rows, rank, outputs, r), s, r), operand);
		dx = add(dx, multiply(du, a, rows, inputs, rank, r), 1, r);
		da = multiply(transpose(du, rows, rank), x, rank, inputs, rows, r);
		db = multiply(transpose(dy, rows, outputs), su, outputs, rank, rows, r);
	});
	const dweight = multiply(transpose(dy, rows, outputs), x, outputs, inputs, rows, r);
	return { y, u, dx, da, db, dweight };
}

/** Log-probabilities of targets under softmax(h W^T), entropies, and the gradients for weights dL/dlogprob. */
export function linearLogprob(h, w, targets, weights, width, vocab, r = exact, operand = exact) {
	const rows = targets.length;
	const [hidden, weight] = [dense(h, operand), dense(w, operand)];
	const logits = multiplyTransposed(hidden, weight, rows, vocab, width, r);
	const logprob = new Float64Array(rows);
	const entropy = new Float64Array(rows);
	const dz = new Float64Array(rows * vocab);
	for (let t = 0; t < rows; t++) {
		const z = logits.subarray(t * vocab, (t + 1) * vocab);
		const max = z.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
		const sum = z.reduce((s, x) => r(s + r(Math.exp(r(x - max)))), 0);
		const lse = r(max + r(Math.log(sum)));
		logprob[t] = r(z[targets[t]] - lse);
		let mean = 0;
		z.forEach((x, v) => {
			const p = r(Math.exp(r(x - lse)));
			mean = r(mean + r(p * x));
			dz[t * vocab + v] = operand(r(weights[t] * r((v === targets[t] ? 1 : 0) - p)));
		});
		entropy[t] = r(lse - mean);
	}
	const dhidden = multiply(dz, weight, rows, width, vocab, r);
	const dweight = multiply(transpose(dz, rows, vocab), hidden, vocab, width, rows, r);
	return { logits, logprob, entropy, dhidden, dweight };
}

/** Heads of K columns turned by their positions; tables [positions, K/2]. */
export function rope(x, positions, cos, sin, heads, dim, inverse, r = exact) {
	const half = dim / 2;
	return Float64Array.from(x, (value, i) => {
		const [t, j] = [Math.floor(i / (heads * dim)), i % dim];
		const k = positions[t] * half + (j % half);
		const other = x[j < half ? i + half : i - half];
		const sign = (j < half ? -1 : 1) * (inverse ? -1 : 1);
		return r(r(value * cos[k]) + r(sign * r(other * sin[k])));
	});
}

/** One step of AdamW in torch's order. */
export function adamw(p, g, m, v, o, r = exact) {
	const out = { p: new Float64Array(p.length), m: new Float64Array(p.length), v: new Float64Array(p.length) };
	for (let i = 0; i < p.length; i++) {
		const grad = r(o.gradScale * g[i]);
		out.m[i] = r(r(o.beta1 * m[i]) + r((1 - o.beta1) * grad));
		out.v[i] = r(r(o.beta2 * v[i]) + r((1 - o.beta2) * r(grad * grad)));
		const unit = r(r(Math.sqrt(r(out.v[i] / (1 - o.beta2 ** o.step)))) + o.eps);
		out.p[i] = r(r(p[i] * r(1 - o.lr * o.weightDecay)) - r(o.lr * r(r(out.m[i] / (1 - o.beta1 ** o.step)) / unit)));
	}
	return out;
}
