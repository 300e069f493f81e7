/**
 * A model of a few thousand parameters with the embedded base's tokenizer, and a task set of a dozen sentences: enough
 * to run every stage in a second.
 * @module
 */
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { readModelConfig } from "../../src/engine/model_config.js";
import { weightShapes } from "../../src/engine/modules.js";
import { writeSafetensors } from "../../src/engine/safetensors.js";
import { put } from "../cli/cli.js";
import { root } from "../repository.js";

/** config.json of the tiny model. */
export const tinyConfig = {
	architectures: ["Qwen2ForCausalLM"],
	model_type: "qwen2",
	hidden_act: "silu",
	hidden_size: 16,
	intermediate_size: 32,
	num_hidden_layers: 1,
	num_attention_heads: 2,
	num_key_value_heads: 1,
	max_position_embeddings: 256,
	rms_norm_eps: 1e-6,
	rope_theta: 10000,
	tie_word_embeddings: true,
	vocab_size: 3072,
	eos_token_id: 3069,
	torch_dtype: "float32",
};

/** Weights that are the same on every machine: a linear congruential sequence, norms constant. */
export async function tinyWeights(dir: string): Promise<Map<string, { shape: number[]; data: Float32Array }>> {
	const { config } = await readModelConfig(dir);
	let state = 12345;
	const next = (): number => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		return state / 2 ** 32 - 0.5;
	};
	const weights = new Map<string, { shape: number[]; data: Float32Array }>();
	for (const [name, shape] of weightShapes(config)) {
		const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
		// The last norm is large, so that so narrow a model can be sure of a token.
		const scale = name === "model.norm.weight" ? 10 : 1;
		for (let i = 0; i < data.length; i++) data[i] = name.includes("norm") ? scale : next() * 0.6;
		weights.set(name, { shape, data });
	}
	return weights;
}

/** Writes the model folder. */
export async function tinyModel(dir: string): Promise<string> {
	mkdirSync(dir, { recursive: true });
	writeFileSync(join(dir, "config.json"), JSON.stringify(tinyConfig));
	await writeSafetensors(join(dir, "model.safetensors"), await tinyWeights(dir));
	for (const name of ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]) {
		copyFileSync(join(root, "models", "tiny-init", name), join(dir, name));
	}
	return dir;
}

/** A task data folder with SEC NER files of our own making: 15 sentences to train and validate, 4 to test. */
export function tinyTaskData(dir: string): string {
	const sentence = (person: string, organisation: string): string =>
		[`${person} NNP B-NP I-PER`, "leads VBZ B-VP O", `${organisation} NNP B-NP I-ORG`, "Inc NNP I-NP I-ORG", ". . O O"].join(
			"\n",
		);
	const people = ["Adams", "Baker", "Clark", "Davis", "Evans", "Foster", "Green", "Harris"];
	const firms = ["Acme", "Borealis", "Corvid", "Delta", "Ember"];
	const file = (from: number, count: number): string =>
		`-DOCSTART- -X- O O\n\n${Array.from({ length: count }, (_, i) => sentence(people[(from + i) % 8]!, firms[(from + 3 * i) % 5]!)).join("\n\n")}\n`;
	put(join(dir, "ner_sec", "FIN5.txt"), file(0, 15));
	put(join(dir, "ner_sec", "FIN3.txt"), file(2, 4));
	return dir;
}

/** A stage that trains an adapter on `rows.jsonl` beside the pipeline file, in three steps. */
export const smallSft = (more: object = {}): Record<string, unknown> => ({
	name: "sft",
	type: "sft",
	data: [{ path: "rows.jsonl" }],
	lora: { r: 2 },
	max_steps: 3,
	...more,
});

/** A pipeline file beside the folders `model` and `data` of the tiny model and its task set. */
export const pipelineText = (stages: readonly object[], more: object = {}): string =>
	stringify({ name: "small", model: "model", device: "cpu", dtype: "f32", threads: 1, data_dir: "data", ...more, stages });
