/**
 * `fintune data import`: a task's rows in the leaderboard's columns, built from a data set's original files by its build
 * rules or taken from the hub's rows, kept whole or not at all in a folder of the user's with a manifest.
 * @module
 */
import { createHash } from "node:crypto";
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { hashFile, syncFolder, writeFileAtomic } from "../../engine/files.js";
import { FintuneError, fromSystemError } from "../../errors.js";
import { version } from "../../version.js";
import type { Split, Task, TaskRow } from "../task.js";
import { type HubFiles, readHubRows, rowFiles } from "./hub_rows.js";
import { openOriginals } from "./originals.js";

const splits: readonly Split[] = ["train", "valid", "test"];
/** Goes up whenever the same original files give other rows. */
export const ruleVersion = 1;

/** What an import left, as manifest.json has it. */
export interface ImportManifest {
	task: string;
	id: string;
	/** Whether rows were built from original files or taken as the hub has them. */
	kind: "original" | "hub";
	license: string;
	ruleVersion: number;
	fintune: string;
	/** The user's files that were read. */
	sources: { name: string; sha256: string; bytes: number }[];
	/** Where the rows were fetched from, if they were. */
	origin?: Record<string, string>;
	splits: Partial<Record<Split, SplitFacts>>;
}

export interface SplitFacts {
	rows: number;
	/** Rows of the hub's split; null where the hub has none. */
	boardRows: number | null;
	/** Rows by answer, where the task has few answers. */
	answers?: Record<string, number>;
	sha256: string;
}

export interface Imported {
	/** The folder of the task's rows. */
	folder: string;
	manifest: ImportManifest;
	/** Differences from the leaderboard's counts, in words. */
	differences: string[];
}

/**
 * Imports a task.
 * @param from the original files (folder or zip), or rows of the hub (folder with train/valid/test files, or one file);
 * rows of the hub also by split
 * @param into the data folder; splits of an earlier import that this one does not bring stay
 * @param origin where the rows were fetched from, for the manifest
 * @throws FintuneError E_TASK_DATA where `from` holds nothing that the task can use; E_DATA_* for rows that are wrong
 */
export async function importTask(
	task: Task,
	from: string | HubFiles,
	into: string,
	origin?: Record<string, string>,
): Promise<Imported> {
	const { kind, rows, sources } = typeof from === "string" ? await rowsFrom(task, from) : await hubRows(task, from);
	const folder = join(into, task.name);
	await mkdir(into, { recursive: true }).catch((error) => {
		throw fromSystemError(error, into);
	});
	const made = await mkdtemp(join(into, `.${task.name}-`));
	try {
		const before = await readManifest(folder);
		const facts: ImportManifest["splits"] = {};
		for (const split of splits) {
			const of = rows[split];
			const kept = before?.splits[split];
			if (of) facts[split] = await writeSplit(task, split, of, join(made, `${split}.jsonl`));
			else if (kept) {
				await copyFile(join(folder, `${split}.jsonl`), join(made, `${split}.jsonl`));
				facts[split] = kept;
			}
		}
		const manifest: ImportManifest = {
			task: task.name,
			id: task.id,
			kind,
			license: task.license,
			ruleVersion,
			fintune: version,
			sources: withoutRepeats([...(before?.sources ?? []), ...(await Promise.all(sources.map(describeSource)))]),
			...(origin ? { origin } : {}),
			splits: facts,
		};
		await writeFileAtomic(join(made, "manifest.json"), [Buffer.from(`${JSON.stringify(manifest, null, "\t")}\n`)]);
		await replaceFolder(made, folder);
		return { folder, manifest, differences: differencesOf(manifest) };
	} catch (error) {
		await rm(made, { recursive: true, force: true });
		throw error instanceof FintuneError ? error : fromSystemError(error, folder);
	}
}

/** The manifest of an earlier import, whose other splits stay. */
async function readManifest(folder: string): Promise<ImportManifest | undefined> {
	try {
		return JSON.parse(await readFile(join(folder, "manifest.json"), "utf8")) as ImportManifest;
	} catch {
		return undefined;
	}
}

const withoutRepeats = (sources: ImportManifest["sources"]): ImportManifest["sources"] => [
	...new Map(sources.map((source) => [`${source.name} ${source.sha256}`, source])).values(),
];

interface Found {
	kind: ImportManifest["kind"];
	rows: Partial<Record<Split, TaskRow[]>>;
	sources: string[];
}

async function rowsFrom(task: Task, from: string): Promise<Found> {
	const originals = await openOriginals(from);
	try {
		const rows: Found["rows"] = {};
		for (const split of splits) {
			const found = await task.readOriginal(split, originals.folder);
			if (found && found.length > 0) rows[split] = found;
		}
		if (Object.keys(rows).length > 0) return { kind: "original", rows, sources: originals.files };
	} finally {
		await originals.release();
	}
	const files = await rowFiles(from);
	if (files.size === 0) {
		throw new FintuneError("E_TASK_DATA", `holds nothing that task ${task.name} can be built from`, {
			where: from,
			expected:
				task.originalFiles.length > 0
					? `${task.originalFiles.join(", ")}; or rows of the hub in train, valid or test files`
					: "rows of the hub in files named train, valid or test (.jsonl, .json, .csv or .parquet)",
			hint: task.howToGet,
		});
	}
	return hubRows(task, files);
}

async function hubRows(task: Task, files: HubFiles): Promise<Found> {
	const rows: Found["rows"] = {};
	for (const [split, paths] of files) rows[split] = await readHubRows(task, split, paths);
	return { kind: "hub", rows, sources: [...files.values()].flat() };
}

async function writeSplit(task: Task, split: Split, rows: readonly TaskRow[], path: string): Promise<SplitFacts> {
	const hash = createHash("sha256");
	const lines = rows.map(({ query, answer, doc }) => `${JSON.stringify({ ...doc, query, answer: doc.answer ?? answer })}\n`);
	for (const line of lines) hash.update(line);
	await writeFileAtomic(path, chunksOf(lines));
	const answers: Record<string, number> = {};
	for (const { answer } of rows) answers[answer] = (answers[answer] ?? 0) + 1;
	return {
		rows: rows.length,
		boardRows: task.board.sizes[split] ?? null,
		...(Object.keys(answers).length <= 40 ? { answers } : {}),
		sha256: hash.digest("hex"),
	};
}

/** Lines by the thousand, so that a file is written in few pieces. */
function chunksOf(lines: readonly string[]): Buffer[] {
	const chunks: Buffer[] = [];
	for (let i = 0; i < lines.length; i += 1000) chunks.push(Buffer.from(lines.slice(i, i + 1000).join("")));
	return chunks;
}

/** The new folder takes the place of the old one; a crash between leaves one of them whole. */
async function replaceFolder(made: string, folder: string): Promise<void> {
	const old = `${made}-old`;
	let moved = false;
	try {
		await rename(folder, old);
		moved = true;
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
	}
	await rename(made, folder);
	if (moved) await rm(old, { recursive: true, force: true });
	await syncFolder(dirname(folder));
}

async function describeSource(path: string): Promise<ImportManifest["sources"][number]> {
	const facts = await stat(path);
	const sha256 = facts.isDirectory() ? createHash("sha256").digest("hex") : await hashFile(path);
	return { name: basename(path), sha256, bytes: facts.size };
}

function differencesOf({ splits: facts, task }: ImportManifest): string[] {
	return splits.flatMap((split) => {
		const { rows, boardRows } = facts[split] ?? {};
		if (rows === undefined || boardRows === null || boardRows === undefined || rows === boardRows) return [];
		return [`${task} ${split}: ${rows} rows, the leaderboard has ${boardRows}`];
	});
}
