/**
 * The layout of a run folder, and the small files that tell its state to people and other programs.
 * @module
 */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { parse } from "yaml";
import { removeTemporaries, syncFolder } from "../engine/files.js";
import type { FileLock } from "../engine/lock_file.js";
import { FintuneError, fromSystemError } from "../errors.js";
import type { Progress } from "../report/progress.js";
import { checkpointsFolder } from "../stages/checkpoint.js";
import type { StageOutcome } from "../stages/context.js";
import {
	appendJsonLine,
	dropTornLine,
	makeFolder,
	readJsonIfThere,
	readWholeLines,
	removeFolder,
	writeJson,
} from "../stages/files.js";
import {
	type Damage,
	findDamage,
	type Manifest,
	manifestName,
	readManifest,
	verifiedManifest,
	writeManifest,
} from "../stages/manifest.js";
import { eventsFolder } from "../stages/train_loop.js";
import { Heartbeat, type RunStatus } from "./heartbeat.js";
import { lockRunFolder } from "./lock.js";
import type { PipelineConfig } from "./schema.js";
import type { RunResult } from "./types.js";

/** stage.json: what a stage came to. The stage is finished once the manifest of its folder lists this file. */
export interface StageRecord {
	/** Hash over config, inputs and code; the same identity is never run twice. */
	identity: string;
	name: string;
	type: string;
	/** 1 for the first time the stage ran in this run, 2, 3, ... for its repetitions. */
	iteration: number;
	seconds: number;
	outcome: StageOutcome;
}

const stageFile = "stage.json";
/** Whose unfinished work lies in a stage's folder. */
const startedFile = "started.json";
export const journalFile = "journal.jsonl";
export const statusFile = "status.json";
export const resultFile = "result.json";
export const configFile = "config.resolved.yaml";
export const reportFile = "report.html";
/** What a training stage looks for when it goes on: checkpoints, and event files that it adds to. */
const resumable: readonly string[] = [checkpointsFolder, eventsFolder];

/** A stage's name, with the number of its repetition. */
export const stageLabel = ({ name, iteration }: { name: string; iteration: number }): string =>
	iteration === 1 ? name : `${name}.${iteration}`;

export class RunFolder {
	readonly path: string;
	/** What keeps status.json fresh while a run goes on. */
	readonly heartbeat: Heartbeat;
	/** Told of every event of the journal. */
	onEvent?: (event: Record<string, unknown>) => void;
	/** Finished stages may be done again, but give way to no other work: the folder is the champion's. */
	kept = false;

	constructor(path: string) {
		this.path = path;
		this.heartbeat = new Heartbeat(join(path, statusFile));
	}

	/** stages/NAME, and stages/NAME.2, NAME.3, ... for repetitions. */
	stage(name: string, iteration = 1): string {
		return join(this.path, "stages", stageLabel({ name, iteration }));
	}

	file(...parts: string[]): string {
		return join(this.path, ...parts);
	}

	/**
	 * Makes the folder where it is missing and takes its lock; nothing in it may be written before.
	 * @throws FintuneError E_LOCKED
	 */
	async lock(options: { waitSeconds?: number; signal?: AbortSignal; progress: Pick<Progress, "message"> }): Promise<FileLock> {
		await makeFolder(this.path);
		return lockRunFolder(this.path, {
			waitSeconds: options.waitSeconds ?? 0,
			signal: options.signal,
			onWait: (message) => options.progress.message(message),
		});
	}

	/**
	 * Makes the folders, and clears away what a killed run or a power cut left in the middle of being written.
	 * @returns what was removed
	 */
	async create(): Promise<string[]> {
		await makeFolder(join(this.path, "stages"));
		// A run that was killed may have made them and not come to sync them.
		await syncFolder(this.path);
		await syncFolder(dirname(resolve(this.path)));
		const removed = await removeTemporaries(this.path);
		if (await dropTornLine(this.file(journalFile))) removed.push(`the torn last line of ${journalFile}`);
		return removed;
	}

	/** Removes what tells of the result of an earlier run; its stages stay. */
	async clear(): Promise<void> {
		await this.#removeForGood(this.path, resultFile);
		for (const name of [reportFile, "adapter"]) await removeFolder(join(this.path, name));
	}

	/** Removes what vouches for the rest of a folder, before that may be touched: a power cut does not bring it back alone. */
	async #removeForGood(folder: string, name: string): Promise<void> {
		if (!existsSync(join(folder, name))) return;
		await removeFolder(join(folder, name));
		await syncFolder(folder);
	}

	/** The record of a finished stage as it stands, undefined where there is none. */
	async record(name: string, iteration: number): Promise<StageRecord | undefined> {
		return (await readJsonIfThere(join(this.stage(name, iteration), stageFile))) as StageRecord | undefined;
	}

	/**
	 * The record of a stage that has finished and whose record is undamaged; {@link verify} looks at the rest.
	 * undefined: it never finished.
	 */
	async finished(name: string, iteration: number): Promise<StageRecord | Damage | undefined> {
		const folder = this.stage(name, iteration);
		const manifest = await readManifest(folder);
		if (manifest === undefined || "why" in manifest) return manifest;
		return (await findDamage(folder, manifest, [stageFile])) ?? (await this.record(name, iteration));
	}

	/** The manifest of a finished stage whose every file is as it was left, or what is not. */
	async verify(name: string, iteration: number): Promise<Manifest | Damage> {
		const folder = this.stage(name, iteration);
		return (await verifiedManifest(folder)) ?? { file: manifestName, why: "it is missing" };
	}

	/**
	 * The folder of a stage that is about to run. Where the stage may go on from what is there, everything stays that an
	 * interrupted run of the same identity left, and of a damaged or another build's run what vouches for itself; anything
	 * else is removed.
	 */
	async begin(name: string, iteration: number, identity: string, mayResume: boolean): Promise<string> {
		const folder = this.stage(name, iteration);
		const marker = join(folder, startedFile);
		if (this.kept && existsSync(folder)) await this.#refuseOtherWork(marker, identity);
		const hadManifest = existsSync(join(folder, manifestName));
		await this.#removeForGood(folder, manifestName);
		if (mayResume && existsSync(folder)) {
			const started = (await readJsonIfThere(marker).catch(() => undefined)) as { identity?: string } | undefined;
			const interrupted = started?.identity === identity && !hadManifest;
			const outdated = interrupted ? [] : (await readdir(folder)).filter((entry) => !resumable.includes(entry));
			for (const entry of [stageFile, ...outdated]) await removeFolder(join(folder, entry));
		} else {
			await removeFolder(folder);
		}
		await makeFolder(folder);
		// A run that was killed may have made it and not come to sync it.
		await syncFolder(dirname(folder));
		await writeJson(marker, { identity });
		return folder;
	}

	/** @throws FintuneError E_CANNOT_CREATE where the stage there was other work */
	async #refuseOtherWork(marker: string, identity: string): Promise<void> {
		const started = (await readJsonIfThere(marker).catch(() => undefined)) as { identity?: string } | undefined;
		if (started?.identity === identity) return;
		throw new FintuneError("E_CANNOT_CREATE", "this run would take the place of the champion, which lies in this folder", {
			where: this.path,
			expected: "a folder of its own for every run",
			hint: "give each run its own with --as-of today, or --out",
		});
	}

	/** Writes the record and, last, the manifest. */
	async finish(record: StageRecord): Promise<Manifest> {
		const folder = this.stage(record.name, record.iteration);
		await writeJson(join(folder, stageFile), record);
		return writeManifest(folder, checkpointsFolder);
	}

	/** Appends one event to journal.jsonl and syncs it. */
	journal(event: Record<string, unknown>): Promise<void> {
		this.onEvent?.(event);
		return appendJsonLine(join(this.path, journalFile), { time: new Date().toISOString(), ...event });
	}

	/** The journal as far as it goes. */
	events(): Promise<Record<string, unknown>[]> {
		return readWholeLines(join(this.path, journalFile));
	}

	/** result.json; undefined where the run has not come to an end of any kind. */
	async result(): Promise<Pick<RunResult, "status" | "stages" | "promotion"> | undefined> {
		return (await readJsonIfThere(this.file(resultFile))) as Pick<RunResult, "status" | "stages" | "promotion"> | undefined;
	}

	/** config.resolved.yaml as it stands, not checked. @throws FintuneError E_NOT_FOUND, E_IO where it is no YAML */
	async config(): Promise<Partial<PipelineConfig> | null> {
		const path = this.file(configFile);
		try {
			return parse(await readFile(path, "utf8")) as Partial<PipelineConfig> | null;
		} catch (error) {
			throw fromSystemError(error, path);
		}
	}

	/** status.json: what is going on now. */
	status(status: RunStatus): Promise<void> {
		return this.heartbeat.write(status);
	}
}
