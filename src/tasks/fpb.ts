/**
 * FPB: sentiment of sentences from financial news (Financial PhraseBank, Malo et al. 2014), at least 50 % agreement, in
 * the leaderboard's own split.
 *
 * The leaderboard's maintainers (PIXIU) drew it with scikit-learn from the distinct sentences in file order: a fixed number
 * of test sentences per class, and a fifth of the rest, the classes one behind the other, for validation. Written out as
 * PIXIU writes it, train (3,094 sentences), valid (774) and test (970) have the git hashes of the files that PIXIU
 * published (data/FPB at its commit 97fc7bb), so these are its rows. The hub's copy is listed with 970 test rows as well,
 * but with 3,100 and 776 of the others; it could not be compared. For its rows, import them (see `define.ts`).
 * @module
 */
import { FintuneError } from "../errors.js";
import { trainTestSplit } from "../metrics/numpy_random.js";
import { ruleCTask } from "./classification.js";
import { choiceDoc, defineTask, type NativeSplit } from "./define.js";
import { badRow, findFile, numberedLines, readText } from "./files.js";
import type { Split, Task, TaskRow } from "./task.js";

const prompt = (text: string): string =>
	"Analyze the sentiment of this statement extracted from a financial news article. Provide your answer as either negative, " +
	`positive, or neutral.\nText: ${text}\nAnswer:`;

const labels = ["positive", "neutral", "negative"] as const;
const sentencesFile = "Sentences_50Agree.txt";
const seed = 42;
/** Distinct sentences of each class and how many of them are test, in the order in which the classes were drawn. */
const classes = [
	{ label: "positive", sentences: 1362, test: 277 },
	{ label: "negative", sentences: 604, test: 116 },
	{ label: "neutral", sentences: 2872, test: 577 },
] as const;

/** Distinct sentences in file order; of a repeated sentence the first label stands. */
function parseSentences(text: string, path: string): TaskRow[] {
	const rows = new Map<string, TaskRow>();
	for (const { text: raw, line } of numberedLines(text)) {
		const at = raw.lastIndexOf("@");
		const sentence = raw.slice(0, at);
		const answer = raw.slice(at + 1);
		if (at < 1 || !(labels as readonly string[]).includes(answer))
			throw badRow(path, line, "sentence@positive, @neutral or @negative", raw);
		if (rows.has(sentence)) continue;
		const doc = choiceDoc(`fpb${line - 1}`, sentence, labels, answer);
		rows.set(sentence, { query: prompt(sentence), answer, doc, source: { file: path, line } });
	}
	return [...rows.values()];
}

async function readNative(folder: string, split: Split): Promise<NativeSplit | undefined> {
	const path = await findFile(folder, sentencesFile);
	if (!path) return undefined;
	const rows = parseSentences(await readText(path, "latin1"), path);
	const drawn = classes.map(({ label, sentences, test }) => {
		const ofClass = rows.filter((row) => row.answer === label);
		if (ofClass.length !== sentences) throw otherFile(path, label, sentences, ofClass.length);
		return trainTestSplit(ofClass, test, seed);
	});
	if (split === "test") return { rows: drawn.flatMap(({ test }) => test), files: [path] };
	const rest = drawn.flatMap(({ train }) => train);
	const { train, test: valid } = trainTestSplit(rest, Math.ceil(rest.length / 5), seed);
	return { rows: split === "train" ? train : valid, files: [path] };
}

const otherFile = (path: string, label: string, expected: number, found: number): FintuneError =>
	new FintuneError("E_DATA_FORMAT", "is not the file that the leaderboard's split was drawn from", {
		where: path,
		expected: `${expected} distinct ${label} sentences, as in Financial PhraseBank v1.0`,
		found: String(found),
		hint: "Put the original file there, or import rows of your own as train.jsonl, valid.jsonl and test.jsonl.",
	});

export const fpb: Task = defineTask({
	...ruleCTask,
	name: "fpb",
	id: "flare_fpb",
	title: "FPB: sentiment of financial news",
	license: "CC-BY-NC-SA-3.0",
	redistributable: false,
	labels,
	folder: "fpb",
	nativeFiles: [sentencesFile],
	howToGet: "Financial PhraseBank v1.0 is free for non-commercial use: download it from its authors (Malo et al. 2014).",
	readNative,
});
