/**
 * Benchmarks of AdamW and of the global gradient norm, over the tensors of a LoRA adapter on every linear.
 * @module
 */
import { kernels } from "../../engine/kernels.js";
import { linearModules } from "../../engine/modules.js";
import type { ModelConfig } from "../../engine/types.js";
import { type BenchBatch, type OpBench, type OpShape, size } from "../op.js";

const letters = { P: "parameters in all", C: "tensors that hold them, of one size" };

function shapes(model: ModelConfig, { rank }: BenchBatch): OpShape[] {
	const modules = linearModules(model);
	const each = modules.reduce((sum, m) => sum + m.inFeatures + m.outFeatures, 0);
	return [{ P: Math.max(1, rank) * each, C: 2 * modules.length }];
}

/** How many elements each of the C tensors has. */
const perTensor = (s: OpShape): number[] => {
	const [P, C] = [size(s, "P"), Math.max(1, size(s, "C"))];
	return Array.from({ length: C }, (_, i) => Math.floor((P * (i + 1)) / C) - Math.floor((P * i) / C));
};

export const adamw: OpBench = {
	name: "adamw",
	family: "optimizer",
	letters,
	dtype: "f32",
	shapes,
	flops: () => 0,
	// the gradient in; parameter and both moments in and out
	bytes: (s) => 28 * size(s, "P"),
	prepare(s, _dtype, t) {
		const tensors = perTensor(s).map((n) => ({
			p: t.normal([n]),
			g: t.normal([n], "f32", 1e-3),
			m: t.zeros([n]),
			v: t.zeros([n]),
		}));
		// The state moves on with every run; for equal bits all of it starts again.
		const before = tensors.flatMap(({ p, m, v }) => [p, m, v].map((x) => [kernels.copy(x, t.zeros(x.shape)), x] as const));
		return {
			reset() {
				for (const [from, to] of before) kernels.copy(from, to);
			},
			run: () => kernels.adamw(tensors, { step: 1, lr: 1e-4 }),
			results: () => tensors.flatMap(({ p, m, v }) => [p, m, v]),
		};
	},
};

export const globalNorm: OpBench = {
	name: "global_norm",
	family: "optimizer",
	letters,
	dtype: "f32",
	shapes,
	flops: () => 0,
	bytes: (s) => 4 * size(s, "P"),
	prepare(s, _dtype, t) {
		const gradients = perTensor(s).map((n) => t.normal([n]));
		let norm = 0;
		return {
			run: () => {
				norm = kernels.globalNorm(gradients);
			},
			results: () => [Float64Array.of(norm)],
		};
	},
};
