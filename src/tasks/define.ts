/**
 * Makes a `Task` out of what is particular to it: where its rows come from, its scoring rule. Finding
 * folders, the import format, removing leaks and deriving a validation split are the same for all.
 *
 * **Import format.** In any data folder, `<task>/train.jsonl`, `<task>/valid.jsonl` and `<task>/test.jsonl` (or .jsonl.gz)
 * take precedence over the data set's original files. A row is the leaderboard's own: `query` (the prompt, unchanged),
 * `answer`, and the columns that scoring reads (`choices` and `gold`; `label_type`; `label` and `text`). `<task>` is the
 * short name or the leaderboard's id.
 * @module
 */
import { join } from "node:path";
import { FintuneError } from "../errors.js";
import { type BoardEntry, board } from "./board.js";
import { badRow, filledLines, findFile, readJsonLines } from "./files.js";
import { buildScores, metricOver, type Scorer } from "./scoring.js";
import { tenthForValidation, withoutSharedTexts } from "./splits.js";
import type { LoadOptions, LoadReport, Split, Task, TaskRow } from "./task.js";

/** Rows of one split as the data set's own files give them. */
export interface NativeSplit {
	rows: TaskRow[];
	files: string[];
}

/**
 * The rows of one original file; undefined where the folder does not hold it, or the split has none.
 * @param rowsOf reads the file at its path
 */
export async function nativeFile(
	folder: string,
	name: string | undefined,
	rowsOf: (path: string) => Promise<TaskRow[]>,
): Promise<NativeSplit | undefined> {
	const path = name === undefined ? undefined : await findFile(folder, name);
	return path === undefined ? undefined : { rows: await rowsOf(path), files: [path] };
}

/** {@link nativeFile} of JSON lines, a row each. */
export const nativeRecords = (
	folder: string,
	name: string | undefined,
	toRow: (record: Record<string, unknown>, path: string, line: number) => TaskRow,
): Promise<NativeSplit | undefined> =>
	nativeFile(folder, name, async (path) => (await readJsonLines(path)).map(({ record, line }) => toRow(record, path, line)));

/** {@link nativeFile} of text lines, a row each; empty lines are none. */
export const nativeLines = (
	folder: string,
	name: string | undefined,
	toRow: (text: string, path: string, line: number) => TaskRow,
): Promise<NativeSplit | undefined> =>
	nativeFile(folder, name, async (path) => (await filledLines(path)).map(({ text, line }) => toRow(text, path, line)));

export interface TaskDefinition
	extends Pick<
		Task,
		| "name"
		| "id"
		| "title"
		| "license"
		| "howToGet"
		| "redistributable"
		| "headline"
		| "metrics"
		| "defaultMaxNewTokens"
		| "strictRules"
	> {
	labels?: readonly string[];
	/** The folder of the data set's original files inside a data folder. */
	folder: string;
	/** The original files that are read, for messages. */
	nativeFiles: readonly string[];
	/** Reads a split from the original files; undefined when the folder does not hold it. */
	readNative?(folder: string, split: Split): Promise<NativeSplit | undefined>;
	/** False where the split is fixed by others and its rows must stay as they are. Default true. */
	removeSharedTexts?: boolean;
	/** Where prompts of later turns hold the model's earlier outputs. */
	followUp?: Task["followUp"];
	/** Columns that an imported row must have for scoring. */
	columns: readonly string[];
	scorer: Scorer;
}

function boardEntry(id: string): BoardEntry {
	const entry = board.get(id);
	if (!entry) throw new FintuneError("E_INTERNAL", `the task ${id} is not on the leaderboard's list`);
	return entry;
}

export function defineTask(definition: TaskDefinition): Task {
	const { scorer, headline } = definition;
	const task: Task = {
		name: definition.name,
		id: definition.id,
		title: definition.title,
		license: definition.license,
		howToGet: definition.howToGet,
		redistributable: definition.redistributable,
		headline,
		metrics: definition.metrics,
		defaultMaxNewTokens: definition.defaultMaxNewTokens,
		strictRules: definition.strictRules,
		...(definition.labels ? { labels: definition.labels } : {}),
		...(definition.followUp ? { followUp: definition.followUp } : {}),
		board: boardEntry(definition.id),
		originalFiles: definition.readNative ? definition.nativeFiles : [],
		readOriginal: async (split, folder) => (await definition.readNative?.(folder, split))?.rows,
		columns: definition.columns,
		hasSplit: () => true,
		load: async (split, dataDirs) => (await loadSplit(definition, split, dataDirs)).rows,
		loadWithReport: (split, dataDirs, options) => loadSplit(definition, split, dataDirs, options),
		score: (docs, outputs, options) => buildScores(scorer, headline, docs, outputs, options),
		metricOver: (docs, outputs, scoring, metric = headline) => metricOver(scorer, metric, docs, outputs, scoring),
	};
	return task;
}

async function loadSplit(
	definition: TaskDefinition,
	split: Split,
	dataDirs: readonly string[],
	{ keepTestTexts = false }: LoadOptions = {},
): Promise<{ rows: TaskRow[]; report: LoadReport }> {
	const wanted = await locate(definition, split === "test" ? "test" : "train", dataDirs);
	const given = split === "test" ? undefined : await locate(definition, "valid", dataDirs);
	const found = split === "valid" ? (given ?? wanted) : wanted;
	if (!found) throw notInstalled(definition, split, dataDirs);
	const report: LoadReport = { files: found.files, removed: {} };
	if (split === "test" || (given && keepTestTexts)) return { rows: found.rows, report };
	let rows = found.rows;
	if (definition.removeSharedTexts ?? true) {
		const test = await locate(definition, "test", dataDirs);
		const cleaned = withoutSharedTexts(rows, test?.rows ?? []);
		rows = cleaned.rows;
		if (cleaned.removed > 0 && !keepTestTexts) report.removed["text also in test"] = cleaned.removed;
	}
	if (given) return { rows, report };
	const parts = tenthForValidation(rows);
	if (split === "valid" || !keepTestTexts) return { rows: parts[split], report };
	const valid = new Set(parts.valid);
	return { rows: found.rows.filter((row) => !valid.has(row)), report };
}

async function locate(definition: TaskDefinition, split: Split, dataDirs: readonly string[]): Promise<NativeSplit | undefined> {
	for (const dir of dataDirs) {
		for (const name of [definition.name, definition.id]) {
			const path = await findFile(join(dir, name), `${split}.jsonl`);
			if (path) return { rows: await readImport(path, definition), files: [path] };
		}
		const native = await definition.readNative?.(join(dir, definition.folder), split);
		if (native) return native;
	}
	return undefined;
}

async function readImport(path: string, definition: TaskDefinition): Promise<TaskRow[]> {
	return (await readJsonLines(path)).map(({ record, line }) => {
		const { query, ...doc } = record;
		const answer = record.answer;
		if (typeof query !== "string") throw badRow(path, line, '"query": text', JSON.stringify(query) ?? "nothing");
		if (typeof answer !== "string" && typeof answer !== "number") {
			throw badRow(path, line, '"answer": text or number', JSON.stringify(answer) ?? "nothing");
		}
		const missing = definition.columns.filter((column) => !(column in doc));
		if (missing.length > 0) throw badRow(path, line, definition.columns.join(", "), `no ${missing.join(", ")}`);
		return { query, answer: String(answer), doc, source: { file: path, line } };
	});
}

function notInstalled(definition: TaskDefinition, split: Split, dataDirs: readonly string[]): FintuneError {
	const searched = dataDirs.flatMap((dir) => [join(dir, definition.name), join(dir, definition.folder)]);
	return new FintuneError("E_TASK_DATA", `no ${split} data of the task "${definition.name}" are installed`, {
		expected: `${split}.jsonl, or ${definition.nativeFiles.join(", ")}`,
		found: `none of them in ${[...new Set(searched)].join(", ") || "any folder: none was given"}`,
		hint:
			`${definition.howToGet} Put the files into one of these folders, or name another with data_dir:, --data or FINTUNE_DATA. ` +
			`The hub's rows come with \`fintune data fetch ${definition.name}\`.`,
	});
}

/** A document of a task with options. */
export function choiceDoc(id: string, text: string, choices: readonly string[], answer: string): TaskRow["doc"] {
	return { id, text, answer, choices: [...choices], gold: choices.indexOf(answer) };
}

/** A row of a data set in the instruction form of PIXIU: the prompt and the answer are two turns of a conversation. */
export function conversationTurns(
	record: Record<string, unknown>,
	file: string,
	line: number,
): { prompt: string; answer: string } {
	const turns = record.conversations;
	const value = (turn: unknown): unknown => (turn as { value?: unknown } | undefined)?.value;
	const prompt = Array.isArray(turns) ? value(turns[0]) : undefined;
	const answer = Array.isArray(turns) ? value(turns[1]) : undefined;
	if (typeof prompt !== "string" || typeof answer !== "string") {
		throw badRow(file, line, '"conversations": a prompt and an answer, each with a "value"', JSON.stringify(record));
	}
	return { prompt, answer };
}
