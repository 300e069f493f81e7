/**
 * Benchmarks of drawing the next token of several sequences: greedy, and with every option of sampling on.
 * @module
 */
import { type KernelSampling, kernels } from "../../engine/kernels.js";
import { SeededRandom } from "../../metrics/random.js";
import { type OpBench, size } from "../op.js";

const sampling = (name: string, options: KernelSampling): OpBench => ({
	name,
	family: "sample",
	letters: { N: "sequences", V: "vocabulary" },
	dtype: "f32",
	shapes: (model) => [{ N: 32, V: model.vocabSize }],
	flops: () => 0,
	bytes: (s) => 4 * size(s, "N") * size(s, "V"),
	prepare(s, _dtype, t) {
		const shape = [size(s, "N"), size(s, "V")];
		const [logits, before] = [t.zeros(shape), t.normal(shape, "f32", 3)];
		const random = new SeededRandom(3);
		const rows = Array.from({ length: size(s, "N") }, (_, stream) => ({
			...options,
			stream,
			seen: Int32Array.from({ length: 256 }, () => random.below(size(s, "V"))),
		}));
		let drawn = kernels.sampleRows(logits, rows);
		return {
			reset: () => kernels.copy(before, logits),
			run: () => {
				drawn = kernels.sampleRows(logits, rows);
			},
			results: () => [Float64Array.from(drawn.tokens), Float64Array.from(drawn.logprobs)],
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
