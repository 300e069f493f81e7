/**
 * Benchmarks of RMSNorm as the decoder calls it: the residual stream and what is added to it are f32, the result has the
 * compute type.
 * @module
 */
import { kernels } from "../../engine/kernels.js";
import { type OpBench, size, width } from "../op.js";

const letters = { T: "tokens", D: "model width" };
const eps = 1e-6;

export const rmsnormForward: OpBench = {
	name: "rmsnorm_forward",
	family: "rmsnorm",
	letters,
	shapes: (model, { tokens }) => [{ T: tokens, D: model.hiddenSize }],
	flops: () => 0,
	// x and delta in, their sum and the result out
	bytes: (s, dtype) => size(s, "T") * (size(s, "D") * (12 + width(dtype)) + 4) + 4 * size(s, "D"),
	prepare(s, dtype, t) {
		const [T, D] = [size(s, "T"), size(s, "D")];
		const [x, delta, weight] = [t.normal([T, D]), t.normal([T, D]), t.normal([D])];
		const [y, xOut, rstd] = [t.zeros([T, D], dtype), t.zeros([T, D]), t.zeros([T])];
		return { run: () => kernels.rmsnorm(x, weight, { eps, delta, xOut, y, rstd }), results: () => [y, xOut, rstd] };
	},
};

export const rmsnormBackward: OpBench = {
	name: "rmsnorm_backward",
	family: "rmsnorm",
	letters,
	shapes: rmsnormForward.shapes,
	flops: () => 0,
	// dy and x in, the residual branch's gradient in and out
	bytes: (s, dtype) => size(s, "T") * (size(s, "D") * (12 + width(dtype)) + 4) + 4 * size(s, "D"),
	prepare(s, dtype, t) {
		const [T, D] = [size(s, "T"), size(s, "D")];
		const [x, dy, weight] = [t.normal([T, D]), t.normal([T, D], dtype), t.normal([D])];
		const { rstd } = kernels.rmsnorm(x, weight, { eps, y: t.zeros([T, D], dtype), rstd: t.zeros([T]) });
		const [dx, before] = [t.zeros([T, D]), t.normal([T, D])];
		return {
			reset: () => kernels.copy(before, dx),
			run: () => kernels.rmsnormBackward(dy, x, weight, rstd, { dx, accumulate: true }),
			results: () => [dx],
		};
	},
};
