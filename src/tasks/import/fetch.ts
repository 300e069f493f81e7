/**
 * `fintune data fetch`: a task's rows from the hub, by way of the hub's cache and of the import. A revision is pinned to
 * its commit, every file is held against the hub's hash, and what the cache has is not asked for again.
 * @module
 */
import { mkdir, readdir, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { writeFileAtomic } from "../../engine/files.js";
import {
	cachedCommit,
	type Environment,
	hubCache,
	isRevision,
	repositoryFolder,
	snapshotFolder,
} from "../../engine/hub_cache.js";
import { FintuneError, fromSystemError } from "../../errors.js";
import type { Progress } from "../../report/progress.js";
import type { Split, Task } from "../task.js";
import { type HubRepository, hubSettings, openRepository } from "./hub_client.js";
import { download, hasHash, isCached, link } from "./hub_download.js";
import { chooseRowFiles } from "./hub_rows.js";
import { type Imported, importTask } from "./import.js";

export interface FetchOptions {
	/** Branch, tag or commit. Default: main. */
	revision?: string;
	/** Read for the hub's variables. Default: process.env. */
	env?: Environment;
	progress?: Progress;
}

export interface Fetched extends Imported {
	/** What had to be downloaded. */
	downloaded: { files: number; bytes: number };
}

/** The rows of one commit, in the cache. */
interface Snapshot {
	commit: string;
	files: Map<Split, string[]>;
	downloaded: Fetched["downloaded"];
}

/**
 * Fetches a task's rows and imports them.
 * @param into the data folder, as in `importTask`
 * @throws FintuneError of `openRepository`, `download` and `importTask`; E_TASK_DATA where the cache has nothing and must
 * do, or where the repository has no rows
 */
export async function fetchTask(task: Task, into: string, options: FetchOptions = {}): Promise<Fetched> {
	const env = options.env ?? process.env;
	const revision = options.revision ?? "main";
	if (!isRevision(revision)) {
		throw new FintuneError("E_USAGE", "is not a revision", { where: revision, expected: "a branch, a tag or a commit" });
	}
	const id = task.board.hub;
	const repository = repositoryFolder(hubCache(env), "dataset", id);
	const settings = await hubSettings(env);
	const { commit, files, downloaded } = settings.offline
		? await fromCache(task, repository, revision)
		: await fromHub(openRepository(id, settings, otherWay(task)), task, repository, revision, options.progress);
	const imported = await importTask(task, files, into, { repository: id, revision, commit });
	const absent = (Object.keys(task.board.sizes) as Split[]).filter((split) => !imported.manifest.splits[split]);
	const differences = absent.map(
		(split) => `${task.name} ${split}: the repository has no rows, the leaderboard has ${task.board.sizes[split]}`,
	);
	return { ...imported, differences: [...imported.differences, ...differences], downloaded };
}

const otherWay = (task: Task): string => `${task.howToGet} Then: fintune data import ${task.name} --from PATH`;

async function fromHub(
	hub: HubRepository,
	task: Task,
	repository: string,
	revision: string,
	progress: Progress | undefined,
): Promise<Snapshot> {
	const commit = /^[0-9a-f]{40}$/.test(revision) ? revision : await hub.commitOf(revision);
	const listed = new Map((await hub.filesOf(commit)).map((file) => [file.path, file]));
	const chosen = chooseFiles(task, [...listed.keys()], `${task.board.hub} at ${commit}`);
	const files = [...chosen.values()].flat().flatMap((path) => listed.get(path) ?? []);
	const missing = [];
	for (const file of files) if (!(await isCached(repository, file))) missing.push(file);
	const total = missing.reduce((sum, { size }) => sum + size, 0);
	let done = 0;
	const show = (bytes: number) =>
		progress?.update({
			stage: `fetch ${task.name}`,
			step: Math.round((done + bytes) / 1024),
			total: Math.round(total / 1024),
			unit: "KiB",
		});
	try {
		for (const file of missing) {
			await download(repository, file, (from) => hub.read(commit, file.path, from), show);
			done += file.size;
		}
	} finally {
		progress?.end();
	}
	// Names come last: a snapshot or a branch that the cache has by name has all its rows.
	for (const file of files) await link(repository, commit, file);
	if (revision !== commit) await writeRef(repository, revision, commit);
	return { commit, files: inSnapshot(repository, commit, chosen), downloaded: { files: missing.length, bytes: total } };
}

async function fromCache(task: Task, repository: string, revision: string): Promise<Snapshot> {
	const commit = cachedCommit(repository, revision);
	const folder = snapshotFolder(repository, commit);
	const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch((error: NodeJS.ErrnoException) => {
		if (error.code !== "ENOENT") throw fromSystemError(error, folder);
		throw new FintuneError("E_TASK_DATA", `${task.board.hub} is not in the hub's cache`, {
			where: `${repository} (revision ${revision})`,
			hint: `fetch it once without HF_HUB_OFFLINE. Or: ${otherWay(task)}`,
		});
	});
	const paths = entries
		.filter((entry) => !entry.isDirectory())
		.map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
	const files = inSnapshot(repository, commit, chooseFiles(task, paths, folder));
	for (const path of [...files.values()].flat()) await checkCached(path);
	return { commit, files, downloaded: { files: 0, bytes: 0 } };
}

/** Holds a file of the cache against its blob's name, where that is a hash. */
async function checkCached(path: string): Promise<void> {
	const blob = await realpath(path).catch((error) => {
		throw fromSystemError(error, path);
	});
	const hash = basename(blob);
	if (!/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hash) || (await hasHash(blob, hash))) return;
	throw new FintuneError("E_CHECKSUM", "is damaged: its content does not have its hash", {
		where: blob,
		hint: "fetch again without HF_HUB_OFFLINE: it is then downloaded anew",
	});
}

function chooseFiles(task: Task, paths: readonly string[], where: string): Map<Split, string[]> {
	const chosen = chooseRowFiles(paths, where);
	if (chosen.size > 0) return chosen;
	throw new FintuneError("E_TASK_DATA", `has no rows that task ${task.name} can use`, {
		where,
		expected: "files with train, valid or test in their names (.parquet, .jsonl, .json or .csv)",
		found: paths.slice(0, 20).join(", ") || "no file",
		hint: otherWay(task),
	});
}

const inSnapshot = (repository: string, commit: string, chosen: Map<Split, string[]>): Map<Split, string[]> => {
	const folder = snapshotFolder(repository, commit);
	return new Map([...chosen].map(([split, paths]) => [split, paths.map((path) => join(folder, path))]));
};

async function writeRef(repository: string, revision: string, commit: string): Promise<void> {
	const path = join(repository, "refs", revision);
	await mkdir(dirname(path), { recursive: true }).catch((error) => {
		throw fromSystemError(error, path);
	});
	await writeFileAtomic(path, [Buffer.from(commit)]);
}
