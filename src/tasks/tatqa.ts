/**
 * TAT-QA: questions on a table and the paragraphs around it (Zhu et al. 2021). The leaderboard's test are the questions of
 * the development file.
 * @module
 */
import { nativeFile } from "./define.js";
import { exactMatchRule } from "./exact_match.js";
import { badRow, readJsonList } from "./files.js";
import { hubTask } from "./hub_task.js";
import type { Split, TaskRow } from "./task.js";

const fileOf: Partial<Record<Split, string>> = { train: "tatqa_dataset_train.json", test: "tatqa_dataset_dev.json" };

const prompt = (context: string, question: string): string =>
	`Please answer the given financial question based on the context.\nContext: ${context}\nQuestion: ${question}\nAnswer:`;

interface Item {
	table: { table: string[][] };
	paragraphs: { text: string; order: number }[];
	questions: { question: string; answer: string | string[] }[];
}

/** Numbers stay as they are written: 27.0 is another answer than 27. */
const quoteNumbers = (text: string): string => text.replace(/("answer"\s*:\s*)(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)/g, '$1"$2"');

async function rowsOf(path: string): Promise<TaskRow[]> {
	const rows: TaskRow[] = [];
	for (const [i, item] of ((await readJsonList(path, quoteNumbers)) as Item[]).entries()) {
		if (!Array.isArray(item?.table?.table) || !Array.isArray(item.paragraphs) || !Array.isArray(item.questions)) {
			throw badRow(path, i + 1, '"table", "paragraphs" and "questions"', Object.keys(item ?? {}).join(", "));
		}
		const table = item.table.table.map((cells) => `|${cells.join("|")}|`);
		const paragraphs = [...item.paragraphs].sort((a, b) => a.order - b.order).map(({ text }) => text);
		const context = [...table, ...paragraphs].join("\n");
		for (const { question, answer: given } of item.questions) {
			const answer = Array.isArray(given) ? given.join("\n") : given;
			rows.push({
				query: prompt(context, question),
				answer,
				doc: { id: `tatqa${rows.length}`, text: question, answer },
				source: { file: path, line: i + 1 },
			});
		}
	}
	return rows;
}

export const tatqa = hubTask({
	name: "tatqa",
	id: "flare_tatqa",
	title: "TAT-QA: questions on tables and text",
	license: "CC-BY-4.0",
	rule: { ...exactMatchRule, defaultMaxNewTokens: 128 },
	native: { folder: "tatqa", files: Object.values(fileOf), read: (folder, split) => nativeFile(folder, fileOf[split], rowsOf) },
	howToGet: "NExTplusplus/TAT-QA, dataset_raw: tatqa_dataset_train.json and tatqa_dataset_dev.json (CC BY 4.0).",
});
