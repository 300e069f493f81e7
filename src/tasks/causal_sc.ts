/**
 * SC, causal classification: does a sentence of financial news state a causal relation (FinCausal 2020, task 1).
 * The trial file is (about) the leaderboard's test; train is the practice file.
 * @module
 */
import { ruleCTask } from "./classification.js";
import { choiceDoc, defineTask, type NativeSplit } from "./define.js";
import { badRow, findFile, numberedLines, readText } from "./files.js";
import type { Split, Task, TaskRow } from "./task.js";

const prompt = (text: string): string =>
	"In this task, you are provided with sentences extracted from financial news and SEC data. Your goal is to classify each " +
	"sentence into either 'causal' or 'noise' based on whether or not it indicates a causal relationship between financial " +
	`events. Please return only the category 'causal' or 'noise'.\nText: ${text}\nAnswer:`;

const labels = ["causal", "noise"] as const;
const trainFile = "fnp2020-fincausal2-task1.csv";
const testFile = "fnp2020-fincausal-task1.csv";

/** Rows "index; text; gold"; the leaderboard keeps the blank that opens the text. */
function parseRow(raw: string, path: string, line: number): TaskRow {
	const fields = raw.split(";");
	const [index, text, gold] = fields;
	const mark = gold?.trim();
	if (fields.length !== 3 || index === undefined || text === undefined || (mark !== "0" && mark !== "1")) {
		throw badRow(path, line, "index; text; 0 or 1", raw);
	}
	const answer = mark === "1" ? "causal" : "noise";
	return { query: prompt(text), answer, doc: choiceDoc(index, text, labels, answer), source: { file: path, line } };
}

async function readNative(folder: string, split: Split): Promise<NativeSplit | undefined> {
	if (split === "valid") return undefined;
	const path = await findFile(folder, split === "test" ? testFile : trainFile);
	if (!path) return undefined;
	const lines = numberedLines(await readText(path)).slice(1);
	return { rows: lines.map(({ text, line }) => parseRow(text, path, line)), files: [path] };
}

export const causalSc: Task = defineTask({
	...ruleCTask,
	name: "sc",
	id: "flare_causal20_sc",
	title: "SC: causal classification",
	license: "CC-BY-4.0",
	redistributable: true,
	labels,
	defaultMaxNewTokens: 128,
	folder: "fincausal_sc",
	nativeFiles: [trainFile, testFile],
	howToGet: "Both files come with fintune (data/fincausal_sc); the originals are in yseop/YseopLab, FNP_2020_FinCausal/data.",
	readNative,
});
