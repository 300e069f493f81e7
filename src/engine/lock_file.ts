/**
 * A file that one process at a time holds. The kernel keeps the lock and frees it when the process dies, however it dies;
 * so there is no stale lock, and no clock is asked.
 * @module
 */
import { closeSync, ftruncateSync, writeSync } from "node:fs";
import { getSystemErrorName } from "node:util";
import { fromSystemError } from "../errors.js";
import { engine } from "./job.js";

/** A lock that is held. */
export interface FileLock {
	/** Replaces what the file says; it is for readers, the lock does not depend on it. */
	write(text: string): void;
	/** Gives the lock back. The file stays: removing it would let two processes lock two files of one name. */
	release(): void;
}

/**
 * Locks a file, which is made where it is missing.
 * @returns undefined where another process, or another lock of this one, holds it
 * @throws FintuneError E_PERMISSION, E_CANNOT_CREATE, E_IO ... (a file system that cannot lock)
 */
export function lockFile(path: string): FileLock | undefined {
	let fd: number | null;
	try {
		fd = engine().lockFile(path);
	} catch (error) {
		const { errno } = error as { errno?: number };
		throw fromSystemError(
			errno === undefined ? error : Object.assign(error as Error, { code: getSystemErrorName(-errno) }),
			path,
		);
	}
	if (fd === null) return undefined;
	const held = fd;
	let released = false;
	return {
		write(text) {
			try {
				const bytes = Buffer.from(text);
				writeSync(held, bytes, 0, bytes.length, 0);
				ftruncateSync(held, bytes.length);
			} catch (error) {
				throw fromSystemError(error, path);
			}
		},
		release() {
			// A second close could hit another file that has the number by then.
			if (!released) closeSync(held);
			released = true;
		},
	};
}
