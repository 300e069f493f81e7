/**
 * CD: which tokens state a cause, and which its effect (FinCausal 2020, task 2).
 * @module
 */
import { FintuneError } from "../errors.js";
import type { NativeSplit } from "./define.js";
import { badRow, findFile, readText } from "./files.js";
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

async function read(folder: string, split: Split): Promise<NativeSplit | undefined> {
	const path = await findFile(folder, fileOf(split));
	if (!path) return undefined;
	let items: unknown;
	try {
		items = JSON.parse(await readText(path));
	} catch (cause) {
		if (cause instanceof FintuneError) throw cause;
		throw new FintuneError("E_DATA_FORMAT", "is not JSON", { where: path, found: (cause as Error).message, cause });
	}
	if (!Array.isArray(items)) throw new FintuneError("E_DATA_FORMAT", "is not a list", { where: path, expected: "a JSON list" });
	const rows = items.map((item, i): TaskRow => {
		const { tokens, tags: labels } = (item ?? {}) as Record<string, unknown>;
		if (!isTexts(tokens) || !isTexts(labels) || tokens.length !== labels.length || !labels.every((tag) => tags.includes(tag))) {
			throw badRow(path, i + 1, `"tokens", and as many "tags" out of ${tags.join(", ")}`, JSON.stringify(item));
		}
		return taggedRow(prompt, `cd${i}`, tokens, labels, { file: path, line: i + 1 });
	});
	return { rows, files: [path] };
}

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
