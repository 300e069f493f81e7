/**
 * Benchmarks of SwiGLU.
 * @module
 */
import { kernels } from "../../engine/kernels.js";
import { type OpBench, size, width } from "../op.js";

const letters = { T: "tokens", F: "ffn width" };

export const swigluForward: OpBench = {
	name: "swiglu_forward",
	family: "swiglu",
	letters,
	shapes: (model, { tokens }) => [{ T: tokens, F: model.intermediateSize }],
	flops: () => 0,
	bytes: (s, dtype) => 3 * size(s, "T") * size(s, "F") * width(dtype),
	prepare(s, dtype, t) {
		const shape = [size(s, "T"), size(s, "F")];
		const [gate, up, h] = [t.normal(shape, dtype), t.normal(shape, dtype), t.zeros(shape, dtype)];
		return { run: () => kernels.swiglu(gate, up, { h }), results: () => [h] };
	},
};

export const swigluBackward: OpBench = {
	name: "swiglu_backward",
	family: "swiglu",
	letters,
	shapes: swigluForward.shapes,
	flops: () => 0,
	bytes: (s, dtype) => 5 * size(s, "T") * size(s, "F") * width(dtype),
	prepare(s, dtype, t) {
		const shape = [size(s, "T"), size(s, "F")];
		const [gate, up, dh] = [t.normal(shape, dtype), t.normal(shape, dtype), t.normal(shape, dtype)];
		const out = { dgate: t.zeros(shape, dtype), dup: t.zeros(shape, dtype) };
		return { run: () => kernels.swigluBackward(gate, up, dh, out), results: () => Object.values(out) };
	},
};
