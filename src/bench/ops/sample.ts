/**
 * Benchmarks of drawing a token: greedy, and with every option of sampling on.
 * @module
 */
import { type KernelSampling, kernels } from "../../engine/kernels.js";
import { type OpBench, size } from "../op.js";

const sampling = (name: string, options: KernelSampling): OpBench => ({
	name,
	family: "sample",
	letters: { V: "vocabulary" },
	dtype: "f32",
	shapes: (model) => [{ V: model.vocabSize }],
	flops: () => 0,
	bytes: (s) => 4 * size(s, "V"),
	prepare(s, _dtype, t) {
		const [logits, before] = [t.zeros([size(s, "V")]), t.normal([size(s, "V")], "f32", 3)];
		const seen = t.indices(256, size(s, "V")).toInt32Array();
		let drawn = { token: 0, logprob: 0 };
		return {
			reset: () => kernels.copy(before, logits),
			run: () => {
				drawn = kernels.sample(logits, { ...options, seen });
			},
			results: () => [Float64Array.of(drawn.token, drawn.logprob)],
		};
	},
});

export const sampleGreedy = sampling("sample_greedy", {});
export const sampleDraw = sampling("sample_draw", {
	temperature: 0.7,
	topK: 50,
	topP: 0.9,
	minP: 0.01,
	repetitionPenalty: 1.1,
	seed: 1,
});
