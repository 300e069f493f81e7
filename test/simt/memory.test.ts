/**
 * A device with memory of its own: which micro-batches fit it, and what is said where they do not.
 * @module
 */
import { afterEach, describe, expect, it } from "vitest";
import { initAdapter } from "../../src/engine/adapter.js";
import { deviceMemory, devices } from "../../src/engine/device.js";
import { kernels, type Simt } from "../../src/engine/kernels.js";
import { type Model, openRandomModel } from "../../src/engine/model.js";
import type { DtypeName, ModelConfig } from "../../src/engine/types.js";
import { availableMemory, chooseMicroBatchTokens, roomFor } from "../../src/stages/memory.js";
import { small } from "../bench/support.js";

const has = devices().some((d) => d.name === "simt");
const simt = kernels.simt as Simt;
const manyWords: ModelConfig = { ...small, vocabSize: 4096, maxPositions: 4096 };
const lengths = Array.from({ length: 400 }, () => 100);
const sum = (plan: Record<string, number>): number => Object.values(plan).reduce((a, b) => a + b, 0);

async function withModel<T>(work: (model: Model) => T | Promise<T>, config = small, dtype: DtypeName = "auto"): Promise<T> {
	const model = await openRandomModel("random", config, { device: "simt", dtype });
	try {
		await model.addAdapter(initAdapter(config, { r: 4, alpha: 8 }));
		return await work(model);
	} finally {
		model.dispose();
	}
}

describe.skipIf(!has)("memory of a device", () => {
	afterEach(() => simt.reset());

	it("is what is free on it, and for a model what it holds besides", async () => {
		expect(deviceMemory("cpu")).toBeUndefined();
		expect(deviceMemory("simt")).toBeUndefined();
		simt.setMemory(2 ** 30);
		await withModel((model) => {
			const { free, total } = deviceMemory("simt")!;
			expect(total).toBe(2 ** 30);
			expect(free).toBeLessThan(total);
			expect(availableMemory("simt")).toBe(free);
			expect(roomFor(model)).toBe(free + model.memoryBytes());
			expect(Math.abs(roomFor(model) - total)).toBeLessThan(total / 100);
		});
	});

	it("decides the micro-batch, and a step of that size runs in it", async () => {
		const plan = (model: Model, tokens: number) =>
			sum(model.planTraining({}, { lengths: Array.from({ length: tokens / 100 }, () => 100) }));
		simt.setMemory(await withModel((model) => plan(model, 2000)));
		await withModel(async (model) => {
			const { tokens, wanted } = chooseMicroBatchTokens(model, {}, lengths);
			expect(wanted).toBe(16384);
			expect(tokens).toBe(1024);
			expect(() => chooseMicroBatchTokens(model, {}, lengths, 3000)).toThrow(
				expect.objectContaining({
					code: "E_OUT_OF_MEMORY",
					message: expect.stringMatching(/a micro-batch of 3000 tokens .*set micro_batch_tokens: (19|20)\d\d or auto/s),
				}),
			);
			const trainer = model.createTrainer();
			const sequences = Array.from({ length: 10 }, (_, s) => ({
				inputIds: Array.from({ length: 100 }, (_, i) => (s + i * 7) % 97),
			}));
			const { loss } = await trainer.step({ sequences }, { learningRate: 1e-3 });
			expect(loss).toBeGreaterThan(0);
		});
	});

	it("bounds the logits that the head holds at a time, with the same bits", async () => {
		const run = () =>
			withModel(async (model) => {
				const row = Array.from({ length: 600 }, (_, i) => (i * 37) % manyWords.vocabSize);
				const [scores] = await model.score([{ inputIds: row }]);
				return {
					logits: model.planTraining({}, { lengths: [600] }).logits!,
					logprobs: Buffer.from(Float32Array.from(scores!.logprobs).buffer).toString("hex"),
				};
			}, manyWords);
		const wide = await run();
		expect(wide.logits).toBeGreaterThanOrEqual(599 * manyWords.vocabSize * 4);
		simt.setMemory(64 * 2 ** 20);
		const narrow = await run();
		// A 32nd of 64 MiB are 128 rows of 4,096 logits.
		expect(narrow.logits).toBe(128 * manyWords.vocabSize * 4);
		expect(narrow.logprobs).toBe(wide.logprobs);
	});

	it("that is full is an error with the bytes, and the device works on", async () => {
		simt.setMemory(2 ** 12);
		await expect(withModel(() => undefined)).rejects.toMatchObject({
			code: "E_OUT_OF_MEMORY",
			message: expect.stringMatching(/no block of \d+ bytes is free: \d+ bytes are, of 4096/),
		});
		simt.setMemory(0);
		await withModel((model) => expect(model.device).toBe("simt"));
	});
});

it.skipIf(!has)("bf16 on a GPU that does not multiply it is fp16, and a warning says so", async () => {
	simt.setCapability(75);
	const warnings: string[] = [];
	const hear = (warning: Error) => void warnings.push(warning.message);
	process.on("warning", hear);
	try {
		expect(await withModel((model) => model.dtype, small, "bf16")).toBe("fp16");
		await new Promise((done) => setImmediate(done));
		expect(warnings).toEqual([expect.stringMatching(/^simt does not multiply bf16 .*fp16/)]);
	} finally {
		process.off("warning", hear);
		simt.reset();
	}
});
