/**
 * One run at a time in a run folder. The lock is taken before anything else in the folder is touched and held to the end;
 * the file says who holds it, for people and for the message that a second run ends with.
 * @module
 */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type FileLock, lockFile } from "../engine/lock_file.js";
import { FintuneError } from "../errors.js";
import { stopped } from "./failure.js";
import { isAlive } from "./process_alive.js";

/** What RUN/.lock says, as JSON. */
export interface LockHolder {
	pid: number;
	host: string;
	/** When the run began, ISO 8601. */
	started: string;
}

export interface LockOptions {
	/** Seconds to wait for another run to end; 0: give up at once. */
	waitSeconds?: number;
	signal?: AbortSignal | undefined;
	/** Called once, where there is something to wait for. */
	onWait?(message: string): void;
}

/** The lock's file in a run folder. */
export const lockName = ".lock";

const pollMs = 200;

/**
 * Takes the lock of a run folder that exists.
 * @throws FintuneError E_LOCKED naming the holder, once the time to wait is over
 */
export const lockRunFolder = (folder: string, options: LockOptions = {}): Promise<FileLock> =>
	holdFile(join(folder, lockName), { where: folder, who: "run", what: "folder" }, options);

/**
 * Takes the lock of a file in a folder that exists.
 * @param words for messages: the place, who would hold it, and what
 * @throws FintuneError E_LOCKED naming the holder, once the time to wait is over
 */
export async function holdFile(
	path: string,
	{ where, who, what }: { where: string; who: string; what: string },
	options: LockOptions = {},
): Promise<FileLock> {
	const deadline = performance.now() + (options.waitSeconds ?? 0) * 1000;
	for (let waiting = false; ; waiting = true) {
		const lock = lockFile(path);
		if (lock) {
			const holder: LockHolder = { pid: process.pid, host: hostname(), started: new Date().toISOString() };
			lock.write(`${JSON.stringify(holder)}\n`);
			return lock;
		}
		if (options.signal?.aborted) throw stopped(options.signal.reason, "stopped while waiting for the lock");
		if (performance.now() >= deadline) {
			throw new FintuneError("E_LOCKED", `another ${who} holds this ${what}: ${await holderText(path)}`, { where });
		}
		if (!waiting) options.onWait?.(`${where}: waiting for the ${who} that holds this ${what}: ${await holderText(path)}`);
		await sleep(Math.min(pollMs, Math.max(1, deadline - performance.now())));
	}
}

/** "pid 12 on host since ...". */
async function holderText(path: string): Promise<string> {
	let holder: LockHolder | undefined;
	// A holder writes its name just after it has the lock; until then the file names the one before, who may be dead.
	for (let attempt = 0; attempt < 5; attempt++) {
		holder = readHolder(path);
		if (holder && (holder.host !== hostname() || isAlive(holder.pid))) break;
		await sleep(20);
	}
	return holder ? `pid ${holder.pid} on ${holder.host} since ${holder.started}` : "it has not said who it is";
}

function readHolder(path: string): LockHolder | undefined {
	try {
		return JSON.parse(readFileSync(path, "utf8")) as LockHolder;
	} catch {
		return undefined;
	}
}
