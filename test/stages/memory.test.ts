import { describe, expect, it } from "vitest";
import { chooseMicroBatchTokens, usableShare } from "../../src/stages/memory.js";

/** A model that needs 100 bytes, and 10 for each token of a micro-batch. */
const model = {
	planTraining: (_: unknown, shape: { lengths?: readonly number[] }) => ({
		weights: 100,
		activations: 10 * (shape.lengths ?? []).reduce((a, b) => a + b, 0),
	}),
	device: "cpu",
	memoryBytes: () => 0,
} as unknown as Parameters<typeof chooseMicroBatchTokens>[0];
const choose = (lengths: number[], forTokens: number) =>
	chooseMicroBatchTokens(model, {} as never, lengths, "auto", (100 + 10 * forTokens) / usableShare);

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

	it("takes the larger budget of a GPU there", () => {
		const many = Array.from({ length: 1000 }, () => 100);
		const gpu = { ...model, device: "cuda:0" } as typeof model;
		expect(chooseMicroBatchTokens(gpu, {} as never, many, "auto", 10 ** 9)).toEqual({ tokens: 16384, wanted: 16384 });
	});

	it("refuses what not even the longest example fits, with the bytes", () => {
		expect(() => choose([300, 100, 100], 299)).toThrow(
			expect.objectContaining({ code: "E_OUT_OF_MEMORY", message: expect.stringMatching(/300 tokens.*recompute: full/s) }),
		);
	});
});

describe("micro_batch_tokens that are given", () => {
	const take = (lengths: number[], given: number, forTokens: number) =>
		chooseMicroBatchTokens(model, {} as never, lengths, given, 100 + 10 * forTokens);
	const many = Array.from({ length: 100 }, () => 100);

	it("are taken as they are where they fit, though data or examples are smaller or larger", () => {
		expect(take(many, 3000, 3000)).toEqual({ tokens: 3000, wanted: 3000 });
		expect(take([700, 20], 500, 700)).toEqual({ tokens: 500, wanted: 500 });
		expect(take([10, 20], 5000, 100)).toEqual({ tokens: 5000, wanted: 5000 });
	});

	it("are refused where they do not, with about the largest that does", () => {
		expect(() => take(many, 8000, 2999)).toThrow(
			expect.objectContaining({
				code: "E_OUT_OF_MEMORY",
				message: expect.stringMatching(/of 8000 tokens does not fit.*micro_batch_tokens: 29\d\d or auto/s),
			}),
		);
		expect(() => take([700, 20], 500, 699)).toThrow(/longest example \(700 tokens\).*max_length/s);
	});
});
