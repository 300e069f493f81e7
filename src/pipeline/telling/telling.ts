/**
 * What a run tells while it goes on and when it ends: to status.json, to its log, and to its hooks.
 * @module
 */
import { randomUUID } from "node:crypto";
import { resolve } from "node:path";
import { type Progress, together } from "../../report/progress.js";
import type { LoadedPipeline } from "../config.js";
import { endOf, type RunEnd } from "../failure.js";
import type { RunFolder } from "../folder.js";
import type { RunResult } from "../types.js";
import { RunHooks } from "./hooks.js";
import { logFile, RunLog } from "./run_log.js";

/**
 * Does the work of a run whose folder is locked, and tells of it. Nothing that cannot be told stops it.
 * @param progress where the run's messages and progress go besides
 * @param work given a progress that feeds everything that tells
 */
export async function whileTelling(
	{ config, folder: place }: Pick<LoadedPipeline, "config" | "folder">,
	folder: RunFolder,
	progress: Progress,
	work: (progress: Progress) => Promise<RunResult>,
): Promise<RunResult> {
	const log = await RunLog.open(folder.file(logFile));
	const hooks = new RunHooks(config.hooks ?? {}, {
		name: config.name,
		folder: resolve(folder.path),
		place,
		log: resolve(folder.file(logFile)),
		id: randomUUID(),
		tail: () => log.tail,
		async failed(failure) {
			const text = `hooks.${failure.hook} (${failure.target}): ${failure.why}`;
			progress.message(text);
			log.log.warn({ event: "hook", ...failure }, text);
			await folder.journal({ event: "hook", ...failure }).catch(() => undefined);
		},
	});
	folder.onEvent = (event) => {
		if (event.event === "run") hooks.started();
		if (event.event !== "hook") log.event(event);
	};
	process.on("warning", log.warning);
	let end: RunEnd | undefined;
	try {
		const result = await work(together(progress, log.progress, folder.heartbeat.progress));
		end = result;
		return result;
	} catch (error) {
		end = endOf(error);
		await lastWord(folder, end);
		throw error;
	} finally {
		folder.heartbeat.stop();
		if (end) {
			log.ended(end);
			await hooks.ended(end);
		}
		if (log.failure) progress.message(`${folder.file(logFile)}: lines are missing: ${log.failure.message}`);
		process.off("warning", log.warning);
		log.close();
	}
}

/** status.json after an error that came before the run could write its result; what that is worth depends on the disk. */
async function lastWord(folder: RunFolder, { exitStatus, ...end }: RunEnd): Promise<void> {
	const before = folder.heartbeat.status;
	if (before?.status === "running") await folder.status({ ...before, ...end, exit_status: exitStatus }).catch(() => undefined);
}
