import { describe, expect, it } from "vitest";
import { chooseMicroBatchTokens, usableShare } from "../../src/stages/memory.js";

/** A model that needs 100 bytes, and 10 for each token of a micro-batch. */
const model = {
	planTraining: (_: unknown, shape: { lengths?: readonly number[] }) => ({
		weights: 100,
		activations: 10 * (shape.lengths ?? []).reduce((a, b) => a + b, 0),
	}),
} as unknown as Parameters<typeof chooseMicroBatchTokens>[0];
const choose = (lengths: number[], forTokens: number) =>
	chooseMicroBatchTokens(model, {} as never, lengths, (100 + 10 * forTokens) / usableShare);

describe("micro_batch_tokens: auto", () => {
	it("depends on the data alone where there is memory enough", () => {
		const many = Array.from({ length: 100 }, () => 100);
		for (const tokens of [4096, 5000, 10 ** 9]) expect(choose(many, tokens)).toEqual({ tokens: 4096, wanted: 4096 });
		expect(choose([100, 200, 300], 10 ** 9)).toEqual({ tokens: 600, wanted: 600 });
		expect(choose([5000, 20], 10 ** 9)).toEqual({ tokens: 5000, wanted: 5000 });
	});

	it("is halved where memory is short, down to the longest example, and says what it would have been", () => {
		const many = Array.from({ length: 100 }, () => 100);
		expect(choose(many, 4095)).toEqual({ tokens: 2048, wanted: 4096 });
		expect(choose(many, 600)).toEqual({ tokens: 512, wanted: 4096 });
		expect(choose([300, ...many], 310)).toEqual({ tokens: 300, wanted: 4096 });
	});

	it("refuses what not even the longest example fits, with the bytes", () => {
		expect(() => choose([300, 100, 100], 299)).toThrow(
			expect.objectContaining({ code: "E_OUT_OF_MEMORY", message: expect.stringMatching(/300 tokens.*recompute: full/s) }),
		);
	});
});
