/**
 * CD: which tokens state a cause, and which its effect (FinCausal 2020, task 2).
 * @module
 */
import { type NativeSplit, nativeFile } from "./define.js";
import { badRow, readJsonList } from "./files.js";
import { hubTask } from "./hub_task.js";
import { bio, taggedRow, tagRule } from "./tagging.js";
import type { Split, TaskRow } from "./task.js";

const tags = bio("CAUSE", "EFFECT");
const fileOf = (split: Split): string => `flame_cd_${split}.json`;

const prompt = (text: string): string =>
	"Your job in this task is to perform sequence labeling on a provided text section, marking the chunks that represent the cause " +
	"of an event and the effects that result from it. For each token in the text, assign a label to indicate its role in " +
	"representing cause or effect. The labels you should use are 'B-CAUSE', 'I-CAUSE', 'B-EFFECT', 'I-EFFECT', and 'O'. A 'B-' " +
	"prefix is used to denote the beginning of a cause or effect sequence, while an 'I-' prefix is used for continuation of a cause " +
	"or effect sequence. If a token is not part of either a cause or effect sequence, label it as 'O'. Provide your answer as a " +
	`sequence of 'token:label' pairs, with each pair on a new line.\nText: ${text}\nAnswer:`;

const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every((item) => typeof item === "string");

function toRow(item: unknown, file: string, number: number): TaskRow {
	const { tokens, tags: labels } = (item ?? {}) as Record<string, unknown>;
	if (!isTexts(tokens) || !isTexts(labels) || tokens.length !== labels.length || !labels.every((tag) => tags.includes(tag))) {
		throw badRow(file, number, `"tokens", and as many "tags" out of ${tags.join(", ")}`, JSON.stringify(item));
	}
	return taggedRow(prompt, `cd${number - 1}`, tokens, labels, { file, line: number });
}

const read = (folder: string, split: Split): Promise<NativeSplit | undefined> =>
	nativeFile(folder, fileOf(split), async (path) => (await readJsonList(path)).map((item, i) => toRow(item, path, i + 1)));

export const cd = hubTask({
	name: "cd",
	id: "flare_cd",
	title: "CD: spans of cause and effect",
	license: "CC-BY-4.0",
	rule: tagRule(tags, "f1"),
	native: { folder: "fincausal_cd", files: [fileOf("train"), fileOf("valid"), fileOf("test")], read },
	howToGet:
		"The token lists are in gtfintechlab/FLaME, data/CausalDetection, saved as flame_cd_train.json, flame_cd_valid.json and " +
		"flame_cd_test.json (the texts: FinCausal 2020, CC BY 4.0).",
});
