/**
 * Which runs of a pipeline stay: by count, age and size. Deleted are only whole run folders of the same pipeline, one by one,
 * each under its own lock and under another name first, so that a kill leaves either a run or a leftover that the next
 * round clears away. The champion, the one before it and whatever a live process holds are never touched.
 * @module
 */
import { existsSync } from "node:fs";
import { lstat, readdir, realpath, rename, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { isTemporary, removeFolder, syncFolder, temporaryPath } from "../../engine/files.js";
import { lockFile } from "../../engine/lock_file.js";
import { FintuneError, fromSystemError } from "../../errors.js";
import { formatBytes } from "../../report/numbers.js";
import type { Progress } from "../../report/progress.js";
import { appendJsonLine } from "../../stages/files.js";
import { type LoadedPipeline, resolvePath } from "../config.js";
import { configFile, journalFile, RunFolder } from "../folder.js";
import { lockName } from "../lock.js";
import type { KeepConfig, PipelineConfig } from "../schema.js";
import { Champion, championStack } from "./champion.js";
import { championOf } from "./promote.js";

/** Where deletions are written down, beside the runs. */
const prunedFile = "pruned.jsonl";
const secondsPerDay = 86_400;

/** A run folder as retention sees it. */
export interface KnownRun {
	path: string;
	/** The pipeline's name. */
	name: string;
	/** Of the last event in its journal, promotions apart. */
	time: Date;
	/** Absent where nobody has asked for it: it takes a look at every file. */
	bytes?: number;
	/** Champion links that its journal tells of, absolute. */
	links: string[];
	/** The retention that its pipeline asks for. */
	keep?: KeepConfig;
}

/** The runs right below a folder, newest first; whatever else lies there is passed over. */
export async function runsIn(folder: string, name?: string): Promise<KnownRun[]> {
	const runs: KnownRun[] = [];
	try {
		for (const entry of await readdir(folder, { withFileTypes: true })) {
			if (!entry.isDirectory() || isTemporary(entry.name)) continue;
			const run = await knownRun(join(folder, entry.name));
			if (run && (name === undefined || run.name === name)) runs.push(run);
		}
	} catch (error) {
		throw fromSystemError(error, folder);
	}
	return runs.sort((a, b) => b.time.getTime() - a.time.getTime() || (a.path < b.path ? 1 : -1));
}

async function knownRun(path: string): Promise<KnownRun | undefined> {
	const folder = new RunFolder(path);
	if (![configFile, journalFile].every((name) => existsSync(folder.file(name)))) return undefined;
	let read: Partial<PipelineConfig> | null;
	try {
		read = await folder.config();
	} catch {
		return undefined; // not ours, or damaged: nothing to delete unseen
	}
	if (typeof read?.name !== "string") return undefined;
	const events = await folder.events();
	// A promotion long after its end makes a run no younger.
	const last = new Date(String(events.findLast((e) => e.event !== "promotion")?.time));
	const time = Number.isNaN(last.getTime()) ? (await stat(folder.file(journalFile))).mtime : last;
	const links = events.flatMap((e) => (e.event === "promotion" && typeof e.link === "string" ? [e.link] : []));
	const { name, keep } = read;
	return { path, name, time, links: [...new Set(links)], ...(keep ? { keep } : {}) };
}

/** The run with its size. */
async function measured(run: KnownRun): Promise<Required<Pick<KnownRun, "bytes">> & KnownRun> {
	if (run.bytes !== undefined) return { ...run, bytes: run.bytes };
	let bytes = 0;
	// What a run at work, or another deletion, has taken away meanwhile takes no room.
	for (const name of await readdir(run.path, { recursive: true }).catch(() => [])) {
		bytes += await lstat(join(run.path, name)).then(
			({ size }) => size,
			() => 0,
		);
	}
	return { ...run, bytes };
}

/** A run that has to go, and the limit that it is beyond. */
export interface Beyond {
	run: KnownRun;
	why: string;
}

export interface Doomed extends Beyond {
	run: Awaited<ReturnType<typeof measured>>;
}

/**
 * The runs beyond a limit, oldest first; the newest never is, and protected ones stay besides.
 * @param runs newest first; with their sizes where gigabytes are limited
 */
export function beyond(
	runs: readonly KnownRun[],
	keep: KeepConfig,
	isProtected: (run: KnownRun) => boolean,
	now: Date,
): Beyond[] {
	const doomed: Beyond[] = [];
	let bytes = runs.reduce((sum, run) => sum + (run.bytes ?? 0), 0);
	for (let i = runs.length - 1; i > 0; i--) {
		const run = runs[i]!;
		const days = (now.getTime() - run.time.getTime()) / 1000 / secondsPerDay;
		const why =
			keep.days !== undefined && days > keep.days
				? `its last event is ${days.toFixed(1)} days ago, keep.days is ${keep.days}`
				: keep.runs !== undefined && i >= keep.runs
					? `${i} runs are newer, keep.runs is ${keep.runs}`
					: keep.gigabytes !== undefined && bytes > keep.gigabytes * 1e9
						? `the runs take ${formatBytes(bytes)}, keep.gigabytes is ${keep.gigabytes}`
						: undefined;
		if (why === undefined || isProtected(run)) continue;
		doomed.push({ run, why });
		bytes -= run.bytes ?? 0;
	}
	return doomed;
}

/** The folders that champion links lead to, and those that a rollback of them would. */
async function protectedFolders(champions: readonly Champion[]): Promise<Set<string>> {
	const folders = new Set<string>();
	for (const champion of champions) {
		const { run, moves } = await champion.read();
		const stack = championStack(moves).slice(-2);
		for (const folder of [...(run === undefined ? [] : [run]), ...stack.map((m) => champion.folderOf(m.run))]) {
			folders.add(await realpath(folder).catch(() => folder));
		}
	}
	return folders;
}

export interface Pruned {
	deleted: Doomed[];
	/** Beyond a limit, and still there. */
	left: (Doomed & { because: string })[];
}

/**
 * Deletes the runs of one pipeline in a folder that are beyond its limits.
 * @param champions whose runs stay, besides those that the runs' own journals tell of
 * @param stay further folders that stay
 * @throws FintuneError where the folder or a champion cannot be read; what cannot be deleted is left and named
 */
export async function prune(
	folder: string,
	runs: readonly KnownRun[],
	keep: KeepConfig,
	options: { champions: readonly Champion[]; stay?: readonly string[]; dryRun?: boolean; tell(message: string): void },
): Promise<Pruned> {
	const pruned: Pruned = { deleted: [], left: [] };
	const lock = options.dryRun ? undefined : lockFile(join(folder, ".prune.lock"));
	if (!lock && !options.dryRun) {
		options.tell(`${folder}: another process deletes old runs at the moment`);
		return pruned;
	}
	try {
		if (!options.dryRun) await clearLeftovers(folder, options.tell);
		const links = new Set([...options.champions.map((c) => c.link), ...runs.flatMap((run) => run.links)]);
		const folders = async (): Promise<Set<string>> => {
			const safe = await protectedFolders([...links].map((link) => new Champion(link)));
			for (const path of options.stay ?? []) safe.add(await realpath(path).catch(() => resolve(path)));
			return safe;
		};
		const safe = await folders();
		const sized = keep.gigabytes === undefined ? runs : await Promise.all(runs.map(measured));
		const real = new Map(await Promise.all(runs.map(async ({ path }) => [path, await realpath(path)] as const)));
		for (const { run, why } of beyond(sized, keep, ({ path }) => safe.has(real.get(path)!), new Date())) {
			const doomed: Doomed = { run: await measured(run), why };
			if (options.dryRun) {
				pruned.deleted.push(doomed);
				continue;
			}
			const isSafe = async (): Promise<boolean> => (await folders()).has(real.get(run.path)!);
			const because = await remove(folder, doomed, isSafe).catch((error: unknown) => (error as Error).message);
			if (because === undefined) {
				pruned.deleted.push(doomed);
				options.tell(`deleted ${run.path} (${formatBytes(doomed.run.bytes)}): ${why}`);
			} else {
				pruned.left.push({ ...doomed, because });
				options.tell(`warning: ${run.path} stays, although ${why}: ${because}`);
			}
		}
		return pruned;
	} finally {
		lock?.release();
	}
}

/** @returns why it was not deleted */
async function remove(folder: string, { run, why }: Doomed, isSafe: () => Promise<boolean>): Promise<string | undefined> {
	const lock = lockFile(join(run.path, lockName));
	if (!lock) return "a run goes on in it";
	try {
		if (await isSafe()) return "it has become a champion";
		const temporary = temporaryPath(run.path);
		await rename(run.path, temporary);
		await syncFolder(folder);
		await appendJsonLine(join(folder, prunedFile), {
			time: new Date().toISOString(),
			event: "deleted",
			run: basename(run.path),
			bytes: run.bytes,
			why,
		});
		await removeFolder(temporary);
		return undefined;
	} finally {
		lock.release();
	}
}

/** Removes what a killed deletion has left. */
async function clearLeftovers(folder: string, tell: (message: string) => void): Promise<void> {
	for (const entry of await readdir(folder, { withFileTypes: true })) {
		if (!entry.isDirectory() || !isTemporary(entry.name)) continue;
		await removeFolder(join(folder, entry.name));
		tell(`removed ${join(folder, entry.name)}, the rest of a deletion that was interrupted`);
	}
}

/** Retention after a run: of the runs of the same pipeline beside it. Nothing here fails the run. */
export async function keepRuns(
	pipeline: LoadedPipeline,
	run: RunFolder,
	keep: KeepConfig,
	progress: Pick<Progress, "message">,
): Promise<void> {
	const folder = dirname(resolve(run.path));
	const { promote } = pipeline.config;
	const against = promote && promote.against !== "champion" ? [resolvePath(pipeline, promote.against)] : [];
	try {
		const { deleted, left } = await prune(folder, await runsIn(folder, pipeline.config.name), keep, {
			champions: [championOf(pipeline, run), Champion.beside(run.path)],
			stay: [run.path, ...against],
			tell: (message) => progress.message(`keep: ${message}`),
		});
		for (const one of deleted) await run.journal({ event: "deleted", run: one.run.path, why: one.why });
		for (const one of left) await run.journal({ event: "not_deleted", run: one.run.path, why: one.because });
	} catch (error) {
		if (!(error instanceof FintuneError)) throw error;
		progress.message(`keep: warning: no old run was deleted: ${error.message}`);
	}
}
