/**
 * Benchmarks of the linear with LoRA on it, and without (R=0): what the adapter costs over the frozen product.
 * @module
 */
import { kernels, type LoraFactors } from "../../engine/kernels.js";
import { linearModules } from "../../engine/modules.js";
import type { ModelConfig } from "../../engine/types.js";
import { type BenchBatch, type OpBench, type OpShape, size, width } from "../op.js";
import type { BenchTensors } from "../tensors.js";

const letters = { T: "tokens", IN: "inputs", OUT: "outputs", R: "LoRA rank, 0: none" };

/** Every size of linear that a layer has, with the adapter and without. */
function shapes(model: ModelConfig, { tokens, rank }: BenchBatch): OpShape[] {
	const sizes = new Map<string, [number, number]>();
	for (const { inFeatures, outFeatures } of linearModules({ ...model, numLayers: 1 })) {
		sizes.set(`${inFeatures} ${outFeatures}`, [inFeatures, outFeatures]);
	}
	const ranks = rank > 0 ? [0, rank] : [0];
	return [...sizes.values()].flatMap(([IN, OUT]) => ranks.map((R) => ({ T: tokens, IN, OUT, R })));
}

function adapters(s: OpShape, t: BenchTensors): LoraFactors[] {
	const [IN, OUT, R] = [size(s, "IN"), size(s, "OUT"), size(s, "R")];
	return R > 0 ? [{ a: t.normal([R, IN], "f32", 0.02), b: t.normal([OUT, R], "f32", 0.02), scale: 2 }] : [];
}

const loraBytes = (s: OpShape): number => 4 * size(s, "R") * (size(s, "IN") + size(s, "OUT"));

export const linearForward: OpBench = {
	name: "linear_forward",
	family: "linear",
	letters,
	shapes,
	flops: (s) => 2 * size(s, "T") * (size(s, "IN") * size(s, "OUT") + size(s, "R") * (size(s, "IN") + size(s, "OUT"))),
	// x and W in, y out; the factors in, u out
	bytes: (s, dtype) =>
		(size(s, "T") * (size(s, "IN") + size(s, "OUT")) + size(s, "IN") * size(s, "OUT")) * width(dtype) +
		loraBytes(s) +
		4 * size(s, "T") * size(s, "R"),
	prepare(s, dtype, t) {
		const [T, IN, OUT, R] = [size(s, "T"), size(s, "IN"), size(s, "OUT"), size(s, "R")];
		const [x, weight, y] = [t.normal([T, IN], dtype), t.normal([OUT, IN], dtype, 0.02), t.zeros([T, OUT], dtype)];
		const u = R > 0 ? { u: t.zeros([T, R]) } : {};
		const options = { adapters: adapters(s, t), compute: dtype, y, ...u };
		return { run: () => kernels.loraLinear(x, weight, options), results: () => [y, ...Object.values(u)] };
	},
};

export const linearBackward: OpBench = {
	name: "linear_backward",
	family: "linear",
	letters,
	shapes,
	// dx; with an adapter dy B, its part of dx, dA and dB
	flops: (s) => 2 * size(s, "T") * (size(s, "IN") * size(s, "OUT") + 2 * size(s, "R") * (size(s, "IN") + size(s, "OUT"))),
	// dy, W, x (for dA) in, dx out; the factors and u in, their gradients in and out
	bytes: (s, dtype) =>
		(size(s, "T") * (size(s, "OUT") + (size(s, "R") > 0 ? 2 : 1) * size(s, "IN")) + size(s, "IN") * size(s, "OUT")) *
			width(dtype) +
		3 * loraBytes(s) +
		4 * size(s, "T") * size(s, "R"),
	prepare(s, dtype, t) {
		const [T, IN, OUT, R] = [size(s, "T"), size(s, "IN"), size(s, "OUT"), size(s, "R")];
		const [x, weight] = [t.normal([T, IN], dtype), t.normal([OUT, IN], dtype, 0.02)];
		const [dy, dx] = [t.normal([T, OUT], dtype), t.zeros([T, IN], dtype)];
		const options = { adapters: adapters(s, t), compute: dtype, dx };
		if (R === 0) return { run: () => kernels.loraLinearBackward(dy, x, weight, options), results: () => [dx] };
		const { u } = kernels.loraLinear(x, weight, {
			adapters: options.adapters,
			compute: dtype,
			y: t.zeros([T, OUT], dtype),
			u: t.zeros([T, R]),
		});
		const [da, db, zeroA, zeroB] = [t.zeros([R, IN]), t.zeros([OUT, R]), t.zeros([R, IN]), t.zeros([OUT, R])];
		return {
			reset() {
				kernels.copy(zeroA, da);
				kernels.copy(zeroB, db);
			},
			run: () => kernels.loraLinearBackward(dy, x, weight, { ...options, ...(u ? { u } : {}), da, db }),
			results: () => [dx, da, db],
		};
	},
};
