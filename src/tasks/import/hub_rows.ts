/**
 * Reading rows as the hub has them (JSON lines, JSON, CSV or parquet), and holding each against what its task needs.
 * @module
 */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Problems } from "../../data/problems.js";
import { readRows, sourceText } from "../../data/readers.js";
import { FintuneError, fromSystemError } from "../../errors.js";
import type { Split, Task, TaskRow } from "../task.js";

const rowFile = /\.(?:(?:jsonl|ndjson|json|csv)(?:\.gz)?|parquet)$/i;
const splitNames: readonly [Split, RegExp][] = [
	["train", /(?:^|[^a-z])train(?:[^a-z]|$)/i],
	["valid", /(?:^|[^a-z])(?:valid|validation|val|dev)(?:[^a-z]|$)/i],
	["test", /(?:^|[^a-z])test(?:[^a-z]|$)/i],
];

/** Files of rows by the split that they hold. */
export type HubFiles = ReadonlyMap<Split, readonly string[]>;

/** The split that a file's name says it holds; undefined where it says none or several. */
export function splitOfName(name: string): Split | undefined {
	const said = splitNames.filter(([, pattern]) => pattern.test(name));
	return said.length === 1 ? said[0]?.[0] : undefined;
}

/** Files of rows by split: a file itself, or those of a folder and of its `data` folder. */
export async function rowFiles(from: string): Promise<Map<Split, string[]>> {
	const found = new Map<Split, string[]>();
	const add = (path: string): void => {
		const split = splitOfName(basename(path));
		if (split && rowFile.test(path)) found.set(split, [...(found.get(split) ?? []), path]);
	};
	try {
		if ((await stat(from)).isFile()) add(from);
		else {
			for (const folder of [from, join(from, "data")]) {
				const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
					if (error.code === "ENOENT" || error.code === "ENOTDIR") return [] as string[];
					throw error;
				});
				for (const name of names.sort()) add(join(folder, name));
			}
		}
	} catch (error) {
		throw fromSystemError(error, from);
	}
	return found;
}

/** Formats of rows, the one that says most about its values first. */
const formats = [/\.parquet$/i, /\.(?:jsonl|ndjson)(?:\.gz)?$/i, /\.json(?:\.gz)?$/i, /\.csv(?:\.gz)?$/i] as const;
const formatRank = (path: string): number => formats.findIndex((format) => format.test(path));
const folderRank = (folder: string): number => (folder === "data" ? 0 : folder === "." ? 1 : 2);

/**
 * The files of a hub repository that hold its rows, by the split that their names say, or else their folders'. A split
 * that is there more than once is taken once: from `data/` before the top before other folders, as parquet before JSON
 * lines before JSON before CSV.
 * @param paths as the repository has them
 * @param where the repository, for messages
 * @throws FintuneError E_TASK_DATA where folders compete or a shard is missing
 */
export function chooseRowFiles(paths: readonly string[], where: string): Map<Split, string[]> {
	const bySplit = new Map<Split, string[]>();
	for (const path of [...paths].sort()) {
		const said = path.split("/").reverse().map(splitOfName);
		const split = said.find((name) => name !== undefined);
		if (split && rowFile.test(path)) bySplit.set(split, [...(bySplit.get(split) ?? []), path]);
	}
	for (const [split, candidates] of bySplit) {
		const best = Math.min(...candidates.map((path) => folderRank(dirname(path))));
		const near = candidates.filter((path) => folderRank(dirname(path)) === best);
		const folders = [...new Set(near.map((path) => dirname(path)))];
		if (folders.length > 1) {
			throw new FintuneError("E_TASK_DATA", `there are several sets of ${split} rows`, {
				where,
				expected: "one",
				found: folders.join(", "),
			});
		}
		const format = Math.min(...near.map(formatRank));
		const chosen = near.filter((path) => formatRank(path) === format);
		checkShards(split, chosen, where);
		bySplit.set(split, chosen);
	}
	return bySplit;
}

/** Holds the files of a split against what `-00000-of-00003` in their names says. */
function checkShards(split: Split, paths: readonly string[], where: string): void {
	for (const path of paths) {
		const count = /-\d{5}-of-(\d{5})/.exec(basename(path))?.[1];
		if (count !== undefined && Number(count) !== paths.length) {
			throw new FintuneError("E_TASK_DATA", `the ${split} rows are not all there`, {
				where,
				expected: `${Number(count)} files`,
				found: paths.join(", "),
			});
		}
	}
}

/**
 * Rows of one split in the hub's schema, each checked.
 * @throws FintuneErrors with file and line of every bad row: missing columns, labels that the task does not know, a gold
 * that is not its answer, an id that occurs twice, a row that is too long
 */
export async function readHubRows(task: Task, split: Split, files: readonly string[]): Promise<TaskRow[]> {
	const problems = new Problems();
	const ids = new Map<string, string>();
	const rows: TaskRow[] = [];
	for (const file of files) {
		for await (const { value, source } of readRows(file)) {
			const where = sourceText(source);
			const problem = problemOf(task, value, where);
			if (problem) {
				problems.add(problem);
				continue;
			}
			const { query, ...doc } = value;
			const id = doc.id === undefined || doc.id === null ? undefined : String(doc.id);
			if (id !== undefined) {
				const first = ids.get(id);
				if (first !== undefined) {
					problems.add(bad(where, "the id occurs twice", `an id of its own, "${id}" is that of ${first}`, id));
					continue;
				}
				ids.set(id, where);
			}
			rows.push({ query: query as string, answer: String(doc.answer), doc: plainValues(doc), source });
		}
	}
	problems.throwIfAny("row");
	if (rows.length === 0) {
		throw new FintuneError("E_DATA_EMPTY", `there is no ${split} row of task ${task.name}`, {
			where: files.join(", "),
			expected: `rows with query, answer${task.columns.map((column) => `, ${column}`).join("")}`,
		});
	}
	return rows;
}

const longest = 2 ** 20;

const bad = (where: string, summary: string, expected: string, found: string): FintuneError =>
	new FintuneError("E_DATA_ROW", summary, { where, expected, found: found.slice(0, 200) });

function problemOf(task: Task, value: Record<string, unknown>, where: string): FintuneError | undefined {
	const { query, answer, choices, gold } = value;
	const missing = ["query", "answer", ...task.columns].filter((column) => value[column] === undefined || value[column] === null);
	if (missing.length > 0) {
		const columns = ["query", "answer", ...task.columns];
		return bad(
			where,
			`lacks ${missing.join(", ")}`,
			`the columns ${[...new Set(columns)].join(", ")}`,
			Object.keys(value).join(", "),
		);
	}
	if (typeof query !== "string" || query === "") return bad(where, "has no prompt", '"query": text', JSON.stringify(query));
	if (query.length > longest) {
		return bad(where, "has a prompt that is too long to be one", `at most ${longest} characters`, `${query.length}`);
	}
	if (typeof answer !== "string" && typeof answer !== "number") {
		return bad(where, "has no answer", '"answer": text or a number', JSON.stringify(answer));
	}
	if (!task.columns.includes("choices")) return undefined;
	if (!Array.isArray(choices) || !choices.every((choice) => typeof choice === "string") || choices.length === 0) {
		return bad(where, "has no options", '"choices": a list of texts', JSON.stringify(choices));
	}
	const known = task.labels?.map((label) => label.toLowerCase());
	const strange = choices.find((choice) => known !== undefined && !known.includes(choice.toLowerCase()));
	if (strange !== undefined) {
		return bad(where, `has an option that task ${task.name} does not know`, `${task.labels?.join(", ")}`, strange);
	}
	const index = Number(gold);
	if (!Number.isInteger(index) || index < 0 || index >= choices.length) {
		return bad(where, "has no right option", `"gold": 0 to ${choices.length - 1}`, JSON.stringify(gold));
	}
	if ((choices[index] as string).toLowerCase() !== String(answer).trim().toLowerCase()) {
		return bad(where, "contradicts itself", `the answer "${choices[index]}", which is choices[${index}]`, String(answer));
	}
	return undefined;
}

/** Whole numbers of parquet come as bigint; the leaderboard's are plain. */
function plainValues(doc: Record<string, unknown>): Record<string, unknown> {
	const plain = (value: unknown): unknown =>
		typeof value === "bigint" ? Number(value) : Array.isArray(value) ? value.map(plain) : value;
	return Object.fromEntries(Object.entries(doc).map(([key, value]) => [key, plain(value)]));
}
