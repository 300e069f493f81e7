/**
 * FiQA-SA: sentiment of financial posts and headlines (FiQA 2018, task 1) in the leaderboard's own split.
 * @module
 */
import { ruleCTask } from "./classification.js";
import { choiceDoc, conversationTurns, defineTask, nativeRecords } from "./define.js";
import { badRow } from "./files.js";
import type { Split, Task, TaskRow } from "./task.js";

const labels = ["negative", "positive", "neutral"] as const;
const fileOf = (split: Split): string => `pixiu_flare_fiqasa_${split}_first_prompt.jsonl`;

function toRow(record: Record<string, unknown>, file: string, line: number): TaskRow {
	const turns = conversationTurns(record, file, line);
	const answer = turns.answer.toLowerCase();
	const text = /\nText: (.*)\nAnswer:$/s.exec(turns.prompt)?.[1];
	if (text === undefined || !(labels as readonly string[]).includes(answer)) {
		throw badRow(file, line, "a prompt that ends in Text: ... Answer:, and a sentiment", JSON.stringify(record));
	}
	return { query: turns.prompt, answer, doc: choiceDoc(String(record.id), text, labels, answer), source: { file, line } };
}

export const fiqasa: Task = defineTask({
	...ruleCTask,
	name: "fiqasa",
	id: "flare_fiqasa",
	title: "FiQA-SA: sentiment of posts and headlines",
	license: "LicenseRef-FiQA-2018",
	redistributable: false,
	labels,
	folder: "fiqa_sa",
	nativeFiles: [fileOf("train"), fileOf("valid"), fileOf("test")],
	howToGet:
		"The FiQA 2018 files of the leaderboard are in The-FinAI/PIXIU, data/fiqasa (no licence is stated, so they are not shipped).",
	readNative: (folder, split) => nativeRecords(folder, fileOf(split), toRow),
});
