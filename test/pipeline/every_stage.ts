/**
 * A pipeline with one stage of every type that runs in seconds, for tests that interrupt and damage runs: the tiny model,
 * checkpoints of every training stage, answers that come one by one.
 * @module
 */
import { join } from "node:path";
import { lines, put } from "../cli/cli.js";
import { pipelineText, tinyModel, tinyTaskData } from "./tiny.js";

/** Nobody frees a disk that a test has filled. */
const guards = { disk_wait_minutes: 0 };
const stages = [
	{
		name: "base",
		type: "pretrain",
		data: [{ path: "text.jsonl" }],
		learning_rate: 1e-3,
		batch_size: 2,
		max_steps: 4,
		max_length: 16,
		save_steps: 2,
		guards,
	},
	{
		name: "sft",
		type: "sft",
		data: [{ path: "rows.jsonl" }],
		lora: { r: 8, alpha: 32, dropout: 0.05 },
		learning_rate: 0.02,
		batch_size: 4,
		max_steps: 30,
		validation: { path: "rows.jsonl", every_steps: 6 },
		save_steps: 5,
		guards,
	},
	{
		name: "probe",
		type: "evaluate",
		tasks: ["ner"],
		split: "train",
		limit: 5,
		max_new_tokens: 4,
		generation_batch_size: 1,
	},
	{
		name: "dpo",
		type: "dpo",
		data: [{ from: "probe", rejected: "any" }],
		lora: { r: 2 },
		learning_rate: 1e-3,
		batch_size: 2,
		max_steps: 4,
		save_steps: 2,
		guards,
	},
	{
		name: "synth",
		type: "synthesize",
		task: "ner",
		limit: 3,
		samples: 2,
		temperature: 0,
		max_new_tokens: 6,
		answer_pattern: "(?s)^\\s*(\\S.*)$",
	},
	{ name: "final", type: "evaluate", tasks: ["ner"], split: "valid", max_new_tokens: 4, generation_batch_size: 1 },
];

export const stagesOfEvery: readonly string[] = stages.map((stage) => stage.name);

/** Writes the pipeline with all that it reads into a folder; returns its file. */
export async function everyStage(dir: string): Promise<string> {
	await tinyModel(join(dir, "model"));
	tinyTaskData(join(dir, "data"));
	const prompts = ["Row 1:", "Row 2:", "Inc .\nAnswer:", "Corvid Inc .\nAnswer:", "the answer.\nReasoning:", "What?\nReasoning:"];
	put(join(dir, "rows.jsonl"), lines(prompts.map((prompt) => ({ prompt, completion: " yes" }))));
	put(join(dir, "text.jsonl"), lines([{ text: "The firm grew. ".repeat(12) }, { text: "Sales fell." }]));
	return put(join(dir, "every.yaml"), pipelineText(stages, { name: "every" }));
}
