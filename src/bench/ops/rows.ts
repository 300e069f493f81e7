/**
 * Benchmarks of moving rows: those that go through the head, their gradients back, and keys into caches.
 * @module
 */
import { kernels } from "../../engine/kernels.js";
import { SeededRandom } from "../../metrics/random.js";
import { type OpBench, type OpShape, size, width } from "../op.js";

/** n of T row numbers, each once, rising. */
function chosen(s: OpShape): Int32Array {
	const all = Array.from({ length: size(s, "T") }, (_, t) => t);
	return Int32Array.from(new SeededRandom(5).shuffle(all).slice(0, size(s, "N"))).sort();
}

const letters = { T: "tokens", N: "rows chosen", D: "width" };

export const gatherRows: OpBench = {
	name: "gather_rows",
	family: "rows",
	letters,
	// Half of the tokens are supervised; the residual stream is f32.
	dtype: "f32",
	shapes: (model, { tokens }) => [{ T: tokens, N: Math.ceil(tokens / 2), D: model.hiddenSize }],
	flops: () => 0,
	bytes: (s) => size(s, "N") * (8 * size(s, "D") + 4),
	prepare(s, dtype, t) {
		const [x, rows, y] = [
			t.normal([size(s, "T"), size(s, "D")], dtype),
			t.ints(chosen(s)),
			t.zeros([size(s, "N"), size(s, "D")], dtype),
		];
		return { run: () => kernels.gatherRows(x, rows, { y }), results: () => [y] };
	},
};

export const scatterRows: OpBench = {
	name: "scatter_rows",
	family: "rows",
	letters,
	dtype: "f32",
	shapes: gatherRows.shapes,
	flops: () => 0,
	// the chosen rows in, all rows out
	bytes: (s) => size(s, "N") * (4 * size(s, "D") + 4) + 4 * size(s, "T") * size(s, "D"),
	prepare(s, dtype, t) {
		const [x, rows, y] = [
			t.normal([size(s, "N"), size(s, "D")], dtype),
			t.ints(chosen(s)),
			t.zeros([size(s, "T"), size(s, "D")], dtype),
		];
		return { run: () => kernels.scatterRows(x, rows, y), results: () => [y] };
	},
};

export const convert: OpBench = {
	name: "convert",
	family: "rows",
	letters: { T: "rows", D: "width" },
	// From f32, as an adapter's factors come to lie beside a weight.
	shapes: (model) => [{ T: model.intermediateSize, D: 128 }],
	flops: () => 0,
	bytes: (s, dtype) => size(s, "T") * size(s, "D") * (4 + width(dtype)),
	prepare(s, dtype, t) {
		const [x, y] = [t.normal([size(s, "T"), size(s, "D")], "f32"), t.zeros([size(s, "T"), size(s, "D")], dtype)];
		return { run: () => kernels.convert(x, y), results: () => [y] };
	},
};

export const storeRows: OpBench = {
	name: "store_rows",
	family: "rows",
	letters: { N: "sequences", G: "key/value heads", K: "head dim" },
	shapes: (model) => [{ N: 32, G: model.numKvHeads, K: model.headDim }],
	flops: () => 0,
	bytes: (s, dtype) => size(s, "N") * (2 * size(s, "G") * size(s, "K") * width(dtype) + 4),
	prepare(s, dtype, t) {
		const [N, columns] = [size(s, "N"), size(s, "G") * size(s, "K")];
		const x = t.normal([N, columns], dtype);
		const y = t.zeros([64 * N, columns], dtype);
		const rows = t.ints(Int32Array.from({ length: N }, (_, i) => 64 * i + (i % 64)));
		return { run: () => kernels.storeRows(x, rows, y), results: () => [y] };
	},
};
