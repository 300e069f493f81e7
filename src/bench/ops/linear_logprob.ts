/**
 * Benchmarks of the head: log-probabilities of targets, and the same with the gradient of the hidden states.
 * @module
 */
import { kernels } from "../../engine/kernels.js";
import { type OpBench, size, width } from "../op.js";

const letters = { T: "rows that count", V: "vocabulary", D: "model width" };

export const linearLogprobForward: OpBench = {
	name: "linear_logprob_forward",
	family: "linear_logprob",
	letters,
	shapes: (model, { tokens }) => [{ T: tokens, V: model.vocabSize, D: model.hiddenSize }],
	flops: (s) => 2 * size(s, "T") * size(s, "V") * size(s, "D"),
	bytes: (s, dtype) => (size(s, "T") + size(s, "V")) * size(s, "D") * width(dtype) + 8 * size(s, "T"),
	prepare(s, dtype, t) {
		const [T, V, D] = [size(s, "T"), size(s, "V"), size(s, "D")];
		const [hidden, weight, targets] = [t.normal([T, D], dtype), t.normal([V, D], dtype, 0.02), t.indices(T, V)];
		const logprob = t.zeros([T]);
		return {
			run: () => kernels.linearLogprob(hidden, weight, targets, { compute: dtype, logprob }),
			results: () => [logprob],
		};
	},
};

export const linearLogprobBackward: OpBench = {
	name: "linear_logprob_backward",
	family: "linear_logprob",
	letters,
	shapes: linearLogprobForward.shapes,
	// the logits again, and dz W: the one call of an SFT step, its log-probabilities included
	flops: (s) => 4 * size(s, "T") * size(s, "V") * size(s, "D"),
	bytes: (s, dtype) => (2 * size(s, "T") + size(s, "V")) * size(s, "D") * width(dtype) + 12 * size(s, "T"),
	prepare(s, dtype, t) {
		const [T, V, D] = [size(s, "T"), size(s, "V"), size(s, "D")];
		const [hidden, weight, targets] = [t.normal([T, D], dtype), t.normal([V, D], dtype, 0.02), t.indices(T, V)];
		const [weights, logprob, dhidden] = [t.fill([T], -1 / Math.max(1, T)), t.zeros([T]), t.zeros([T, D], dtype)];
		return {
			run: () => kernels.linearLogprob(hidden, weight, targets, { compute: dtype, weights, logprob, dhidden }),
			results: () => [logprob, dhidden],
		};
	},
};
