import { describe, expect, test } from "vitest";
import { initAdapter } from "../../src/engine/adapter.js";
import type { NativeModel, NativeModelConfig } from "../../src/engine/binding.js";
import { engine } from "../../src/engine/job.js";
import { openModel } from "../../src/engine/model.js";
import { packIds } from "../../src/engine/rows.js";
import type { OpenModelOptions, SftBatch, TrainerOptions } from "../../src/engine/types.js";
import { allSameBits, caseNames, compare, golden, relativeL2, sequences, tensors, worst } from "./golden.js";

const folders = [
	{ folder: "full_grad.safetensors", adapter: undefined },
	{ folder: "lora/grad.safetensors", adapter: "lora/adapter" },
	{ folder: "lora_qv/grad.safetensors", adapter: "lora_qv/adapter" },
];
const median = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

describe.each(caseNames)("gradients of %s", (name) => {
	async function gradients(
		adapter: string | undefined,
		options: OpenModelOptions = {},
		training: TrainerOptions = {},
		microBatches?: number[][],
	) {
		const model = await openModel(golden(name, "model"), {
			dtype: "f32",
			trainable: adapter === undefined,
			adapters: adapter === undefined ? [] : [golden(name, adapter)],
			...options,
		});
		try {
			const batch: SftBatch = { sequences: sequences(name), ...(microBatches ? { microBatches } : {}) };
			return await model.createTrainer(training).gradients(batch);
		} finally {
			model.dispose();
		}
	}

	test.each(folders)("f32 within ten times the goldens' own noise ($folder)", async ({ folder, adapter }) => {
		const { gradients: found, targets } = await gradients(adapter);
		expect(targets).toBe(sequences(name).reduce((n, s) => n + (s.completionMask as number[]).reduce((a, b) => a + b, 0), 0));
		const bound = adapter === undefined ? 2e-5 : 3e-5;
		const distance = worst(compare(found, await tensors(name, folder), relativeL2));
		expect(distance.distance, distance.name).toBeLessThan(bound);
	});

	test("bf16 is at most twice as far off as transformers in bf16", async () => {
		const torch = { "llama-tiny": [0.04, 0.062, 0.041, 0.052], "qwen2-tiny": [0.031, 0.06, 0.042, 0.073] }[name];
		for (const [i, { folder, adapter }] of folders.slice(0, 2).entries()) {
			const { gradients: found } = await gradients(adapter, { dtype: "bf16" });
			const distances = compare(found, await tensors(name, folder), relativeL2);
			expect(worst(distances).distance, worst(distances).name).toBeLessThan(2 * (torch[2 * i + 1] as number));
			expect(median(distances.map((d) => d.distance))).toBeLessThan(2 * (torch[2 * i] as number));
		}
	});

	test("packed, one by one, and in any micro-batches", async () => {
		for (const adapter of [undefined, "lora/adapter"]) {
			const together = await gradients(adapter);
			const wanted = new Map(together.gradients.map((g) => [g.name, g]));
			for (const micro of [
				[[0], [1], [2], [3], [4]],
				[
					[4, 0],
					[3, 1, 2],
				],
			]) {
				const apart = await gradients(adapter, {}, {}, micro);
				expect(worst(compare(apart.gradients, wanted, relativeL2)).distance).toBeLessThan(1e-5);
				expect(Math.abs(apart.loss - together.loss)).toBeLessThan(1e-6);
			}
		}
	});

	test("the same bits with any recomputation, 1 or 2 threads, and again", async () => {
		for (const dtype of ["f32", "bf16"] as const) {
			for (const { adapter } of folders) {
				const one = await gradients(adapter, { dtype, threads: 1 });
				const others = [
					await gradients(adapter, { dtype, threads: 2 }),
					await gradients(adapter, { dtype, threads: 2 }, { recompute: "selective" }),
					await gradients(adapter, { dtype, threads: 1 }, { recompute: "full" }),
				];
				for (const other of others) {
					expect(other.loss).toBe(one.loss);
					expect(other.gradNorm).toBe(one.gradNorm);
					expect(allSameBits(other.gradients, one.gradients)).toBe(true);
				}
			}
		}
	});

	test("adapters on part of the layers get the gradients they get among all", async () => {
		const model = await openModel(golden(name, "model"), { dtype: "f32" });
		const all = initAdapter(model.config, { r: 4, alpha: 8, seed: 3 });
		for (const m of all.modules) m.b.set(m.b.map((_, i) => 0.05 * Math.sin(i)));
		const batch = { sequences: sequences(name) };
		try {
			await model.addAdapter(all);
			const trainer = model.createTrainer();
			const whole = new Map((await trainer.gradients(batch)).gradients.map((g) => [g.name, g]));
			trainer.dispose();
			model.popAdapter();
			for (const site of ["1.mlp.down_proj", "1.mlp.up_proj", "1.self_attn.o_proj", "1.self_attn.k_proj", "0.self_attn.v_proj"]) {
				// The others lie below as a fixed adapter, so the function is the same.
				const top = { ...all, modules: all.modules.filter((m) => m.name.endsWith(`layers.${site}`)) };
				const rest = { ...all, modules: all.modules.filter((m) => !m.name.endsWith(`layers.${site}`)) };
				expect(top.modules.length).toBe(1);
				await model.addAdapter(rest);
				await model.addAdapter(top);
				for (const recompute of ["none", "selective", "full"] as const) {
					const part = model.createTrainer({ recompute });
					const { gradients: found } = await part.gradients(batch);
					expect(found.length).toBe(2);
					for (const g of found) expect(relativeL2(g.data, whole.get(g.name)?.data ?? []), g.name).toBeLessThan(1e-5);
					part.dispose();
				}
				model.popAdapter();
				model.popAdapter();
			}
		} finally {
			model.dispose();
		}
	});
});

/** Architectures without a golden: the gradient against central differences of the loss. */
describe("finite differences", () => {
	const base: NativeModelConfig = {
		family: "llama",
		vocabSize: 61,
		hiddenSize: 24,
		numLayers: 2,
		numHeads: 4,
		numKvHeads: 2,
		headDim: 8,
		intermediateSize: 40,
		rmsNormEps: 1e-6,
		tieWordEmbeddings: false,
		qkvBias: false,
		oBias: false,
		mlpBias: false,
		qkNorm: false,
		maxPositions: 64,
		ropeTheta: 10_000,
	};
	const architectures: { name: string; config: NativeModelConfig }[] = [
		{ name: "qwen3", config: { ...base, family: "qwen3", qkNorm: true, tieWordEmbeddings: true } },
		{ name: "llama with every bias", config: { ...base, qkvBias: true, oBias: true, mlpBias: true } },
		{
			name: "llama3 rope scaling",
			config: {
				...base,
				ropeScaling: { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 32 },
			},
		},
		{
			name: "mistral with linear rope scaling",
			config: { ...base, family: "mistral", ropeScaling: { type: "linear", factor: 4 } },
		},
	];

	const rows = [11, 1, 7].map((n, s) => Array.from({ length: n }, (_, t) => (t * 17 + s * 29 + 5) % 61));
	const packed = packIds(rows);
	const mask = Uint8Array.from(rows.flatMap((row) => row.map((_, t) => (t > 0 && t % 3 !== 1 ? 1 : 0))));
	const batch = [{ ...packed, mask }];

	test.each(architectures)("$name", async ({ config }) => {
		const model: NativeModel = await engine().openModel({
			config,
			files: [],
			tensors: [],
			random: { seed: 5, std: 0.25 },
			device: "cpu",
			compute: "f32",
			threads: 2,
			trainable: true,
		});
		const trainer = model.createTrainer({
			parameters: "full",
			beta1: 0.9,
			beta2: 0.999,
			eps: 1e-8,
			weightDecay: 0,
			maxGradNorm: 0,
			recompute: "none",
			dropout: 0,
			seed: 0,
		});
		// Random models have biases 0 and norms 1: move them, so that their part in the formulas shows.
		const start = trainer.parameters();
		for (const p of start) if (p.shape.length === 1) p.data.set(p.data.map((x, i) => x + 0.2 * Math.sin(3 * i + 1)));
		trainer.setParameters(start);
		const { gradients, gradNorm } = await trainer.gradients(batch, { type: "sft" });
		expect(gradNorm).toBeGreaterThan(0.1);
		for (const gradient of gradients) {
			const norm = Math.hypot(...gradient.data);
			// The loss's float noise is about 1e-7: a tensor that hardly matters cannot be seen.
			if (norm < 2e-3) continue;
			const h = 4e-3;
			const at = async (sign: number): Promise<number> => {
				const moved = start.map((p) =>
					p.name === gradient.name
						? { ...p, data: p.data.map((x, i) => x + (sign * h * (gradient.data[i] as number)) / norm) }
						: p,
				);
				trainer.setParameters(moved);
				return (await trainer.evaluate(batch, { type: "sft" })).loss;
			};
			const slope = ((await at(1)) - (await at(-1))) / (2 * h);
			expect(Math.abs(slope - norm) / norm, `${gradient.name}: ${slope} and ${norm}`).toBeLessThan(0.02);
		}
		trainer.dispose();
		model.dispose();
	});
});
