/**
 * Benchmarks of the linear with LoRA on it, and without (R=0): what the adapter costs over the frozen product.
 * @module
 */
import { besideWeight, rankRoom } from "../../engine/beside.js";
import { kernels, type LoraFactors, type ProductDtype, type Tensor } from "../../engine/kernels.js";
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

/** A linear as models hold it: on a GPU that computes in 16 bits, with the factors beside the weight. */
function linear(s: OpShape, dtype: ProductDtype, t: BenchTensors) {
	const [T, IN, OUT, R] = [size(s, "T"), size(s, "IN"), size(s, "OUT"), size(s, "R")];
	const apart = { weight: t.normal([OUT, IN], dtype, 0.02), adapters: adapters(s, t) };
	const beside = R > 0 && dtype !== "f32" && kernels.device() !== "cpu";
	const laid = beside ? besideWeight(apart.weight, apart.adapters) : { ...apart, room: 0 };
	if ("whole" in laid) t.keep(laid.whole as Tensor);
	const width = rankRoom(R);
	return {
		...laid,
		x: t.normal([T, IN + laid.room], dtype).columns(0, IN),
		dy: () => t.normal([T, OUT + laid.room], dtype).columns(0, OUT),
		u: R > 0 ? { u: beside ? t.zeros([T, width], dtype).columns(0, R) : t.zeros([T, R]) } : {},
	};
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
		const { weight, adapters, room, x, u } = linear(s, dtype, t);
		const y = t.zeros([size(s, "T"), size(s, "OUT")], dtype);
		const options = { adapters, compute: dtype, xRoom: room, y, ...u };
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
		const { weight, adapters, room, x, u, ...low } = linear(s, dtype, t);
		const [dy, dx] = [low.dy(), t.zeros([T, IN], dtype)];
		const options = { adapters, compute: dtype, dx, dyRoom: room };
		if (R === 0) return { run: () => kernels.loraLinearBackward(dy, x, weight, options), results: () => [dx] };
		kernels.loraLinear(x, weight, { adapters, compute: dtype, xRoom: room, y: t.zeros([T, OUT], dtype), ...u });
		const [da, db, zeroA, zeroB] = [t.zeros([R, IN]), t.zeros([OUT, R]), t.zeros([R, IN]), t.zeros([OUT, R])];
		return {
			reset() {
				kernels.copy(zeroA, da);
				kernels.copy(zeroB, db);
			},
			run: () => kernels.loraLinearBackward(dy, x, weight, { ...options, ...u, da, db }),
			results: () => [dx, da, db],
		};
	},
};
