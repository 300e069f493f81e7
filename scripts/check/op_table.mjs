/**
 * Every op as a check sees it: shapes, inputs, the calls on a device, and the same in plain loops.
 *
 * `run` gives named results as arrays; `plain` the same from loops that round with r, operands of products with `operand`
 * and what is stored on the way with `store`. `results` says in which type each is stored ("act": that of the
 * activations) and how much wider its slack is. `hopper`: devices with warpgroups have the op once more, on these.
 */
import { besideRun, linearInputs, linearPlain, linearRun } from "./linears.mjs";
import { pagesOf, pageTokens } from "./pages.mjs";
import * as plain from "./reference.mjs";

/** Starts of packed sequences. */
function starts(lengths) {
	const all = [0];
	for (const n of lengths) all.push(all.at(-1) + n);
	return all;
}
const sum = (values) => values.reduce((a, b) => a + b, 0);
const floats = (t) => t.toFloat32Array();

/** Small shapes, the cheapest first: 1, primes, tile sizes and their neighbours, empty and one-token sequences, no multiple of 8. */
const rowShapes = [
	{ rows: 1, cols: 1 },
	{ rows: 7, cols: 33 },
	{ rows: 64, cols: 129 },
	{ rows: 67, cols: 896 },
];
const attentionShapes = [
	{ lengths: [61, 3], heads: 2, kvHeads: 2, dim: 16 },
	{ lengths: [0, 1, 0, 2, 7], heads: 6, kvHeads: 2, dim: 128 },
	{ lengths: [63, 64, 65], heads: 2, kvHeads: 1, dim: 64 },
	{ lengths: [130], heads: 3, kvHeads: 3, dim: 80 },
	{ lengths: [1, 129, 0], heads: 7, kvHeads: 1, dim: 96 },
];
const linearShapes = [
	{ rows: 1, inputs: 1, outputs: 1, ranks: [1] },
	{ rows: 7, inputs: 33, outputs: 17, ranks: [] },
	{ rows: 64, inputs: 64, outputs: 65, ranks: [8] },
	{ rows: 65, inputs: 97, outputs: 31, ranks: [3, 16] },
	{ rows: 13, inputs: 129, outputs: 130, ranks: [4, 1, 7] },
];
const headShapes = [
	{ rows: 1, width: 1, vocab: 1 },
	{ rows: 7, width: 33, vocab: 100 },
	{ rows: 65, width: 64, vocab: 513 },
	{ rows: 3, width: 17, vocab: 1031 },
];
/** Sizes of real models, too large for plain loops: compared with the CPU's own kernels. */
const realRows = [{ rows: 515, cols: 1536 }];
const realAttention = [
	{ lengths: [1025, 1, 700], heads: 12, kvHeads: 2, dim: 128 },
	{ lengths: [513], heads: 14, kvHeads: 2, dim: 64 },
];
const realLinear = [
	{ rows: 517, inputs: 1536, outputs: 1536, ranks: [128] },
	{ rows: 130, inputs: 896, outputs: 4864, ranks: [16, 16] },
	{ rows: 257, inputs: 4864, outputs: 896, ranks: [] },
];
const realHead = [{ rows: 300, width: 896, vocab: 20011 }];

const attentionInputs = (s, draw) => {
	const tokens = sum(s.lengths);
	const [q, k, v, dy] = [s.heads, s.kvHeads, s.kvHeads, s.heads].map((h) => draw.values(tokens * h * s.dim));
	return { q, k, v, dy };
};

function attentionRun(door, s, x, backward) {
	const tokens = sum(s.lengths);
	const put = (values, heads) => door.act([tokens, heads * s.dim], values);
	const [q, k, v] = [put(x.q, s.heads), put(x.k, s.kvHeads), put(x.v, s.kvHeads)];
	const options = { cuSeqlens: door.i32(starts(s.lengths)), heads: s.heads, kvHeads: s.kvHeads, compute: door.dtype };
	const forward = door.kernels.attention(q, k, v, {
		...options,
		y: put(undefined, s.heads),
		lse: door.f32([tokens, s.heads]),
	});
	if (!backward) return { y: floats(forward.y), lse: floats(forward.lse) };
	const out = { dq: put(undefined, s.heads), dk: put(undefined, s.kvHeads), dv: put(undefined, s.kvHeads) };
	door.kernels.attentionBackward(q, k, v, forward, put(x.dy, s.heads), { ...options, ...out });
	return { dq: floats(out.dq), dk: floats(out.dk), dv: floats(out.dv) };
}

const withScale = (s) => ({ ...s, scale: 1 / Math.sqrt(s.dim) });

const headInputs = (s, draw) => ({
	h: draw.values(s.rows * s.width),
	w: draw.values(s.vocab * s.width, 0.5),
	targets: draw.indices(s.rows, s.vocab),
	weights: draw.floats(s.rows),
});

function headRun(door, s, x, backward) {
	const { rows, width, vocab } = s;
	const [h, w, targets] = [door.act([rows, width], x.h), door.act([vocab, width], x.w), door.i32(x.targets)];
	const outputs = { logprob: door.f32([rows]), compute: door.dtype };
	if (!backward) {
		const { logprob, entropy } = door.kernels.linearLogprob(h, w, targets, { ...outputs, entropy: true });
		return { logprob: floats(logprob), entropy: floats(entropy) };
	}
	const [dhidden, dweight] = [door.act([rows, width]), door.f32([vocab, width])];
	door.kernels.linearLogprob(h, w, targets, { ...outputs, weights: door.f32([rows], x.weights), dhidden, dweight });
	return { dhidden: floats(dhidden), dweight: floats(dweight) };
}

const optimizer = { step: 3, lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, gradScale: 0.25, weightDecay: 0.1 };
const eps = 1e-6;

export const opTable = [
	{
		name: "embedding_forward",
		shapes: rowShapes,
		real: realRows,
		inputs: (s, draw) => ({ w: draw.values(11 * s.cols), ids: draw.indices(s.rows, 11) }),
		run(door, s, x) {
			const y = door.act([s.rows, s.cols]);
			door.kernels.embedding(door.i32(x.ids), door.act([11, s.cols], x.w), { y });
			return { y: floats(y) };
		},
		plain: (s, x) => ({
			y: Float64Array.from({ length: s.rows * s.cols }, (_, i) => x.w[x.ids[Math.floor(i / s.cols)] * s.cols + (i % s.cols)]),
		}),
		results: { y: { exact: true } },
	},
	{
		name: "embedding_backward",
		shapes: rowShapes,
		real: realRows,
		inputs: (s, draw) => ({ ids: draw.indices(s.rows, 5), dy: draw.values(s.rows * s.cols) }),
		run(door, s, x) {
			const dweight = door.f32([5, s.cols]);
			door.kernels.embeddingBackward(door.i32(x.ids), door.act([s.rows, s.cols], x.dy), dweight);
			return { dweight: floats(dweight) };
		},
		plain(s, x, r) {
			const dweight = new Float64Array(5 * s.cols);
			x.dy.forEach((g, i) => {
				const at = x.ids[Math.floor(i / s.cols)] * s.cols + (i % s.cols);
				dweight[at] = r(dweight[at] + g);
			});
			return { dweight };
		},
		results: { dweight: {} },
	},
	{
		name: "rmsnorm_forward",
		shapes: rowShapes,
		real: realRows,
		// The residual stream is f32, as the decoder has it.
		inputs: (s, draw) => ({ x: draw.floats(s.rows * s.cols), delta: draw.floats(s.rows * s.cols), w: draw.floats(s.cols) }),
		run(door, s, v) {
			const shape = [s.rows, s.cols];
			const [x, delta, weight] = [door.f32(shape, v.x), door.f32(shape, v.delta), door.f32([s.cols], v.w)];
			const out = { y: door.act(shape), xOut: door.f32(shape), rstd: door.f32([s.rows]) };
			door.kernels.rmsnorm(x, weight, { eps, delta, ...out });
			return { y: floats(out.y), xOut: floats(out.xOut), rstd: floats(out.rstd) };
		},
		plain(s, v, r) {
			const xOut = Float64Array.from(v.x, (x, i) => Math.fround(x + v.delta[i]));
			return { xOut, ...plain.rmsnorm(xOut, v.w, eps, s.rows, s.cols, r) };
		},
		results: { y: { act: true }, xOut: { exact: true }, rstd: {} },
	},
	{
		name: "rmsnorm_backward",
		shapes: rowShapes,
		real: realRows,
		inputs: (s, draw) => ({ x: draw.floats(s.rows * s.cols), dy: draw.values(s.rows * s.cols), w: draw.floats(s.cols) }),
		run(door, s, v) {
			const shape = [s.rows, s.cols];
			const [x, weight, rstd] = [door.f32(shape, v.x), door.f32([s.cols], v.w), door.f32([s.rows])];
			door.kernels.rmsnorm(x, weight, { eps, y: door.act(shape), rstd });
			const [dx, dweight] = [door.f32(shape), door.f32([s.cols])];
			door.kernels.rmsnormBackward(door.act(shape, v.dy), x, weight, rstd, { dx, dweight });
			return { dx: floats(dx), dweight: floats(dweight) };
		},
		plain(s, v, r) {
			const { rstd } = plain.rmsnorm(v.x, v.w, eps, s.rows, s.cols, r);
			const { dx, dw } = plain.rmsnormBackward(v.dy, v.x, v.w, rstd, s.rows, s.cols, r);
			return { dx, dweight: dw };
		},
		results: { dx: { unit: 4 }, dweight: { unit: 4 } },
	},
	{
		name: "rope",
		shapes: [
			{ tokens: 1, heads: 1, dim: 2 },
			{ tokens: 5, heads: 3, dim: 20 },
			{ tokens: 67, heads: 2, dim: 64 },
		],
		real: [{ tokens: 515, heads: 12, dim: 128 }],
		inputs: (s, draw) => ({ x: draw.values(s.tokens * s.heads * s.dim), positions: draw.indices(s.tokens, 40) }),
		run(door, s, v) {
			const { cos, sin } = door.kernels.ropeTables({ headDim: s.dim, theta: 1e4, positions: 40 });
			const turned = (inverse) => {
				const x = door.act([s.tokens, s.heads * s.dim], v.x);
				door.kernels.rope(x, { heads: s.heads, positions: door.i32(v.positions), cos, sin, inverse });
				return floats(x);
			};
			return { forward: turned(false), back: turned(true) };
		},
		plain(s, v, r, _operand, _store, tables) {
			const { cos, sin } = tables({ headDim: s.dim, theta: 1e4, positions: 40 });
			const turned = (inverse) => plain.rope(v.x, v.positions, cos, sin, s.heads, s.dim, inverse, r);
			return { forward: turned(false), back: turned(true) };
		},
		results: { forward: { act: true }, back: { act: true } },
	},
	...[false, true].map((hopper) => ({
		name: hopper ? "attention_forward_hopper" : "attention_forward",
		hopper,
		shapes: attentionShapes,
		real: realAttention,
		inputs: attentionInputs,
		run: (door, s, x) => door.kernels.withHopper(hopper, () => attentionRun(door, s, x, false)),
		plain: (s, x, r, operand) => plain.attention(x.q, x.k, x.v, withScale(s), r, operand),
		results: { y: { act: true }, lse: {} },
	})),
	...[false, true].map((hopper) => ({
		name: hopper ? "attention_backward_hopper" : "attention_backward",
		hopper,
		shapes: attentionShapes,
		real: realAttention,
		inputs: attentionInputs,
		run: (door, s, x) => door.kernels.withHopper(hopper, () => attentionRun(door, s, x, true)),
		plain(s, x, r, operand, store) {
			const { y, lse } = plain.attention(x.q, x.k, x.v, withScale(s), r, operand);
			return plain.attentionBackward(x.q, x.k, x.v, y.map(store), lse, x.dy, withScale(s), r, operand);
		},
		results: { dq: { act: true, unit: 2 }, dk: { act: true, unit: 2 }, dv: { act: true, unit: 2 } },
	})),
	{
		name: "attention_decode",
		shapes: [
			{ lengths: [17, 64], heads: 7, kvHeads: 1, dim: 80 },
			{ lengths: [1, 2, 127, 128, 129], heads: 2, kvHeads: 1, dim: 64 },
			{ lengths: [300], heads: 6, kvHeads: 2, dim: 20 },
		],
		real: [{ lengths: [1500, 3, 700], heads: 12, kvHeads: 2, dim: 128 }],
		inputs: (s, draw) => ({
			q: draw.values(s.lengths.length * s.heads * s.dim),
			keys: s.lengths.map((n) => draw.values(n * s.kvHeads * s.dim)),
			values: s.lengths.map((n) => draw.values(n * s.kvHeads * s.dim)),
		}),
		run(door, s, x) {
			const cols = s.kvHeads * s.dim;
			const pages = pagesOf(s.lengths, cols);
			const pool = (all) => door.act([pages.rows, cols], pages.lay(all));
			const [q, y] = [x.q, undefined].map((values) => door.act([s.lengths.length, s.heads * s.dim], values));
			const { heads, kvHeads } = s;
			const [pageTable, lengths] = [door.i32(pages.table), door.i32(s.lengths)];
			door.kernels.attentionDecode(q, pool(x.keys), pool(x.values), pageTable, lengths, {
				heads,
				kvHeads,
				pageTokens,
				compute: door.dtype,
				y,
			});
			return { y: floats(y) };
		},
		plain(s, x, r, operand) {
			const size = s.heads * s.dim;
			const y = s.lengths.flatMap((n, t) => {
				// As the last row of a whole sequence.
				const q = new Float32Array(n * size);
				q.set(x.q.subarray(t * size, (t + 1) * size), (n - 1) * size);
				const shape = { ...withScale(s), lengths: [n], lastOnly: true };
				return [...plain.attention(q, x.keys[t], x.values[t], shape, r, operand).y.subarray((n - 1) * size)];
			});
			return { y: Float64Array.from(y) };
		},
		results: { y: { act: true } },
	},
	{
		name: "swiglu_forward",
		shapes: rowShapes,
		real: realRows,
		inputs: (s, draw) => ({ gate: draw.values(s.rows * s.cols, 3), up: draw.values(s.rows * s.cols) }),
		run(door, s, x) {
			const shape = [s.rows, s.cols];
			const h = door.act(shape);
			door.kernels.swiglu(door.act(shape, x.gate), door.act(shape, x.up), { h });
			return { h: floats(h) };
		},
		plain: (_s, x, r) => ({ h: plain.swiglu(x.gate, x.up, r) }),
		results: { h: { act: true } },
	},
	{
		name: "swiglu_backward",
		shapes: rowShapes,
		real: realRows,
		inputs: (s, draw) => ({
			gate: draw.values(s.rows * s.cols, 3),
			up: draw.values(s.rows * s.cols),
			dh: draw.values(s.rows * s.cols),
		}),
		run(door, s, x) {
			const shape = [s.rows, s.cols];
			const out = { dgate: door.act(shape), dup: door.act(shape), h: door.act(shape) };
			door.kernels.swigluBackward(door.act(shape, x.gate), door.act(shape, x.up), door.act(shape, x.dh), out);
			return { dgate: floats(out.dgate), dup: floats(out.dup), h: floats(out.h) };
		},
		plain: (_s, x, r) => ({ ...plain.swigluBackward(x.gate, x.up, x.dh, r), h: plain.swiglu(x.gate, x.up, r) }),
		results: { dgate: { act: true, unit: 2 }, dup: { act: true }, h: { act: true } },
	},
	{
		name: "linear_forward",
		shapes: linearShapes,
		real: realLinear,
		inputs: linearInputs,
		run: (door, s, v) => linearRun(door, s, v, false),
		plain: linearPlain,
		results: { y: { act: true }, u: {} },
	},
	{
		name: "linear_backward",
		shapes: linearShapes,
		real: realLinear,
		inputs: linearInputs,
		run: (door, s, v) => linearRun(door, s, v, true),
		plain: linearPlain,
		results: { dx: { act: true }, da: {}, db: {} },
	},
	{
		name: "linear_beside",
		shapes: [
			{ rows: 1, inputs: 8, outputs: 16, ranks: [1] },
			{ rows: 67, inputs: 72, outputs: 136, ranks: [3, 16] },
			{ rows: 130, inputs: 128, outputs: 64, ranks: [8, 5, 24] },
		],
		real: realLinear.filter((s) => s.ranks.length > 0),
		inputs: linearInputs,
		run: besideRun,
		plain: linearPlain,
		results: { y: { act: true }, u: {}, dx: { act: true }, da: {}, db: {} },
	},
	{
		name: "linear_integers",
		// Products and sums are exact, only the result is rounded.
		storedTruth: true,
		shapes: [
			{ rows: 37, inputs: 65, outputs: 33, ranks: [] },
			{ rows: 129, inputs: 128, outputs: 64, ranks: [] },
		],
		real: [],
		inputs: (s, draw) => ({
			x: draw.integers(s.rows * s.inputs, 7),
			w: draw.integers(s.outputs * s.inputs, 7),
			bias: draw.integers(s.outputs, 7),
			dy: draw.integers(s.rows * s.outputs, 7),
			a: [],
			b: [],
		}),
		run: (door, s, v) => ({ ...linearRun(door, s, v, false), ...linearRun(door, s, v, true) }),
		plain: (s, v, _r, _operand, store) => {
			const { y, dx } = linearPlain(s, v);
			return { y: y.map(store), dx: dx.map(store) };
		},
		results: { y: { exact: true }, dx: { exact: true } },
	},
	{
		name: "linear_logprob_forward",
		shapes: headShapes,
		real: realHead,
		inputs: headInputs,
		run: (door, s, x) => headRun(door, s, x, false),
		plain: (s, x, r, operand) => plain.linearLogprob(x.h, x.w, x.targets, x.weights, s.width, s.vocab, r, operand),
		// The entropy is a small difference of larger numbers: its unit is theirs.
		results: { logprob: {}, entropy: { unit: 8 } },
	},
	{
		name: "linear_logprob_backward",
		shapes: headShapes,
		real: realHead,
		inputs: headInputs,
		run: (door, s, x) => headRun(door, s, x, true),
		plain: (s, x, r, operand) => plain.linearLogprob(x.h, x.w, x.targets, x.weights, s.width, s.vocab, r, operand),
		results: { dhidden: { act: true }, dweight: {} },
	},
	{
		name: "rows",
		shapes: [
			{ tokens: 1, chosen: 1, cols: 1 },
			{ tokens: 37, chosen: 11, cols: 33 },
		],
		real: [{ tokens: 1025, chosen: 500, cols: 896 }],
		inputs: (s, draw) => ({
			x: draw.values(s.tokens * s.cols),
			rows: Int32Array.from({ length: s.chosen }, (_, i) => (i * 2) % s.tokens),
		}),
		run(door, s, v) {
			const [x, rows] = [door.act([s.tokens, s.cols], v.x), door.i32(v.rows)];
			const [some, back] = [door.act([s.chosen, s.cols]), door.act([s.tokens, s.cols])];
			door.kernels.gatherRows(x, rows, { y: some });
			door.kernels.scatterRows(some, rows, back);
			const kept = door.act(
				[s.tokens, s.cols],
				v.x.map((value) => -value),
			);
			door.kernels.storeRows(some, rows, kept);
			return { some: floats(some), back: floats(back), kept: floats(kept) };
		},
		plain(s, v) {
			const some = Float64Array.from(
				{ length: s.chosen * s.cols },
				(_, i) => v.x[v.rows[Math.floor(i / s.cols)] * s.cols + (i % s.cols)],
			);
			const back = new Float64Array(s.tokens * s.cols);
			v.rows.forEach((row, i) => {
				back.set(some.subarray(i * s.cols, (i + 1) * s.cols), row * s.cols);
			});
			const kept = Float64Array.from(v.x, (value) => -value);
			v.rows.forEach((row, i) => {
				kept.set(some.subarray(i * s.cols, (i + 1) * s.cols), row * s.cols);
			});
			return { some, back, kept };
		},
		results: { some: { exact: true }, back: { exact: true }, kept: { exact: true } },
	},
	{
		name: "adamw",
		f32Only: true,
		shapes: [1, 17, 16385].map((n) => ({ n })),
		real: [{ n: 1_000_003 }],
		inputs: (s, draw) => ({
			p: draw.floats(s.n),
			g: draw.floats(s.n),
			m: draw.floats(s.n, 0.1),
			v: draw.floats(s.n, 0.1).map((x) => x * x),
		}),
		run(door, s, x) {
			const [p, g, m, v] = [x.p, x.g, x.m, x.v].map((values) => door.f32([s.n], values));
			const { weightDecay, ...options } = optimizer;
			door.kernels.adamw([{ p, g, m, v, weightDecay }], options);
			return { p: floats(p), m: floats(m), v: floats(v) };
		},
		plain: (_s, x, r) => plain.adamw(x.p, x.g, x.m, x.v, optimizer, r),
		results: { p: {}, m: {}, v: {} },
	},
	{
		name: "global_norm",
		f32Only: true,
		shapes: [[1], [3, 17, 0, 16385]].map((sizes) => ({ sizes })),
		real: [{ sizes: [1_000_003, 5] }],
		inputs: (s, draw) => ({ g: s.sizes.map((n) => draw.floats(n)) }),
		run: (door, s, x) => ({ norm: Float64Array.of(door.kernels.globalNorm(x.g.map((g, i) => door.f32([s.sizes[i]], g)))) }),
		plain(_s, x, r) {
			let total = 0;
			for (const g of x.g) for (const value of g) total = r(total + r(value * value));
			return { norm: Float64Array.of(r(Math.sqrt(total))) };
		},
		results: { norm: {} },
	},
	{
		name: "sample",
		f32Only: true,
		shapes: [],
		real: [{ rows: 5, vocab: 5003 }],
		inputs: (s, draw) => ({ logits: draw.floats(s.rows * s.vocab, 3), seen: draw.indices(64, s.vocab) }),
		run(door, s, x) {
			const seen = Int32Array.from(x.seen);
			const options = [
				{},
				{ temperature: 0.7 },
				{ temperature: 1, topK: 50, repetitionPenalty: 1.2, seen },
				{ temperature: 1.3, topP: 0.9 },
				{ temperature: 1, topK: 200, topP: 0.95, minP: 0.05, seed: 7, stream: 3, position: 2 },
			];
			const logits = door.f32([s.rows, s.vocab], x.logits);
			const distributions = door.f32([s.rows, s.vocab]);
			const { tokens } = door.kernels.sampleRows(logits, options, distributions);
			return { tokens: Float64Array.from(tokens), distributions: floats(distributions) };
		},
		results: { tokens: { exact: true }, distributions: { unit: 4 } },
	},
];
