import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { initAdapter, loadAdapter } from "../../src/engine/adapter.js";
import { planTraining } from "../../src/engine/model.js";
import { readSafetensors } from "../../src/engine/safetensors.js";
import type { NamedTensor, PreferenceBatch, SftBatch, TrainSequence } from "../../src/engine/types.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";
import { opened } from "./opened.js";

const rootMeanSquare = (found: readonly NamedTensor[], expected: ReadonlyMap<string, { data: Float32Array }>): number => {
	let [squares, count] = [0, 0];
	for (const p of found) {
		const e = expected.get(p.name);
		expect(e, p.name).toBeDefined();
		p.data.forEach((x, i) => {
			squares += (x - (e?.data[i] ?? Number.NaN)) ** 2;
		});
		count += p.data.length;
	}
	expect(found).toHaveLength(expected.size);
	return Math.sqrt(squares / count);
};

describe.skipIf(!hasShared).each(["qwen2-tiny", "llama-tiny"])(`%s (${whyNoShared})`, (name) => {
	const at = (...parts: string[]) => sharedPath("fixtures/golden/hf", name, ...parts);
	const json = (...parts: string[]) => JSON.parse(readFileSync(at(...parts), "utf8"));
	const sequences = (): TrainSequence[] =>
		json("inputs.json").sequences.map((s: { input_ids: number[]; supervised: number[] }) => ({
			inputIds: s.input_ids,
			completionMask: s.supervised,
		}));
	const pairs = (): PreferenceBatch["pairs"] =>
		json("dpo/pairs.json").pairs.map((p: { prompt: number[]; chosen: number[]; rejected: number[] }) => {
			const follow = (answer: number[]): TrainSequence => ({
				inputIds: [...p.prompt, ...answer],
				completionMask: [...p.prompt.map(() => 0), ...answer.map(() => 1)],
			});
			return { chosen: follow(p.chosen), rejected: follow(p.rejected) };
		});
	/** The batch of a step of a trace: `micro_batches` are indices of the sequences of inputs.json. */
	const traced = (microBatches: number[][]): SftBatch => {
		const all = sequences();
		let next = 0;
		return {
			sequences: microBatches.flat().map((i) => all[i] as TrainSequence),
			microBatches: microBatches.map((m) => m.map(() => next++)),
		};
	};

	test("the SFT trace, its final adapter, and the same after a stop and a resume", async () => {
		const trace = json("train/trace.json");
		const options = { weightDecay: trace.weight_decay, maxGradNorm: trace.max_grad_norm };
		const model = await opened(at("model"), { adapters: [at("train/init_adapter")] });
		let trainer = model.createTrainer(options);
		for (const step of trace.steps) {
			const result = await trainer.step(traced(step.micro_batches), { learningRate: step.lr });
			expect(Math.abs(result.loss - step.loss)).toBeLessThan(8e-6);
			expect(Math.abs(result.gradNorm - step.grad_norm)).toBeLessThan(6e-6);
			expect(result.targets).toBe(step.n_targets);
			if (step.step !== 4) continue;
			// Everything that a checkpoint holds goes into a new trainer.
			const [parameters, state] = [trainer.parameters(), trainer.optimizerState()];
			expect(state.step).toBe(4);
			trainer.dispose();
			trainer = model.createTrainer(options);
			trainer.setParameters(parameters);
			trainer.setOptimizerState(state);
		}
		const golden = await readSafetensors(at("train/final_adapter/adapter_model.safetensors"));
		expect(rootMeanSquare(trainer.parameters(), golden)).toBeLessThan(3e-6);
		const dir = mkdtempSync(join(tmpdir(), "fintune-trained-"));
		try {
			await trainer.saveAdapter(dir);
			const saved = await loadAdapter(dir, model.config);
			expect(saved.modules).toEqual(trainer.adapter().modules);
			const before = await model.score(sequences());
			trainer.dispose();
			expect(model.adapters[0]?.modules).toEqual(saved.modules);
			expect((await model.score(sequences())).map((s) => s.sum)).toEqual(before.map((s) => s.sum));
		} finally {
			rmSync(dir, { recursive: true });
		}
	});

	test("the trace of training all parameters", async () => {
		const trace = json("full_train/trace.json");
		const model = await opened(at("model"), { trainable: true });
		const trainer = model.createTrainer({ weightDecay: trace.weight_decay, maxGradNorm: 0 });
		for (const step of trace.steps) {
			const result = await trainer.step(traced(step.micro_batches), { learningRate: step.lr });
			expect(Math.abs(result.loss - step.loss)).toBeLessThan(4e-5);
			expect(Math.abs(result.gradNorm - step.grad_norm)).toBeLessThan(2e-4);
		}
		expect(rootMeanSquare(trainer.parameters(), await readSafetensors(at("full_train/final.safetensors")))).toBeLessThan(7e-6);
		const preference = { objective: "dpo", pairs: pairs() } as const;
		await expect(trainer.step(preference, { learningRate: 0 })).rejects.toMatchObject({
			code: "E_ARGUMENT",
			message: expect.stringContaining("reference"),
		});
	});

	test.each(["beta1.0", "beta0.1"])("the DPO trace with %s; its reference is the stack without the top", async (key) => {
		const trace = json("dpo/trace.json")[key];
		const model = await opened(at("model"), { adapters: [at("train/final_adapter"), at("dpo/init_adapter")] });
		const trainer = model.createTrainer({ maxGradNorm: trace.max_grad_norm });
		const batch = await trainer.withReference({
			objective: "dpo",
			beta: Number(key.slice(4)),
			pairs: pairs(),
			microBatches: [[0, 3], [1], [2]],
		});
		for (const step of trace.steps) {
			const r = await trainer.step(batch, { learningRate: step.lr });
			expect(Math.abs(r.loss - step.loss)).toBeLessThan(8e-6);
			expect(Math.abs(r.gradNorm / step.grad_norm - 1)).toBeLessThan(5e-5);
			expect(Math.abs((r.rewardsChosen ?? Number.NaN) - step["rewards/chosen"])).toBeLessThan(8e-5);
			expect(Math.abs((r.rewardsRejected ?? Number.NaN) - step["rewards/rejected"])).toBeLessThan(8e-5);
			expect(Math.abs((r.rewardsMargins ?? Number.NaN) - step["rewards/margins"])).toBeLessThan(8e-5);
			expect(r.rewardsAccuracies).toBe(step["rewards/accuracies"]);
		}
	});

	test("every preference loss at a trained adapter", async () => {
		const model = await opened(at("model"), { adapters: [at("train/final_adapter"), at("dpo/probe_adapter")] });
		const trainer = model.createTrainer();
		const golden = json("dpo/losses.json");
		const loss = async (batch: Parameters<typeof trainer.evaluate>[0]) => (await trainer.evaluate(batch)).loss;
		for (const beta of ["1.0", "0.1"]) {
			for (const lossType of ["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm"] as const) {
				const found = await loss({
					objective: "dpo",
					lossType,
					beta: Number(beta),
					labelSmoothing: lossType === "robust" ? 0.1 : 0,
					pairs: pairs(),
				});
				expect(Math.abs(found - golden[`beta${beta}`][lossType].loss), `${lossType} ${beta}`).toBeLessThan(3e-5);
			}
		}
		const { simpo, orpo, kto } = golden;
		expect(
			Math.abs(
				(await loss({ objective: "dpo", lossType: "simpo", beta: simpo.beta, gamma: simpo.gamma, pairs: pairs() })) - simpo.loss,
			),
		).toBeLessThan(3e-5);
		const odds = orpo.loss - orpo.chosen_nll_prompt_and_completion;
		expect(
			Math.abs(
				(await loss({ objective: "dpo", lossType: "orpo", beta: orpo.beta, pairs: pairs() })) -
					(orpo.chosen_nll_completion + odds),
			),
		).toBeLessThan(3e-5);
		const rows = pairs().flatMap((p) => [
			{ ...p.chosen, label: true },
			{ ...p.rejected, label: false },
		]);
		expect(Math.abs((await loss({ objective: "kto", beta: kto.beta, rows })) - kto.loss)).toBeLessThan(3e-5);
		const golds = await readSafetensors(at("dpo/grad_beta0.1.safetensors"));
		const { gradients } = await trainer.gradients({ objective: "dpo", beta: 0.1, pairs: pairs() });
		for (const g of gradients) {
			const e = golds.get(g.name)?.data ?? new Float32Array(0);
			const norm = Math.hypot(...e);
			expect(Math.hypot(...g.data.map((x, i) => x - (e[i] ?? Number.NaN))) / norm, g.name).toBeLessThan(4e-5);
		}
		expect(gradients).toHaveLength(golds.size);
	});

	test.each(["f32", "bf16"] as const)(
		"a fresh adapter starts at margin zero in %s, another reference is found out",
		async (dtype) => {
			const model = await opened(at("model"), { dtype, adapters: [at("train/final_adapter")] });
			await model.addAdapter(initAdapter(model.config, { r: 4, alpha: 8 }));
			const cases = [
				{ objective: "dpo", lossType: "sigmoid", beta: 1, pairs: pairs() },
				{ objective: "dpo", lossType: "ipo", beta: 0.1, pairs: pairs() },
				{ objective: "dpo", lossType: "hinge", beta: 1, pairs: pairs() },
				{ objective: "dpo", lossType: "robust", labelSmoothing: 0.2, pairs: pairs() },
				{ objective: "kto", desirableWeight: 2, rows: pairs().map((p, i) => ({ ...p.chosen, label: i > 0 })) },
			] as const;
			for (const batch of cases) {
				const trainer = model.createTrainer();
				await trainer.step(batch, { learningRate: 0 });
				trainer.dispose();
			}
			const trainer = model.createTrainer();
			const wrong = {
				objective: "dpo",
				beta: 1,
				pairs: pairs().map((p) => ({ ...p, referenceChosen: -30, referenceRejected: -60 })),
			} as const;
			await expect(trainer.step(wrong, { learningRate: 0 })).rejects.toMatchObject({
				code: "E_REFERENCE",
				message: expect.stringContaining("margin zero"),
			});
			trainer.dispose();
		},
	);

	test("a step above a limit is refused with its loss and norm, and changes nothing", async () => {
		const model = await opened(at("model"), { adapters: [at("lora/adapter")] });
		const trainer = model.createTrainer();
		const batch = { sequences: sequences() };
		const { loss, gradNorm } = await trainer.gradients(batch);
		const before = trainer.parameters();
		for (const limits of [{ loss: loss * 0.99 }, { gradNorm: gradNorm * 0.99 }]) {
			const found = expect.stringContaining(`loss ${loss}, gradient norm ${gradNorm}`);
			await expect(trainer.step(batch, { learningRate: 1, limits })).rejects.toMatchObject({ code: "E_STEP_LIMIT", found });
		}
		expect(trainer.parameters()).toEqual(before);
		expect(trainer.optimizerState().step).toBe(0);
		await trainer.step(batch, { learningRate: 1e-3, limits: { loss, gradNorm } });
		expect(trainer.optimizerState().step).toBe(1);
		trainer.dispose();
	});

	test("micro-batches do not change a step beyond rounding; explicit weights are the same sum", async () => {
		const model = await opened(at("model"), { adapters: [at("lora/adapter")] });
		const trainer = model.createTrainer();
		const all = sequences();
		const whole = await trainer.gradients({ sequences: all });
		const parts = await trainer.gradients({ sequences: all, microBatches: [[4], [0, 1], [3, 2]] });
		const weights = all.map((s) =>
			Float32Array.from(s.completionMask as number[], (m, t) => (m && t > 0 ? 1 / whole.targets : 0)),
		);
		const weighted = await trainer.gradients({
			sequences: all.map((s, i) => ({ inputIds: s.inputIds, weights: weights[i] as Float32Array })),
		});
		for (const other of [parts, weighted]) {
			expect(Math.abs(other.loss - whole.loss)).toBeLessThan(1e-6);
			other.gradients.forEach((g, k) => {
				const e = whole.gradients[k] as NamedTensor;
				expect(Math.hypot(...g.data.map((x, i) => x - (e.data[i] as number))) / Math.hypot(...e.data)).toBeLessThan(1e-5);
			});
		}
	});

	test("what cannot be trained is refused, naming it", async () => {
		const model = await opened(at("model"));
		expect(() => model.createTrainer({ parameters: "lora" })).toThrowError(expect.objectContaining({ code: "E_ARGUMENT" }));
		expect(() => model.createTrainer()).toThrowError(expect.objectContaining({ message: expect.stringContaining("trainable") }));
		await model.addAdapter(initAdapter(model.config, { r: 2, alpha: 2 }));
		expect(() => model.createTrainer({ adamBeta1: 1 })).toThrowError(
			expect.objectContaining({ message: expect.stringContaining("adamBeta1") }),
		);
		const trainer = model.createTrainer();
		expect(() => model.createTrainer()).toThrowError(expect.objectContaining({ message: expect.stringContaining("live") }));
		await expect(model.addAdapter(initAdapter(model.config, { r: 2, alpha: 2 }))).rejects.toMatchObject({ code: "E_ARGUMENT" });
		const refused = (batch: SftBatch, says: RegExp, learningRate = 1e-3) =>
			expect(trainer.step(batch, { learningRate })).rejects.toMatchObject({
				code: "E_ARGUMENT",
				message: expect.stringMatching(says),
			});
		const sequence = { inputIds: [1, 2, 3] };
		await refused({ sequences: [] }, /at least one of `sequences`/);
		await refused({ sequences: [sequence, { inputIds: [1, 100_000] }] }, /sequences\[1\]\.inputIds\[1\]/);
		await refused({ sequences: [sequence, sequence], microBatches: [[0]] }, /sequences\[1\] is in no micro-batch/);
		await refused({ sequences: [sequence], microBatches: [[0], [0]] }, /a second time/);
		await refused({ sequences: [{ ...sequence, completionMask: [0, 1] }] }, /completionMask/);
		await refused({ sequences: [{ ...sequence, weights: [1] }] }, /weights/);
		await refused({ sequences: [sequence] }, /learningRate/, Number.NaN);
		await expect(trainer.step({ sequences: [sequence] }, { learningRate: 1, signal: AbortSignal.abort() })).rejects.toMatchObject(
			{ code: "E_ABORTED" },
		);
	});

	test("a plan needs the config only", async () => {
		const shape = { lengths: [64, 32], objective: "sft" } as const;
		const plan = await planTraining(at("model"), { dtype: "f32", adapters: [{ r: 8 }], shape });
		const wider = await planTraining(at("model"), {
			dtype: "f32",
			adapters: [{ r: 8 }],
			shape: { ...shape, lengths: [128, 64] },
		});
		expect(plan.activations).toBeGreaterThan(0);
		expect(wider.activations).toBeGreaterThan(1.8 * (plan.activations ?? 0));
		expect(wider.optimizer).toBe(plan.optimizer);
		const stacked = await planTraining(at("model"), { dtype: "f32", adapters: [{ r: 8 }, { r: 8 }], shape });
		expect(stacked.adapters).toBe(2 * (plan.adapters ?? 0));
		expect(stacked.optimizer).toBe(plan.optimizer);
	});
});
