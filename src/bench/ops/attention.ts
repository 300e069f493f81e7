/**
 * Benchmarks of packed causal attention, forward, backward and of decoding.
 * @module
 */
import { kernels } from "../../engine/kernels.js";
import { SeededRandom } from "../../metrics/random.js";
import { type OpBench, type OpShape, sequenceLengths, size, starts, width } from "../op.js";

const letters = { T: "tokens", S: "tokens of a sequence", H: "query heads", G: "key/value heads", K: "head dim" };

/** Pairs of a query and a key that it sees. */
const pairs = (s: OpShape): number => sequenceLengths(size(s, "T"), size(s, "S")).reduce((sum, n) => sum + (n * (n + 1)) / 2, 0);

export const attentionForward: OpBench = {
	name: "attention_forward",
	family: "attention",
	letters,
	shapes: (model, { tokens, length }) => [{ T: tokens, S: length, H: model.numHeads, G: model.numKvHeads, K: model.headDim }],
	// q k^T and p v
	flops: (s) => 4 * pairs(s) * size(s, "H") * size(s, "K"),
	bytes: (s, dtype) => size(s, "T") * (2 * (size(s, "H") + size(s, "G")) * size(s, "K") * width(dtype) + 4 * size(s, "H")),
	prepare(s, dtype, t) {
		const [T, H, G, K] = [size(s, "T"), size(s, "H"), size(s, "G"), size(s, "K")];
		const [q, k, v] = [t.normal([T, H * K], dtype), t.normal([T, G * K], dtype), t.normal([T, G * K], dtype)];
		const cuSeqlens = t.ints(starts(sequenceLengths(T, size(s, "S"))));
		const [y, lse] = [t.zeros([T, H * K], dtype), t.zeros([T, H])];
		return {
			run: () => kernels.attention(q, k, v, { cuSeqlens, heads: H, kvHeads: G, compute: dtype, y, lse }),
			results: () => [y, lse],
		};
	},
};

export const attentionBackward: OpBench = {
	name: "attention_backward",
	family: "attention",
	letters,
	shapes: attentionForward.shapes,
	// q k^T again, dy v^T, p^T dy, ds k and ds^T q
	flops: (s) => 10 * pairs(s) * size(s, "H") * size(s, "K"),
	bytes: (s, dtype) => size(s, "T") * (4 * (size(s, "H") + size(s, "G")) * size(s, "K") * width(dtype) + 4 * size(s, "H")),
	prepare(s, dtype, t) {
		const [T, H, G, K] = [size(s, "T"), size(s, "H"), size(s, "G"), size(s, "K")];
		const [q, k, v] = [t.normal([T, H * K], dtype), t.normal([T, G * K], dtype), t.normal([T, G * K], dtype)];
		const dy = t.normal([T, H * K], dtype);
		const options = { cuSeqlens: t.ints(starts(sequenceLengths(T, size(s, "S")))), heads: H, kvHeads: G, compute: dtype };
		const forward = kernels.attention(q, k, v, { ...options, y: t.zeros([T, H * K], dtype), lse: t.zeros([T, H]) });
		const out = { dq: t.zeros([T, H * K], dtype), dk: t.zeros([T, G * K], dtype), dv: t.zeros([T, G * K], dtype) };
		return {
			run: () => kernels.attentionBackward(q, k, v, forward, dy, { ...options, ...out }),
			results: () => Object.values(out),
		};
	},
};

/** A bench on the warpgroups of a device that has them, whatever the process has chosen. */
const onWarpgroups = (bench: OpBench): OpBench => ({
	...bench,
	name: `${bench.name}_hopper`,
	shapes: (model, batch) => ([64, 128].includes(model.headDim) ? bench.shapes(model, batch) : []),
	prepare(s, dtype, t) {
		const { run, results } = bench.prepare(s, dtype, t);
		return { run: () => kernels.withHopper(true, run), results };
	},
});

/** Attention's forward pass on warpgroups. */
export const attentionForwardHopper = onWarpgroups(attentionForward);
/** Attention's backward pass on warpgroups, of what the chosen forward pass has made. */
export const attentionBackwardHopper = onWarpgroups(attentionBackward);

export const attentionDecode: OpBench = {
	name: "attention_decode",
	family: "attention",
	letters: { N: "sequences", L: "keys of each", H: "query heads", G: "key/value heads", K: "head dim" },
	shapes: (model, { length }) => [{ N: 32, L: length, H: model.numHeads, G: model.numKvHeads, K: model.headDim }],
	flops: (s) => 4 * size(s, "N") * size(s, "L") * size(s, "H") * size(s, "K"),
	bytes: (s, dtype) =>
		2 * size(s, "N") * size(s, "K") * (size(s, "L") * size(s, "G") + size(s, "H")) * width(dtype) + 4 * size(s, "N"),
	prepare(s, dtype, t) {
		const [N, L, H, G, K] = [size(s, "N"), size(s, "L"), size(s, "H"), size(s, "G"), size(s, "K")];
		// Pages as a run of the server leaves them: not in order.
		const pageTokens = 32;
		const each = Math.ceil(L / pageTokens);
		const pages = new SeededRandom(3).shuffle(Array.from({ length: N * each }, (_, page) => page));
		const pool = () => t.normal([N * each * pageTokens, G * K], dtype);
		const [q, keys, values] = [t.normal([N, H * K], dtype), pool(), pool()];
		const [pageTable, lengths] = [t.ints(Int32Array.from(pages)), t.ints(new Int32Array(N).fill(L))];
		const y = t.zeros([N, H * K], dtype);
		const options = { heads: H, kvHeads: G, pageTokens, compute: dtype, y };
		return {
			run: () => kernels.attentionDecode(q, keys, values, pageTable, lengths, options),
			results: () => [y],
		};
	},
};
