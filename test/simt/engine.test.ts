/**
 * The whole model on device simt: every CUDA kernel in the place where training and decoding call it, against the goldens
 * of transformers and PEFT that the CPU is held to as well.
 */
import { describe, expect, test } from "vitest";
import { devices } from "../../src/engine/device.js";
import { kernels } from "../../src/engine/kernels.js";
import { type Model, openModel } from "../../src/engine/model.js";
import type { DtypeName, GenerateStatistics, StepResult } from "../../src/engine/types.js";
import {
	allSameBits,
	caseNames,
	compare,
	golden,
	json,
	maxDifference,
	pairs,
	relativeL2,
	rmsDifference,
	sequences,
	tensors,
	worst,
} from "../engine/golden.js";

const has = devices().some((d) => d.name === "simt");

interface Step {
	lr: number;
	loss: number;
	grad_norm: number;
	micro_batches: number[][];
}

describe.skipIf(!has).each(caseNames)("%s on device simt", (name) => {
	async function using<T>(adapters: string[], dtype: DtypeName, work: (model: Model) => Promise<T>): Promise<T> {
		const model = await openModel(golden(name, "model"), {
			device: "simt",
			dtype,
			adapters: adapters.map((a) => golden(name, a)),
		});
		try {
			return await work(model);
		} finally {
			model.dispose();
		}
	}
	const logprobs = async (folder: string) => {
		const expected = await tensors(name, folder, "forward.safetensors");
		return sequences(name).flatMap((_, i) => [...(expected.get(`seq${i}.logprob`)?.data ?? [])]);
	};

	test("log-probabilities in f32, bf16 and fp16", async () => {
		for (const [dtype, largest, rms] of [
			["f32", 4e-5, 2e-5],
			// Twice transformers' own error in bf16; fp16 has eight times its resolution.
			["bf16", 0.106, 0.04],
			["fp16", 0.0133, 0.005],
		] as const) {
			await using(["lora/adapter"], dtype, async (model) => {
				const scores = await model.score(sequences(name), { entropy: true });
				const found = scores.flatMap((s) => [...s.logprobs]);
				const wanted = await logprobs("lora");
				expect(maxDifference(found, wanted), dtype).toBeLessThan(largest);
				expect(rmsDifference(found, wanted), dtype).toBeLessThan(rms);
			});
		}
	});

	test("LoRA gradients, with every recomputation, and of DPO", async () => {
		const expected = await tensors(name, "lora/grad.safetensors");
		for (const [dtype, bound] of [
			["f32", 3e-5],
			["bf16", 0.104],
			["fp16", 0.013],
		] as const) {
			const seen = await using(["lora/adapter"], dtype, async (model) => {
				const results = [];
				for (const recompute of ["none", "selective", "full"] as const) {
					const trainer = model.createTrainer({ recompute });
					results.push((await trainer.gradients({ sequences: sequences(name) })).gradients);
					trainer.dispose();
				}
				return results;
			});
			const distance = worst(compare(seen[0] as never, expected, relativeL2));
			expect(distance.distance, `${dtype}: ${distance.name}`).toBeLessThan(bound);
			for (const other of seen.slice(1)) expect(allSameBits(other, seen[0] as never), dtype).toBe(true);
		}
		await using(["train/final_adapter", "dpo/probe_adapter"], "f32", async (model) => {
			const trainer = model.createTrainer();
			const { gradients } = await trainer.gradients({ objective: "dpo", beta: 0.1, pairs: pairs(name) });
			const distance = worst(compare(gradients, await tensors(name, "dpo/grad_beta0.1.safetensors"), relativeL2));
			expect(distance.distance, distance.name).toBeLessThan(3e-4);
		});
	});

	async function train(dtype: DtypeName, seed: number) {
		kernels.simt?.setSeed(seed);
		const trace = json<{ weight_decay: number; steps: Step[] }>(name, "train", "trace.json");
		return using(["train/init_adapter"], dtype, async (model) => {
			const trainer = model.createTrainer({ weightDecay: trace.weight_decay, maxGradNorm: 1 });
			const steps: StepResult[] = [];
			for (const { micro_batches: micro, lr } of trace.steps.slice(0, 2)) {
				const used = [...new Set(micro.flat())];
				const batch = {
					sequences: used.map((s) => sequences(name)[s] as never),
					microBatches: micro.map((m) => m.map((s) => used.indexOf(s))),
				};
				steps.push(await trainer.step(batch, { learningRate: lr }));
			}
			return { trace: trace.steps, steps, parameters: trainer.parameters() };
		});
	}

	test("two optimiser steps follow the trace, and have the same bits with any schedule", async () => {
		const { trace, steps, parameters } = await train("f32", 1);
		steps.forEach((step, i) => {
			expect(Math.abs(step.loss - (trace[i] as Step).loss), `loss of step ${i + 1}`).toBeLessThan(8e-6);
			expect(Math.abs(step.gradNorm - (trace[i] as Step).grad_norm), `norm of step ${i + 1}`).toBeLessThan(6e-6);
		});
		expect(allSameBits((await train("f32", 2)).parameters, parameters)).toBe(true);
		const half = await train("bf16", 3);
		half.steps.forEach((step, i) => {
			expect(Math.abs(step.loss - (trace[i] as Step).loss), `bf16 loss of step ${i + 1}`).toBeLessThan(0.02);
		});
		expect(allSameBits((await train("bf16", 4)).parameters, half.parameters)).toBe(true);
	});

	test("greedy tokens, alone and in company", async () => {
		const file = json<{ greedy: { prompt: number[]; tokens: number[] }[]; max_new_tokens: number; eos_token_id: number }>(
			name,
			"generate.json",
		);
		await using([], "f32", async (model) => {
			const options = { maxNewTokens: Math.min(8, file.max_new_tokens), stopIds: [file.eos_token_id] };
			const found = await model.generate(
				file.greedy.map((g) => ({ inputIds: g.prompt })),
				options,
			);
			found.forEach((g, i) => {
				const wanted = (file.greedy[i] as { tokens: number[] }).tokens.slice(0, options.maxNewTokens);
				expect([...g.outputIds]).toEqual(wanted.filter((id) => id !== file.eos_token_id));
			});
			const [alone] = await model.generate([{ inputIds: (file.greedy[0] as { prompt: number[] }).prompt }], options);
			expect([...(alone?.outputIds ?? [])]).toEqual([...(found[0]?.outputIds ?? [])]);
		});
	});

	test("recorded steps change no token in f32, bf16 and fp16, with any schedule", async () => {
		const rows = [3, 5, 2, 70, 4].map((n, stream) => ({
			inputIds: Array.from({ length: n }, (_, t) => (t * 29 + stream * 7 + 3) % 300),
			stream,
		}));
		const often = Array.from({ length: 75 }, (_, i) => 4 * i);
		for (const dtype of ["f32", "bf16", "fp16"] as const) {
			await using(["lora/adapter"], dtype, async (model) => {
				const run = async (seed: number, recording: boolean, maxBatch: number, stopIds: number[]) => {
					kernels.simt?.setSeed(seed);
					let statistics: GenerateStatistics | undefined;
					const sampling = { maxNewTokens: 4, temperature: 1.5, repetitionPenalty: 1.2, stopIds };
					const options = { ...sampling, recording, maxBatch, prefillTokens: 10 };
					const found = await model.generate(rows, options, { onStatistics: (s) => (statistics = s) });
					return { ids: found.map((g) => [...g.outputIds]), ...(statistics as GenerateStatistics) };
				};
				if (dtype === "f32") {
					// Row by row: the long prompt makes the model's memory grow, and the step is recorded once more.
					const first = await run(1, true, 1, []);
					const second = await run(2, true, 1, []);
					expect([first, second].map((r) => [r.decodeSteps, r.replayedSteps])).toEqual([
						[15, 13],
						[15, 14],
					]);
					const together = await run(3, false, 5, []);
					expect(together).toMatchObject({ ids: first.ids, decodeSteps: 3, replayedSteps: 0 });
					expect(second.ids).toEqual(first.ids);
					expect(together.decodeLaunches * 5).toBe(first.decodeLaunches);
				}
				// Rows enter and leave at different times: sizes come, go and come back.
				const plain = await run(4, false, 3, often);
				const recorded = await run(5, true, 3, often);
				const { ids, decodeSteps, decodeLaunches } = plain;
				expect(recorded, dtype).toMatchObject({ ids, decodeSteps, decodeLaunches });
				expect(new Set(ids.map(({ length }) => length)).size).toBeGreaterThan(1);
				expect(recorded.replayedSteps).toBeGreaterThan(0);
			});
		}
	});

	test("prefix sharing changes no token in f32, bf16 and fp16, with any schedule", async () => {
		const instruction = Array.from({ length: 70 }, (_, t) => (t * 29 + 7) % 300);
		const rows = [33, 64, 65, 70, 31, 70].map((n, stream) => ({
			inputIds: [...instruction.slice(0, n), ...(n === 70 ? [stream, 9] : [])],
			stream,
		}));
		for (const dtype of ["f32", "bf16", "fp16"] as const) {
			await using(["lora/adapter"], dtype, async (model) => {
				const run = async (prefixSharing: boolean, seed: number) => {
					kernels.simt?.setSeed(seed);
					let shared = 0;
					const options = { maxNewTokens: 4, temperature: 1.5, stopIds: [], prefixSharing, maxBatch: 3 };
					const found = await model.generate(rows, options, {
						onStatistics: ({ sharedTokens }) => {
							shared = sharedTokens;
						},
					});
					return { ids: found.map((g) => [...g.outputIds]), shared };
				};
				const apart = await run(false, 1);
				expect(apart.shared).toBe(0);
				for (const seed of [2, 3]) {
					const together = await run(true, seed);
					expect(together.ids, dtype).toEqual(apart.ids);
					// 32 of the second and the third row, 64 of the two long ones.
					expect(together.shared).toBe(2 * 32 + 2 * 64);
				}
			});
		}
	});
});
