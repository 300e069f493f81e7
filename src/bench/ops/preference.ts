/**
 * The benchmark of a preference loss over the pairs of a step: in double, on the host.
 * @module
 */
import { kernels } from "../../engine/kernels.js";
import { type OpBench, size } from "../op.js";
import { normalValues } from "../tensors.js";

export const preferenceLoss: OpBench = {
	name: "preference_loss",
	family: "preference",
	letters: { N: "pairs" },
	dtype: "f32",
	shapes: () => [{ N: 64 }],
	flops: () => 0,
	// four sums and two counts in, a loss and two gradients out
	bytes: (s) => (4 * 8 + 2 * 4 + 3 * 8) * size(s, "N"),
	prepare(s) {
		const n = size(s, "N");
		const sums = (stream: number) => Float64Array.from(normalValues(0, stream, n, 10), (x) => x - 100);
		const pairs = {
			policyChosen: sums(1),
			policyRejected: sums(2),
			referenceChosen: sums(3),
			referenceRejected: sums(4),
			nChosen: new Int32Array(n).fill(40),
			nRejected: new Int32Array(n).fill(60),
		};
		let result = kernels.preferenceLoss(pairs);
		return {
			run: () => {
				result = kernels.preferenceLoss(pairs);
			},
			results: () => [Float64Array.of(result.loss), result.perPair, result.dpolicyChosen, result.dpolicyRejected],
		};
	},
};
