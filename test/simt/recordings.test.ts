/**
 * Training steps on device simt that are recorded and replayed: the bits are those of steps that queue every kernel, whatever
 * comes between two micro-batches of the same sizes.
 */
import { afterEach, describe, expect, test } from "vitest";
import { initAdapter } from "../../src/engine/adapter.js";
import { devices } from "../../src/engine/device.js";
import { kernels } from "../../src/engine/kernels.js";
import { type Model, openModel } from "../../src/engine/model.js";
import type { Trainer } from "../../src/engine/trainer.js";
import type { DtypeName, TrainerOptions } from "../../src/engine/types.js";
import { allSameBits, golden } from "../engine/golden.js";

const has = devices().some((d) => d.name === "simt");

/** A sequence of n tokens whose ids only `seed` decides; the first half is a prompt. */
const sequence = (n: number, seed: number) => ({
	inputIds: Int32Array.from({ length: n }, (_, i) => 3 + ((i * 7 + seed * 13) % 50)),
	completionMask: Uint8Array.from({ length: n }, (_, i) => (i >= n / 2 ? 1 : 0)),
});
const batch = (lengths: readonly number[], seed: number) => ({ sequences: lengths.map((n, i) => sequence(n, seed + i)) });

async function train(dtype: DtypeName, options: TrainerOptions, work: (trainer: Trainer, model: Model) => Promise<void>) {
	const model = await openModel(golden("qwen2-tiny", "model"), { device: "simt", dtype });
	try {
		await model.addAdapter(initAdapter(model.config, { r: 4, alpha: 8, seed: 5 }));
		const trainer = model.createTrainer({ seed: 3, ...options });
		await work(trainer, model);
		const { m, v } = trainer.optimizerState();
		return { parameters: trainer.parameters(), m, v, replayed: trainer.replayed() };
	} finally {
		model.dispose();
	}
}

/** The same work with recordings and without gives the same bits; returns how many micro-batches were replayed. */
async function same(dtype: DtypeName, options: TrainerOptions, work: (trainer: Trainer, model: Model) => Promise<void>) {
	const recorded = await train(dtype, options, work);
	const queued = await train(dtype, { ...options, recording: false }, work);
	expect(queued.replayed).toBe(0);
	for (const name of ["parameters", "m", "v"] as const) {
		expect(allSameBits(recorded[name], queued[name]), `${dtype}: ${name}`).toBe(true);
	}
	return recorded.replayed;
}

describe.skipIf(!has)("recorded training steps", () => {
	afterEach(() => kernels.simt?.reset());

	test.each(["f32", "bf16", "fp16"] as const)("change no bit in %s, with any schedule", async (dtype) => {
		let seed = 0;
		const replayed = await same(dtype, {}, async (trainer) => {
			for (let step = 0; step < 4; step++) {
				kernels.simt?.setSeed(seed++);
				await trainer.step(batch([9, 6], step), { learningRate: 0.02 });
			}
		});
		// The first is queued, the second recorded.
		expect(replayed).toBe(2);
	});

	test("take other sizes, lengths within the same sizes, micro-batches and recomputation", async () => {
		const replayed = await same("bf16", { recompute: "selective" }, async (trainer) => {
			for (let step = 0; step < 5; step++) {
				await trainer.step(batch([9, 6], step), { learningRate: 0.02 });
				// As many tokens, sequences and supervised tokens.
				await trainer.step(batch([4, 11], step), { learningRate: 0.02 });
				await trainer.step(batch([step + 3], step), { learningRate: 0.02 });
			}
			const twice = {
				...batch([9, 6, 9, 6], 9),
				microBatches: [
					[0, 1],
					[2, 3],
				],
			};
			await trainer.step(twice, { learningRate: 0.02 });
		});
		// Of ten steps of those sizes the first is queued, the next too since the tables of RoPE grew, and one recorded.
		expect(replayed).toBe(7 + 2);
	});

	test("are made anew where memory has moved", async () => {
		const replayed = await same("bf16", {}, async (trainer, model) => {
			const steps = async (n: number) => {
				for (let step = 0; step < n; step++) await trainer.step(batch([9, 6], step), { learningRate: 0.02 });
			};
			await steps(3); // one replay
			// A larger batch takes a larger arena and longer tables of RoPE.
			await trainer.step(batch([40, 33], 7), { learningRate: 0.02 });
			await steps(3); // one
			model.releaseMemory();
			await steps(1);
		});
		// The memory taken anew may lie where it was.
		expect(replayed).toBeGreaterThanOrEqual(2);
		expect(replayed).toBeLessThanOrEqual(3);
	});

	test("keep what a step needs of them: gradients, all parameters, and none with dropout", async () => {
		expect(
			await same("bf16", { dropout: 0.1 }, async (trainer) => {
				for (let step = 0; step < 3; step++) await trainer.step(batch([9, 6], step), { learningRate: 0.02 });
			}),
		).toBe(0);
		expect(
			await same("bf16", { dropout: 0.1 }, async (trainer) => {
				for (let n = 0; n < 3; n++) await trainer.gradients(batch([9, 6], n));
			}),
		).toBe(1);
	});

	test("stay few: those used last are kept", async () => {
		const replayed = await same("bf16", {}, async (trainer) => {
			for (let round = 0; round < 3; round++) {
				// Five sizes in turn, of which four are kept: each is recorded again before it comes back.
				for (let n = 5; n < 10; n++) await trainer.step(batch([n], n), { learningRate: 0.01 });
			}
			for (let again = 0; again < 2; again++) await trainer.step(batch([9], 1), { learningRate: 0.01 });
		});
		expect(replayed).toBe(2);
	});
});
