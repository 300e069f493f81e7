/**
 * What the tests of benchmarks share: a small architecture, and yardsticks that cost nothing.
 * @module
 */
import type { YardstickSize } from "../../src/bench/yardstick.js";
import { devices } from "../../src/engine/device.js";
import type { ModelConfig } from "../../src/engine/types.js";

export const small: ModelConfig = {
	family: "qwen2",
	vocabSize: 97,
	hiddenSize: 24,
	numLayers: 2,
	numHeads: 4,
	numKvHeads: 2,
	headDim: 8,
	intermediateSize: 40,
	rmsNormEps: 1e-6,
	tieWordEmbeddings: true,
	qkvBias: true,
	oBias: false,
	mlpBias: false,
	qkNorm: false,
	maxPositions: 128,
	ropeTheta: 10_000,
};

export const smallBatch = { tokens: 21, length: 9, rank: 3 };

export const yardstick: YardstickSize = { product: 32, copy: 4096, chill: 4096 };

export const [cpu] = devices() as [ReturnType<typeof devices>[0]];
