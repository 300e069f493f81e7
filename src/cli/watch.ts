/**
 * `fintune watch`: follows a run until it ends.
 * @module
 */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { ExitStatus } from "../errors.js";
import { type RunState, readRunState } from "../pipeline/runs/state.js";
import { type LogLine, logFile, readLog } from "../pipeline/telling/run_log.js";
import { progressUpdate } from "../report/log.js";
import { createProgress, type Progress } from "../report/progress.js";
import { stateText } from "./status.js";

const pollMs = 500;

export function addWatch(program: Command): Command {
	return program
		.command("watch")
		.argument("<run>", "run folder")
		.description("follow a run until it ends: a live line on a terminal, plain lines elsewhere; exits as the run does")
		.action(async (folder: string) => {
			const controller = new AbortController();
			for (const [name, number] of [
				["SIGINT", 2],
				["SIGTERM", 15],
			] as const) {
				process.once(name, () => controller.abort(128 + number));
			}
			const progress = createProgress({ stream: process.stdout });
			const end = await follow(folder, progress, controller.signal);
			progress.end();
			if (end === undefined) {
				process.exitCode = controller.signal.reason as number;
				return;
			}
			process.stdout.write(`${stateText(end)}\n`);
			if (end.error) process.stdout.write(`${end.error.message} (${end.error.code})\n`);
			process.exitCode = statusOf(end);
		});
}

/** Shows what the run says until it is over; undefined where it was told to stop looking. */
async function follow(folder: string, progress: Progress, signal: AbortSignal): Promise<RunState | undefined> {
	const path = join(folder, logFile);
	let state = await readRunState(folder);
	let at = existsSync(path) ? statSync(path).size : 0;
	let told: string | undefined;
	for (let shown: string | undefined; ; ) {
		if (state.state !== told && !isOver(state)) progress.message(stateText(state));
		told = state.state;
		const log = readLog(path, at);
		at = log.end;
		// The live line is of a stage that is at work: it does not stay below the messages of the next one.
		if (!state.progress) progress.end();
		for (const line of log.lines) {
			if (endsStage(line)) progress.end();
			if (isMessage(line)) progress.message(line.msg);
		}
		if (state.progress && state.progress.at !== shown && !log.lines.some(endsStage)) {
			shown = state.progress.at;
			progress.update(progressUpdate(state.progress));
		}
		if (isOver(state)) return state;
		await sleep(pollMs, undefined, { signal }).catch(() => undefined);
		if (signal.aborted) return undefined;
		state = await readRunState(folder);
	}
}

const isOver = ({ state }: RunState): boolean => state !== "running" && state !== "silent";

/** The state of the work comes from status.json, and the end is told last. */
const isMessage = ({ unit, event }: LogLine): boolean => unit === undefined && event !== "ended";

const endsStage = ({ event }: LogLine): boolean => event !== undefined && ["done", "failed", "stopped", "ended"].includes(event);

/** What the run ended with. One that died left nothing; it can be tried again, as one that was stopped. */
function statusOf({ state, exit_status: status }: RunState): number {
	if (status !== undefined) return status;
	return state === "done" ? ExitStatus.ok : state === "died" ? ExitStatus.tryAgain : ExitStatus.software;
}
