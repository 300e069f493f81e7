/**
 * Benchmarks of rotary position embedding, forward and back, and of the tables it reads.
 * @module
 */
import { kernels } from "../../engine/kernels.js";
import { type OpBench, positionsOf, sequenceLengths, size, width } from "../op.js";

const theta = 10_000;

const rotation = (name: string, inverse: boolean): OpBench => ({
	name,
	family: "rope",
	letters: { T: "tokens", S: "tokens of a sequence", H: "heads", K: "head dim" },
	shapes: (model, { tokens, length }) =>
		[model.numHeads, model.numKvHeads].map((H) => ({ T: tokens, S: length, H, K: model.headDim })),
	flops: () => 0,
	bytes: (s, dtype) => size(s, "T") * (2 * size(s, "H") * size(s, "K") * width(dtype) + 4 * size(s, "K") + 4),
	prepare(s, dtype, t) {
		const [T, S, H, K] = [size(s, "T"), size(s, "S"), size(s, "H"), size(s, "K")];
		const [x, before] = [t.zeros([T, H * K], dtype), t.normal([T, H * K], dtype)];
		const positions = t.ints(positionsOf(sequenceLengths(T, S)));
		const { cos, sin } = kernels.ropeTables({ headDim: K, theta, positions: Math.min(S, T) });
		return {
			reset: () => kernels.copy(before, x),
			run: () => kernels.rope(x, { heads: H, positions, cos, sin, inverse }),
			results: () => [x],
		};
	},
});

export const ropeForward = rotation("rope_forward", false);
export const ropeBackward = rotation("rope_backward", true);

export const ropeTables: OpBench = {
	name: "rope_tables",
	family: "rope",
	letters: { S: "positions", K: "head dim" },
	dtype: "f32",
	shapes: (model, { length }) => [{ S: length, K: model.headDim }],
	flops: () => 0,
	bytes: (s) => 4 * size(s, "S") * size(s, "K"),
	prepare(s) {
		const make = () => kernels.ropeTables({ headDim: size(s, "K"), theta, positions: size(s, "S") });
		let last = make();
		return {
			run: () => {
				last = make();
			},
			results: () => [last.cos, last.sin],
		};
	},
};
