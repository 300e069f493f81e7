/**
 * The layout of a run folder, and the small files that tell its state to people and other programs.
 * @module
 */
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { FileLock } from "../engine/lock_file.js";
import { fromSystemError } from "../errors.js";
import type { Progress } from "../report/progress.js";
import type { StageOutcome } from "../stages/context.js";
import { makeFolder, readJsonIfThere, removeFolder, writeJson } from "../stages/files.js";
import { lockRunFolder } from "./lock.js";

/** stage.json: written last, so a stage folder without it is unfinished. */
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

export class RunFolder {
	readonly path: string;

	constructor(path: string) {
		this.path = path;
	}

	/** stages/NAME, and stages/NAME.2, NAME.3, ... for repetitions. */
	stage(name: string, iteration = 1): string {
		return join(this.path, "stages", iteration === 1 ? name : `${name}.${iteration}`);
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

	async create(): Promise<void> {
		await makeFolder(join(this.path, "stages"));
	}

	/** Removes what tells of the result of an earlier run; its stages stay. */
	async clear(): Promise<void> {
		for (const name of ["result.json", "report.html", "adapter"]) await removeFolder(join(this.path, name));
	}

	/** The record of a finished stage, undefined where it never finished. */
	async record(name: string, iteration: number): Promise<StageRecord | undefined> {
		return (await readJsonIfThere(join(this.stage(name, iteration), "stage.json"))) as StageRecord | undefined;
	}

	/** An empty folder for a stage that is about to run; what an unfinished or outdated run left is removed. */
	async begin(name: string, iteration: number): Promise<string> {
		const folder = this.stage(name, iteration);
		await removeFolder(folder);
		await makeFolder(folder);
		return folder;
	}

	async finish(record: StageRecord): Promise<void> {
		await writeJson(join(this.stage(record.name, record.iteration), "stage.json"), record);
	}

	/** Appends one event to journal.jsonl and syncs it. */
	async journal(event: Record<string, unknown>): Promise<void> {
		const path = join(this.path, "journal.jsonl");
		try {
			const file = await open(path, "a");
			try {
				await file.appendFile(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`);
				await file.sync();
			} finally {
				await file.close();
			}
		} catch (error) {
			throw fromSystemError(error, path);
		}
	}

	/** status.json: what is going on now. */
	status(status: Record<string, unknown>): Promise<void> {
		return writeJson(join(this.path, "status.json"), { ...status, pid: process.pid, updated: new Date().toISOString() });
	}
}
