/**
 * TAT-QA: questions on a table and the paragraphs around it (Zhu et al. 2021). The leaderboard's test are the questions of
 * the development file.
 * @module
 */
import { FintuneError } from "../errors.js";
import type { NativeSplit } from "./define.js";
import { exactMatchRule } from "./exact_match.js";
import { badRow, findFile, readText } from "./files.js";
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

async function read(folder: string, split: Split): Promise<NativeSplit | undefined> {
	const name = fileOf[split];
	const path = name === undefined ? undefined : await findFile(folder, name);
	if (!path) return undefined;
	let items: Item[];
	try {
		// Numbers stay as they are written: 27.0 is another answer than 27.
		const text = (await readText(path)).replace(/("answer"\s*:\s*)(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)/g, '$1"$2"');
		items = JSON.parse(text) as Item[];
	} catch (cause) {
		if (cause instanceof FintuneError) throw cause;
		throw new FintuneError("E_DATA_FORMAT", "is not JSON", { where: path, found: (cause as Error).message, cause });
	}
	const rows: TaskRow[] = [];
	for (const [i, item] of items.entries()) {
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
	return { rows, files: [path] };
}

export const tatqa = hubTask({
	name: "tatqa",
	id: "flare_tatqa",
	title: "TAT-QA: questions on tables and text",
	license: "CC-BY-4.0",
	rule: exactMatchRule,
	native: { folder: "tatqa", files: Object.values(fileOf), read },
	howToGet: "NExTplusplus/TAT-QA, dataset_raw: tatqa_dataset_train.json and tatqa_dataset_dev.json (CC BY 4.0).",
});
