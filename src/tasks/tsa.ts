/**
 * TSA: a sentiment score for a company in a headline (SemEval-2017 task 5, subtask 2).
 *
 * The scored test rows are the leaderboard's own (`test.jsonl` of the import format); the original files bring only train.
 * @module
 */
import { FintuneError } from "../errors.js";
import { defineTask, type NativeSplit, nativeFile } from "./define.js";
import { readJsonList } from "./files.js";
import { regressionStrictRules, ruleT } from "./regression.js";
import type { Split, Task, TaskRow } from "./task.js";

const prompt = (company: string, text: string): string =>
	`Given the following financial text, return a sentiment score for ${company} as a floating-point number ranging from -1 ` +
	"(indicating a very negative or bearish sentiment) to 1 (indicating a very positive or bullish sentiment), with 0 designating " +
	"neutral sentiment. Return only the numerical score first, follow it with a brief reasoning behind your score.\n" +
	`Text: ${text}\nAnswer:`;

const trainFile = "Headline_Trainingdata.json";

const readNative = (folder: string, split: Split): Promise<NativeSplit | undefined> =>
	nativeFile(folder, split === "train" ? trainFile : undefined, async (path) =>
		(await readJsonList(path)).map((item, i) => toRow(item, path, i + 1)),
	);

/** @param number the item's place in the list, from 1 */
function toRow(item: unknown, file: string, number: number): TaskRow {
	const { id, company, title, sentiment } = (item ?? {}) as Record<string, unknown>;
	if (typeof company !== "string" || typeof title !== "string" || typeof sentiment !== "number") {
		throw new FintuneError("E_DATA_ROW", "is not an item of this data set", {
			where: `${file}:${number}`,
			expected: '"company", "title" and a number "sentiment"',
			found: JSON.stringify(item),
		});
	}
	const doc = { id: `tsa${String(id)}`, text: title, answer: sentiment };
	return { query: prompt(company, title), answer: String(sentiment), doc, source: { file, line: number } };
}

export const tsa: Task = defineTask({
	name: "tsa",
	id: "flare_tsa",
	title: "TSA: sentiment scores of headlines",
	license: "CC-BY-NC-SA-4.0",
	redistributable: false,
	headline: "rmse",
	metrics: {
		rmse: { higherIsBetter: false },
		missing: { higherIsBetter: false },
		missing_stderr: { higherIsBetter: false },
	},
	defaultMaxNewTokens: 20,
	strictRules: regressionStrictRules,
	folder: "tsa_semeval",
	nativeFiles: [trainFile],
	howToGet:
		"Train is SemEval-2017 task 5 (CC BY-NC-SA 4.0), Headline_Trainingdata.json; the leaderboard's test rows are the hub's flare-tsa, " +
		"saved as tsa/test.jsonl.",
	readNative,
	columns: ["answer"],
	scorer: ruleT,
});
