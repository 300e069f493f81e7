/**
 * What transformers and PEFT computed with tiny models (test/fixtures/hf), computed again on a device: forward passes,
 * LoRA gradients, optimiser steps, greedy tokens.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openModel } from "../../dist/engine/model.js";
import { readSafetensors } from "../../dist/engine/safetensors.js";
import { relativeL2 } from "./numbers.mjs";

export const cases = ["qwen2-tiny", "llama-tiny"];

/**
 * f32: ten times the goldens' own noise. bf16: twice what transformers in bf16 is off by; fp16 is finer and must stay
 * within the same.
 */
const limits = {
	f32: { logprob: 4e-5, entropy: 2e-5, meanLoss: 3e-6, gradient: 3e-5, loss: 8e-6, norm: 6e-6 },
	"qwen2-tiny": { logprob: 2 * 0.065, meanLoss: 2 * 0.0016, gradient: 2 * 0.073, loss: 0.02, norm: 0.05 },
	"llama-tiny": { logprob: 2 * 0.053, meanLoss: 2.1 * 0.0017, gradient: 2 * 0.052, loss: 0.02, norm: 0.05 },
};

/**
 * @param {{device: string, dtypes: string[], fixtures: string, steps: number, onProgress?: (text: string) => void}} options
 *   fixtures: test/fixtures/hf; steps: of the training trace, whose first has a learning rate of 0
 */
export async function checkGoldens({ device, dtypes, fixtures, steps, onProgress }) {
	const records = [];
	for (const name of cases) {
		for (const dtype of dtypes) {
			onProgress?.(`${name} ${dtype}`);
			records.push(...(await new Golden(name, dtype, device, join(fixtures, name)).check(steps)));
		}
	}
	return records;
}

class Golden {
	constructor(name, dtype, device, folder) {
		Object.assign(this, { name, dtype, device, folder, limit: dtype === "f32" ? limits.f32 : limits[name] });
		this.sequences = this.json("inputs.json").sequences.map((s) => ({
			inputIds: s.input_ids,
			completionMask: s.supervised.map((counts, t) => (t === 0 ? 0 : counts)),
		}));
	}

	json(...path) {
		return JSON.parse(readFileSync(join(this.folder, ...path), "utf8"));
	}

	async with(adapters, work) {
		const { device, dtype, folder } = this;
		const model = await openModel(join(folder, "model"), {
			device,
			dtype,
			adapters: adapters.map((adapter) => join(folder, adapter)),
		});
		try {
			return await work(model);
		} finally {
			model.dispose();
		}
	}

	record(what, value, limit) {
		return { check: "golden", case: this.name, dtype: this.dtype, result: what, value, limit, ok: value <= limit };
	}

	async check(steps) {
		const records = [];
		for (const [folder, adapters] of [
			[".", []],
			["lora", ["lora/adapter"]],
			["lora_qv", ["lora_qv/adapter"]],
		]) {
			records.push(...(await this.forward(folder, adapters)));
			if (adapters.length > 0) records.push(await this.gradients(folder, adapters));
		}
		records.push(...(await this.training(steps)));
		if (this.dtype === "f32") records.push(...(await this.greedy()));
		return records;
	}

	async forward(folder, adapters) {
		const expected = await readSafetensors(join(this.folder, folder, "forward.safetensors"));
		const scores = await this.with(adapters, (model) => model.score(this.sequences, { entropy: true }));
		const farthest = (kind) =>
			Math.max(
				...scores.map((s, i) => maxDifference(s[kind === "logprob" ? "logprobs" : kind], expected.get(`seq${i}.${kind}`).data)),
			);
		const n = scores.reduce((total, s) => total + s.n, 0);
		// Score.sum counts what the mask counts.
		const mean = -scores.reduce((total, s) => total + s.sum, 0) / n;
		const loss = Math.abs(mean - this.json(folder, "forward.json").mean_loss);
		const where = folder === "." ? "forward" : `forward ${folder}`;
		return [
			this.record(`${where}: log-probabilities`, farthest("logprob"), this.limit.logprob),
			...(this.limit.entropy ? [this.record(`${where}: entropies`, farthest("entropy"), this.limit.entropy)] : []),
			this.record(`${where}: mean loss`, loss, this.limit.meanLoss),
		];
	}

	async gradients(folder, adapters) {
		const expected = await readSafetensors(join(this.folder, folder, "grad.safetensors"));
		const { gradients } = await this.with(adapters, (model) => model.createTrainer().gradients({ sequences: this.sequences }));
		const names = gradients.map((g) => g.name).sort();
		if (names.join() !== [...expected.keys()].sort().join()) throw new Error(`gradients of ${names.join()}`);
		const worst = Math.max(...gradients.map((g) => relativeL2(g.data, expected.get(g.name).data)));
		return this.record(`gradients ${folder}`, worst, this.limit.gradient);
	}

	async training(steps) {
		const trace = this.json("train", "trace.json");
		const found = await this.with(["train/init_adapter"], async (model) => {
			const trainer = model.createTrainer({ weightDecay: trace.weight_decay, maxGradNorm: trace.max_grad_norm });
			const results = [];
			for (const step of trace.steps.slice(0, steps)) {
				const used = [...new Set(step.micro_batches.flat())];
				const microBatches = step.micro_batches.map((batch) => batch.map((s) => used.indexOf(s)));
				const batch = { sequences: used.map((s) => this.sequences[s]), microBatches };
				results.push(await trainer.step(batch, { learningRate: step.lr }));
			}
			return results;
		});
		return found.flatMap(({ loss, gradNorm }, i) => {
			const want = trace.steps[i];
			return [
				this.record(`step ${i + 1}: loss`, Math.abs(loss - want.loss), this.limit.loss),
				this.record(`step ${i + 1}: gradient norm`, Math.abs(gradNorm - want.grad_norm), this.limit.norm),
			];
		});
	}

	async greedy() {
		const golden = this.json("generate.json");
		const records = [];
		for (const [key, adapters, options] of [
			["greedy", [], {}],
			["greedy_lora", ["lora/adapter"], {}],
			["greedy_repetition_penalty_1.2", [], { repetitionPenalty: 1.2 }],
		]) {
			const wanted = golden[key];
			const rows = wanted.map((c) => ({ inputIds: c.prompt }));
			const found = await this.with(adapters, (model) =>
				model.generate(rows, { ...options, maxNewTokens: golden.max_new_tokens }),
			);
			const wrong = wanted.filter((c, i) => {
				const tokens = c.finish_reason === "eos" ? c.tokens.slice(0, -1) : c.tokens;
				return tokens.join() !== [...found[i].outputIds].join();
			});
			records.push(this.record(`${key}: wrong answers`, wrong.length, 0));
		}
		return records;
	}
}

function maxDifference(a, b) {
	if (a.length !== b.length) throw new Error(`${a.length} values, expected ${b.length}`);
	let max = 0;
	for (let i = 0; i < a.length; i++) max = Math.max(max, Math.abs(a[i] - b[i]));
	return Number.isNaN(max) ? Number.POSITIVE_INFINITY : max;
}
