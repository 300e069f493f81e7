/**
 * What fintune writes for other programs, made the same way every time: adapters and a model trained in a few steps on
 * the small models of the goldens. PEFT and transformers read them in peft.test.ts; what those gave is kept in
 * test/fixtures/peft and compared with in test/pipeline/peft.test.ts.
 * @module
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { openModel } from "../../src/engine/model.js";
import { parsePipeline } from "../../src/pipeline/config.js";
import { runPipeline } from "../../src/pipeline/runner.js";
import { lines, put } from "../cli/cli.js";
import { type CaseName, golden, json } from "../engine/golden.js";

interface Inputs {
	sequences: { input_ids: number[]; supervised: number[] }[];
}

/** Token ids of the five sequences that are trained on and scored. */
export const inputIds = (name: CaseName): number[][] => json<Inputs>(name, "inputs.json").sequences.map((s) => s.input_ids);

/** A base folder, and an adapter folder that another program can put on it. */
export interface Written {
	model: string;
	adapter?: string;
	/** The adapters that were folded into that one, bottom first. */
	parts?: string[];
}
export const kinds = ["base", "stage", "stack", "full"] as const;
export type Kind = (typeof kinds)[number];

const common = { type: "sft", data: [{ path: "rows.jsonl" }], shuffle: false, batch_size: 5, lr_scheduler_type: "constant" };
const pipelines = {
	lora: [
		{ ...common, name: "stage", lora: { r: 4, alpha: 8 }, learning_rate: 5e-3, max_steps: 6 },
		// Other modules, another rank and a root in the scale: the folded adapter needs rank_pattern.
		{
			...common,
			name: "second",
			lora: { r: 2, alpha: 12, use_rslora: true, target_modules: ["q_proj", "v_proj", "down_proj"] },
			learning_rate: 5e-3,
			max_steps: 4,
		},
	],
	// The steps of full_train in test/fixtures/hf, so that its final parameters are a golden of these.
	full: [{ ...common, name: "full", learning_rate: 1e-3, max_steps: 5, weight_decay: 0.1, max_grad_norm: 0 }],
};

/** Trains below `dir` and says where everything lies; `stack` is two adapters folded into one. */
export async function writeAll(name: CaseName, dir: string): Promise<Record<Kind, Written>> {
	const { sequences } = json<Inputs>(name, "inputs.json");
	put(join(dir, "rows.jsonl"), lines(sequences.map(({ input_ids, supervised }) => ({ input_ids, completion_mask: supervised }))));
	const model = golden(name, "model");
	const adapterOf = (stage: string): string => join(dir, "lora", "stages", stage, "adapter");
	for (const [key, stages] of Object.entries(pipelines)) {
		const text = stringify({ name: key, model, device: "cpu", dtype: "f32", threads: 1, seed: 11, stages });
		const progress = { update() {}, message() {}, end() {} };
		await runPipeline(parsePipeline(text, join(dir, "pipeline.yaml")), { out: join(dir, key), progress });
	}
	return {
		base: { model },
		stage: { model, adapter: adapterOf("stage") },
		stack: { model, adapter: join(dir, "lora", "adapter"), parts: [adapterOf("stage"), adapterOf("second")] },
		full: { model: join(dir, "full", "stages", "full", "model") },
	};
}

/** Log-probabilities of all tokens of all sequences, and the logits of every sequence's last position. */
export interface Numbers {
	logprobs: Float32Array;
	logits: Float32Array;
}

/** What fintune computes in f32, with the parts of a folded adapter where they are given. */
export async function ours({ model: dir, adapter, parts }: Written, ids: number[][]): Promise<Numbers> {
	const adapters = parts ?? (adapter === undefined ? [] : [adapter]);
	const model = await openModel(dir, { dtype: "f32", adapters });
	try {
		const scores = await model.score(
			ids.map((sequence) => ({ inputIds: sequence })),
			{ logits: true },
		);
		const vocabulary = model.config.vocabSize;
		return {
			logprobs: joined(scores.map((s) => s.logprobs)),
			logits: joined(scores.map((s) => s.logits!.subarray(-vocabulary))),
		};
	} finally {
		model.dispose();
	}
}

/** Arrays one behind the other. */
export function joined(parts: readonly ArrayLike<number>[]): Float32Array {
	const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
	let at = 0;
	for (const part of parts) {
		all.set(part, at);
		at += part.length;
	}
	return all;
}

const fixtures = fileURLToPath(new URL("../fixtures/peft", import.meta.url));

/** A path of the golden of a case: `stage/` and `stack/` are adapters, `numbers.safetensors` what PEFT gave. */
export const stored = (name: CaseName, ...parts: string[]): string => join(fixtures, name, ...parts);
