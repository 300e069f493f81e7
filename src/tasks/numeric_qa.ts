/**
 * FinQA and ConvFinQA: questions on a report's table and text whose answer is a computed number (Chen et al. 2021, 2022).
 * In ConvFinQA questions refer to earlier answers; the prompt of a later turn holds the model's own.
 * @module
 */
import { conversationTurns, nativeRecords } from "./define.js";
import { fillEarlierAnswers } from "./earlier_answers.js";
import { exactMatchRule } from "./exact_match.js";
import { badRow } from "./files.js";
import { hubTask } from "./hub_task.js";
import type { Split, TaskRow } from "./task.js";

const fileOf = (split: Split): string => `pixiu_finqa_${split}.jsonl`;

function toRow(record: Record<string, unknown>, file: string, line: number): TaskRow {
	const { prompt, answer } = conversationTurns(record, file, line);
	const text = /\nQuestion: (.*?)\nAnswer:$/s.exec(prompt)?.[1];
	if (text === undefined) throw badRow(file, line, "a prompt that ends in Question: ... Answer:", prompt.slice(-80));
	return { query: prompt, answer, doc: { id: String(record.id), text, answer }, source: { file, line } };
}

export const finqa = hubTask({
	name: "finqa",
	id: "flare_finqa",
	title: "FinQA: numeric questions",
	license: "MIT",
	rule: exactMatchRule,
	native: {
		folder: "finqa",
		files: [fileOf("train"), fileOf("valid"), fileOf("test")],
		read: (folder, split) => nativeRecords(folder, fileOf(split), toRow),
	},
	howToGet: "PIXIU's rows (The-FinAI/PIXIU, data/FinQA), saved as pixiu_finqa_train.jsonl, _valid.jsonl and _test.jsonl.",
});

export const convfinqa = hubTask({
	name: "convfinqa",
	id: "flare_convfinqa",
	title: "ConvFinQA: numeric questions in dialogues",
	license: "MIT",
	rule: exactMatchRule,
	followUp: {
		place: (doc) => ({ dialogue: String(doc.dialogue_id ?? ""), turn: Number(doc.turn ?? 0) }),
		query: fillEarlierAnswers,
	},
});
