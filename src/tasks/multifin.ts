/**
 * MultiFin: the topic of a headline from an accounting firm's web sites, English part (Jørgensen et al. 2023).
 * @module
 */
import { ruleCTask } from "./classification.js";
import { choiceDoc, defineTask, type NativeSplit } from "./define.js";
import { badRow, findFile, readJsonLines } from "./files.js";
import type { Split, Task } from "./task.js";

const labels = [
	"Finance",
	"Technology",
	"Tax & Accounting",
	"Business & Management",
	"Government & Controls",
	"Industry",
] as const;

const prompt = (text: string): string =>
	"In this task, you're working with English headlines from the MULTIFIN dataset. This dataset is made up of real-world article " +
	"headlines from a large accounting firm's websites. Your objective is to categorize each headline according to its primary topic. " +
	"The potential categories are 'Finance', 'Technology', 'Tax & Accounting', 'Business & Management', 'Government & Controls', and " +
	`'Industry'. Your response should only include the category that best fits the headline.\nText: ${text}\nAnswer:`;

const files: Record<Split, string> = {
	train: "english_highlevel_train.jsonl",
	valid: "english_highlevel_val.jsonl",
	test: "all_languages_highlevel_test.jsonl",
};

async function readNative(folder: string, split: Split): Promise<NativeSplit | undefined> {
	const path = await findFile(folder, files[split]);
	if (!path) return undefined;
	const english = (await readJsonLines(path)).filter(({ record }) => record.lang === "English");
	const rows = english.map(({ record, line }) => {
		const { text, label } = record;
		const answer = labels.find((known) => known === label);
		if (typeof text !== "string" || answer === undefined) {
			throw badRow(path, line, `"text", and "label": one of ${labels.join(", ")}`, JSON.stringify(record));
		}
		return { query: prompt(text), answer, doc: choiceDoc(String(record.id), text, labels, answer), source: { file: path, line } };
	});
	return { rows, files: [path] };
}

export const multifin: Task = defineTask({
	...ruleCTask,
	name: "multifin",
	id: "flare_multifin_en",
	title: "MultiFin: topics of headlines",
	license: "CC-BY-NC-4.0",
	redistributable: false,
	labels,
	folder: "multifin",
	nativeFiles: Object.values(files),
	howToGet: "MultiFin (CC BY-NC 4.0) is RasmusKaer/MultiFin; awinml/multifin has it as JSON lines.",
	readNative,
});
