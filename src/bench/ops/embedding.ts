/**
 * Benchmarks of token embedding: rows gathered into the residual stream, and their gradients in full training.
 * @module
 */
import { kernels } from "../../engine/kernels.js";
import { type OpBench, size, width } from "../op.js";

const letters = { T: "tokens", V: "vocabulary", D: "model width" };

export const embeddingForward: OpBench = {
	name: "embedding_forward",
	family: "embedding",
	letters,
	shapes: (model, { tokens }) => [{ T: tokens, V: model.vocabSize, D: model.hiddenSize }],
	flops: () => 0,
	bytes: (s, dtype) => size(s, "T") * (4 + size(s, "D") * (width(dtype) + 4)),
	prepare(s, dtype, t) {
		const [T, V, D] = [size(s, "T"), size(s, "V"), size(s, "D")];
		const ids = t.indices(T, V);
		const weight = t.normal([V, D], dtype);
		const y = t.zeros([T, D]);
		return { run: () => kernels.embedding(ids, weight, { y }), results: () => [y] };
	},
};

export const embeddingBackward: OpBench = {
	name: "embedding_backward",
	family: "embedding",
	letters,
	dtype: "f32",
	shapes: embeddingForward.shapes,
	flops: () => 0,
	bytes: (s) => size(s, "T") * (4 + size(s, "D") * 4) + Math.min(size(s, "T"), size(s, "V")) * size(s, "D") * 8,
	prepare(s, _dtype, t) {
		const [T, V, D] = [size(s, "T"), size(s, "V"), size(s, "D")];
		const ids = t.indices(T, V);
		const dy = t.normal([T, D]);
		const dweight = t.zeros([V, D]);
		const zeros = t.zeros([V, D]);
		return {
			reset: () => kernels.copy(zeros, dweight),
			run: () => kernels.embeddingBackward(ids, dy, dweight),
			results: () => [dweight],
		};
	},
};
