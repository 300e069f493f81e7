/**
 * How much is checked and measured: everything at the shapes of real models, or a little in seconds.
 */
import { modelShape } from "../../dist/bench/model_shapes.js";
import { yardstickSize } from "../../dist/bench/yardstick.js";

/** An architecture with every part in small. */
const toy = {
	...modelShape("qwen2.5-0.5b"),
	vocabSize: 211,
	hiddenSize: 48,
	numLayers: 2,
	numHeads: 4,
	numKvHeads: 2,
	headDim: 16,
	intermediateSize: 72,
};

/** The same with linears of 1536: 8 x 12 tiles of 128 with a thousand tokens, from where on products take the large ones. */
const tiles = { ...toy, vocabSize: 1537, hiddenSize: 128, numHeads: 2, numKvHeads: 1, headDim: 64, intermediateSize: 1536 };

export const sizes = {
	/** A machine with a GPU, about a quarter of an hour. */
	full: {
		shapes: Number.POSITIVE_INFINITY,
		real: true,
		steps: 8,
		times: 100,
		repeats: { model: modelShape("qwen2.5-0.5b"), batch: { tokens: 1001, length: 333, rank: 16 } },
		kernels: { model: modelShape("qwen2.5-1.5b"), batch: { tokens: 16384, length: 2048, rank: 128 }, rounds: 20, warmup: 500 },
		train: { model: "qwen2.5-1.5b", rank: 128, tokens: 16384, length: 2048, steps: 10, warmup: 3 },
	},
	/** What runs under compute-sanitizer: as little as comes to every kernel, large tiles of products among them. */
	sanitizer: {
		shapes: 2,
		real: false,
		steps: 2,
		times: 2,
		repeats: { model: tiles, batch: { tokens: 1001, length: 333, rank: 16 } },
	},
	/** Tests, and a look whether anything works at all. */
	small: {
		shapes: 2,
		real: false,
		steps: 3,
		times: 3,
		repeats: { model: toy, batch: { tokens: 21, length: 9, rank: 3 } },
		kernels: { model: toy, batch: { tokens: 21, length: 9, rank: 3 }, rounds: 2, warmup: 0, yardstick: yardstickSize("simt", 1) },
		train: { model: "tiny", rank: 4, tokens: 24, length: 12, steps: 1, warmup: 1, yardstick: yardstickSize("simt", 1) },
	},
};
