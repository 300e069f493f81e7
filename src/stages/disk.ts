/**
 * Waits for room on a disk that is nearly full, so that a training does not lose what it has done since its last checkpoint.
 * @module
 */
import { statfs } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { FintuneError, fromSystemError } from "../errors.js";
import { formatBytes } from "../report/numbers.js";
import type { TrainingContext } from "./context.js";

const pollMs = 2000;

/** Bytes that this process may still write where a folder lies. */
export async function freeBytes(folder: string): Promise<number> {
	try {
		const { bavail, bsize } = await statfs(folder);
		return bavail * bsize;
	} catch (error) {
		throw fromSystemError(error, folder);
	}
}

/**
 * Returns once there is room for so many bytes in the stage's folder.
 * @throws FintuneError E_IO after so many seconds without, E_ABORTED
 */
export async function waitForRoom(
	context: Pick<TrainingContext, "name" | "folder" | "log" | "journal" | "now" | "signal">,
	bytes: number,
	seconds: number,
	free: (folder: string) => Promise<number> = freeBytes,
): Promise<void> {
	const { name, folder, signal } = context;
	const began = context.now();
	for (let waiting = false; ; waiting = true) {
		const found = await free(folder);
		if (found >= bytes) {
			if (waiting) await context.journal({ event: "disk has room", free: found, seconds: context.now() - began });
			return;
		}
		if (signal?.aborted)
			throw new FintuneError("E_ABORTED", "stopped while waiting for room on the disk", { cause: signal.reason });
		if (context.now() - began >= seconds) {
			throw new FintuneError("E_IO", "the disk is nearly full", {
				where: folder,
				expected: `${formatBytes(bytes)} for a checkpoint`,
				found: `${formatBytes(found)} free`,
				hint: "free some space and run the same command again: it goes on from the newest checkpoint",
			});
		}
		if (!waiting) {
			context.log(`${name}: the disk is nearly full: ${formatBytes(found)} free in ${folder}, waiting for ${formatBytes(bytes)}`);
			// Told where it can be; the journal lies on the same disk.
			await context.journal({ event: "disk nearly full", free: found, needed: bytes }).catch(() => undefined);
		}
		await sleep(Math.min(pollMs, seconds * 1000), undefined, signal ? { signal } : {}).catch(() => undefined);
	}
}
