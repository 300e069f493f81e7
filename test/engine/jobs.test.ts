import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { initAdapter } from "../../src/engine/adapter.js";
import type { NativeModelConfig, NativeModelInit, NativeTrainerInit } from "../../src/engine/binding.js";
import { engine } from "../../src/engine/job.js";
import { openModel } from "../../src/engine/model.js";
import { loadNative } from "../../src/engine/native.js";
import { readSafetensors, writeSafetensors } from "../../src/engine/safetensors.js";
import { allSameBits, golden, sequences } from "./golden.js";

let dir: string;
beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-jobs-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const config: NativeModelConfig = {
	family: "llama",
	vocabSize: 512,
	hiddenSize: 128,
	numLayers: 12,
	numHeads: 4,
	numKvHeads: 2,
	headDim: 32,
	intermediateSize: 384,
	rmsNormEps: 1e-5,
	tieWordEmbeddings: true,
	qkvBias: false,
	oBias: false,
	mlpBias: false,
	qkNorm: false,
	maxPositions: 1024,
	ropeTheta: 10_000,
};
const init: NativeModelInit = {
	config,
	files: [],
	tensors: [],
	random: { seed: 1, std: 0.05 },
	device: "cpu",
	compute: "f32",
	threads: 2,
	trainable: false,
};
const training: NativeTrainerInit = {
	parameters: "lora",
	beta1: 0.9,
	beta2: 0.999,
	eps: 1e-8,
	weightDecay: 0,
	maxGradNorm: 1,
	recompute: "none",
	dropout: 0,
	seed: 0,
};
const lora = (dropout = 0) => {
	const adapter = initAdapter(config, { r: 8, alpha: 16, dropout });
	for (const m of adapter.modules) m.b.set(m.b.map((_, i) => 0.02 * Math.sin(i)));
	return adapter.modules.map(({ name, r, scale, a, b }) => ({ name, r, scale, a, b }));
};
const batchOf = (lengths: number[]) => {
	const cuSeqlens = Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b, 0))]);
	const ids = Int32Array.from({ length: cuSeqlens.at(-1) as number }, (_, t) => (t * 31) % 512);
	const mask = new Uint8Array(ids.length).fill(1);
	for (const start of cuSeqlens) if (start < mask.length) mask[start] = 0;
	return { ids, cuSeqlens, mask };
};

describe("long calls", () => {
	test("the event loop stays alive, an abort changes nothing, and the trainer goes on", async () => {
		const model = await engine().openModel(init);
		model.addAdapter(lora());
		const trainer = model.createTrainer(training);
		const batch = Array.from({ length: 6 }, () => batchOf([300, 300]));
		let ticks = 0;
		const timer = setInterval(() => ticks++, 5);
		await trainer.step(batch.slice(0, 1), { type: "sft" }, 1e-3);
		expect(ticks).toBeGreaterThan(2);
		const before = { parameters: trainer.parameters(), state: trainer.optimizerState() };
		const job = engine().createJob();
		const started = performance.now();
		setTimeout(() => job.abort(), 20);
		await expect(trainer.step(batch, { type: "sft" }, 1e-3, undefined, job)).rejects.toMatchObject({ code: "E_ABORTED" });
		const aborted = performance.now() - started;
		clearInterval(timer);
		expect(allSameBits(trainer.parameters(), before.parameters)).toBe(true);
		expect(trainer.optimizerState().step).toBe(before.state.step);
		expect(allSameBits(trainer.optimizerState().v, before.state.v)).toBe(true);
		const again = performance.now();
		await trainer.step(batch, { type: "sft" }, 1e-3);
		expect(aborted).toBeLessThan((performance.now() - again) / 2);
		expect(allSameBits(trainer.parameters(), before.parameters)).toBe(false);
		model.dispose();
	});

	test("dispose while a call runs: the call ends well, later ones are refused", async () => {
		const model = await engine().openModel(init);
		model.addAdapter(lora());
		const trainer = model.createTrainer(training);
		const running = trainer.step([batchOf([200])], { type: "sft" }, 1e-3);
		const waiting = trainer.step([batchOf([100])], { type: "sft" }, 1e-3);
		trainer.dispose();
		model.dispose();
		expect((await running).loss).toBeGreaterThan(0);
		expect((await waiting).targets).toBe(99);
		expect(() => model.memoryBytes()).toThrowError(expect.objectContaining({ code: "E_ARGUMENT" }));
		expect(() => trainer.parameters()).toThrowError(expect.objectContaining({ code: "E_ARGUMENT" }));
	});

	test("what must not change while a call runs is refused", async () => {
		const model = await engine().openModel(init);
		model.addAdapter(lora());
		const trainer = model.createTrainer(training);
		const running = trainer.step([batchOf([400])], { type: "sft" }, 1e-3);
		await new Promise((resolve) => setTimeout(resolve, 10));
		expect(() => model.addAdapter(lora())).toThrow(/at work/);
		expect(() => trainer.parameters()).toThrow(/at work/);
		await running;
		model.addAdapter(lora());
		await expect(trainer.step([batchOf([10])], { type: "sft" }, 1e-3)).rejects.toThrow(/no longer on top/);
		model.dispose();
	});

	test("a Worker that ends while its job runs takes nothing with it", async () => {
		// The addon's path as this process has found it.
		expect(typeof loadNative()).toBe("object");
		const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] };
		const addon = sharedObjects.find((name) => name.endsWith("fintune.node"));
		const script = `
			const { Worker } = require("node:worker_threads");
			const source = ${JSON.stringify(`
				const { parentPort } = require("node:worker_threads");
				const addon = require(${JSON.stringify(addon)});
				const init = ${JSON.stringify(init)};
				addon.openModel(init).then((model) => {
					const ids = Int32Array.from({ length: 20000 }, (_, t) => t % 500);
					const cuSeqlens = Int32Array.from({ length: 41 }, (_, i) => i * 500);
					model.score({ ids, cuSeqlens, batchTokens: 2000, entropy: true, logits: false, adapters: -1 });
					parentPort.postMessage("running");
				});
			`)};
			(async () => {
				for (let i = 0; i < 3; i++) {
					const worker = new Worker(source, { eval: true });
					await new Promise((resolve, reject) => { worker.once("message", resolve); worker.once("error", reject); });
					await new Promise((resolve) => setTimeout(resolve, 15));
					await worker.terminate();
				}
				console.log("alive");
			})();
		`;
		const { stdout } = await promisify(execFile)(process.execPath, ["-e", script]);
		expect(stdout.trim()).toBe("alive");
	});
});

describe("errors are typed and name the place", () => {
	const open = async (change: (w: Awaited<ReturnType<typeof readSafetensors>>) => void, options = {}) => {
		const folder = mkdtempSync(join(dir, "model-"));
		cpSync(golden("llama-tiny", "model"), folder, { recursive: true });
		const weights = await readSafetensors(golden("llama-tiny", "model", "model.safetensors"));
		change(weights);
		await writeSafetensors(join(folder, "model.safetensors"), weights);
		return openModel(folder, { dtype: "f32", ...options });
	};

	test("values that are not finite", async () => {
		for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) {
			const opened = open((w) => w.get("model.layers.1.mlp.up_proj.weight")?.data.fill(value, 4711, 4713));
			await expect(opened).rejects.toMatchObject({ code: "E_WEIGHTS" });
			await expect(opened).rejects.toThrow(/model\.layers\.1\.mlp\.up_proj\.weight: element 4711/);
		}
	});

	test("missing and surplus tensors, wrong shapes, short files: also without the TypeScript checks", async () => {
		const weights = {
			files: [{ fd: 0, size: 10 }],
			tensors: [{ name: "x", dtype: "F32" as const, shape: [4], file: 0, begin: 0, end: 16 }],
		};
		const { openSync, closeSync, statSync } = await import("node:fs");
		const path = golden("llama-tiny", "model", "model.safetensors");
		const fd = openSync(path, "r");
		const { size } = statSync(path);
		const { random: _, ...real } = init;
		const attempt = (part: Partial<NativeModelInit>) =>
			engine().openModel({ ...real, files: [{ fd, size }], tensors: [], ...part });
		await expect(attempt({})).rejects.toThrow(/model\.embed_tokens\.weight: missing, expected a tensor of shape \[512, 128\]/);
		await expect(attempt({ files: [{ fd, size: size + 1 }] })).rejects.toThrow(/cut off/);
		await expect(attempt({ tensors: weights.tensors.map((t) => ({ ...t, end: size + 8, begin: size - 8 })) })).rejects.toThrow(
			/within the file/,
		);
		const embed = { name: "model.embed_tokens.weight", dtype: "F32" as const, shape: [8, 2], file: 0, begin: 1000, end: 1064 };
		await expect(attempt({ tensors: [embed] })).rejects.toThrow(/expected shape \[512, 128\], found \[8, 2\]/);
		closeSync(fd);
	});

	test("a loss that is not finite changes nothing", async () => {
		const model = await open(
			(w) => {
				const norm = w.get("model.norm.weight");
				norm?.data.fill(3e38);
			},
			{ trainable: true },
		);
		const trainer = model.createTrainer();
		const before = trainer.parameters();
		const step = trainer.step({ sequences: sequences("llama-tiny") }, { learningRate: 1e-3 });
		await expect(step).rejects.toMatchObject({ code: "E_NUMERIC" });
		expect(allSameBits(trainer.parameters(), before)).toBe(true);
		expect(trainer.optimizerState().step).toBe(0);
		model.dispose();
	});

	test("adapters that do not fit", async () => {
		const model = await engine().openModel(init);
		const [first] = lora();
		if (!first) throw new Error("no module");
		const attempt = (change: Partial<typeof first>) => () => model.addAdapter([{ ...first, ...change }]);
		expect(attempt({ name: "lm_head" })).toThrowError(
			expect.objectContaining({ code: "E_ADAPTER", message: expect.stringMatching(/^lm_head/) }),
		);
		expect(attempt({ name: "model.layers.12.self_attn.q_proj" })).toThrow(/layers\.12/);
		expect(attempt({ a: new Float32Array(3) })).toThrow(/lora_A: expected \[8, 128\] = 1024 elements, found 3/);
		expect(attempt({ b: first.b.map(() => Number.NaN) })).toThrow(/lora_B: element 0 is nan/);
		expect(() => model.addAdapter([first, first])).toThrow(/twice/);
		expect(() => model.addAdapter([])).toThrow(/at least one module/);
		expect(model.adapterCount()).toBe(0);
		model.dispose();
	});
});

describe("dropout", () => {
	test("the same whatever the micro-batches, another in each step, none in evaluation", async () => {
		const run = async (micro: number[][], seed: number) => {
			const model = await engine().openModel({ ...init, config: { ...config, numLayers: 2 } });
			model.addAdapter(lora().filter((m) => /layers\.[01]\./.test(m.name)));
			const trainer = model.createTrainer({ ...training, dropout: 0.3, seed });
			const evaluated = (await trainer.evaluate([batchOf([20, 20, 20])], { type: "sft" })).loss;
			const losses: number[] = [];
			for (let i = 0; i < 2; i++) {
				losses.push(
					(
						await trainer.step(
							micro.map((m) => batchOf(m)),
							{ type: "sft" },
							0,
						)
					).loss,
				);
			}
			model.dispose();
			return { losses, evaluated };
		};
		// The same tokens in each sequence, whatever the packing, because batchOf restarts its ids; so only one packing.
		const one = await run([[20, 20, 20]], 1);
		expect((await run([[20, 20, 20]], 1)).losses).toEqual(one.losses);
		expect(one.losses[0]).not.toBe(one.losses[1]);
		expect(one.losses[0]).not.toBe(one.evaluated);
		expect((await run([[20, 20, 20]], 2)).losses[0]).not.toBe(one.losses[0]);
	});
});

describe("memory plans", () => {
	const lengths = Int32Array.from([100, 60]);
	const total = (plan: Record<string, number>) => Object.values(plan).reduce((a, b) => a + b, 0);

	test("a plan without weights is the plan of the open model, and recomputation saves activations", async () => {
		const model = await engine().openModel(init);
		model.addAdapter(lora());
		const shapes = lora().map(({ name, r }) => ({ name, r }));
		const plans = (["none", "selective", "full"] as const).map((recompute) => {
			const plan = model.planTraining({ ...training, recompute }, lengths, 50, { type: "sft" });
			expect(engine().planModel(init, { ...training, recompute }, [shapes], lengths, 50, { type: "sft" })).toEqual(plan);
			return plan;
		});
		const activations = plans.map((p) => p.activations as number);
		expect(activations[1]).toBeLessThan(activations[0] as number);
		expect(activations[2]).toBeLessThan((activations[1] as number) / 2);
		const parameters = shapes.reduce((n, s) => n + s.r, 0);
		expect(parameters).toBe(12 * 7 * 8);
		expect(plans[0]?.optimizer).toBe(2 * (plans[0]?.gradients as number));
		const scoring = engine().planModel(init, null, [shapes], lengths, 50, { type: "sft" });
		expect(total(scoring)).toBeLessThan(total(plans[2] as Record<string, number>));
		// And the plan is what a step takes: weights, adapters and arena.
		const trainer = model.createTrainer(training);
		await trainer.step([{ ...batchOf([100, 60]) }], { type: "sft" }, 0);
		const full = model.planTraining(training, lengths, 158, { type: "sft" });
		const held = total(full) - (full.gradients as number) - (full.optimizer as number);
		expect(model.memoryBytes()).toBe(held);
		// Given back, it is there again for the next step.
		model.releaseMemory();
		expect(model.memoryBytes()).toBe((full.weights as number) + (full.adapters as number));
		await trainer.step([{ ...batchOf([100, 60]) }], { type: "sft" }, 0);
		expect(model.memoryBytes()).toBe(held);
		model.dispose();
	});
});
