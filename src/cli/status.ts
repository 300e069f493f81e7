/**
 * `fintune status`: what the run in a folder is doing, or how it ended.
 * @module
 */
import { join } from "node:path";
import type { Command } from "commander";
import { stageLabel } from "../pipeline/folder.js";
import { type RunState, readRunState } from "../pipeline/runs/state.js";
import { logFile, readLogTail } from "../pipeline/telling/run_log.js";
import { progressUpdate } from "../report/log.js";
import { formatSeconds } from "../report/numbers.js";
import { progressText } from "../report/progress.js";
import { formatTable } from "../report/table.js";
import { localTime, printJson, terminalWidth } from "./terminal.js";

export function addStatus(program: Command): Command {
	return program
		.command("status")
		.argument("<run>", "run folder")
		.description("show what a run is doing: its state, its stages, its progress, what went wrong last")
		.option("--json", "one JSON document on stdout")
		.action(async (folder: string, flags: { json?: boolean }) => {
			const state = await readRunState(folder);
			const problem = readLogTail(join(folder, logFile)).findLast(
				({ level, pid }) => pid === state.pid && (level === "warn" || level === "error"),
			);
			if (flags.json) return printJson({ ...state, ...(problem ? { last_problem: problem } : {}) });
			process.stdout.write(`${stateText(state)}\n`);
			if (state.progress) process.stdout.write(`${workText(state.progress)}\n`);
			process.stdout.write(`\n${stageTable(state)}`);
			if (state.error) process.stdout.write(`\n${state.error.message} (${state.error.code})\n`);
			else if (problem) process.stdout.write(`\nlast ${problem.level}, ${localTime(problem.time)}: ${problem.msg}\n`);
		});
}

/** The state in one line: "runs/x: running on host, pid 12, since ...; heartbeat 2 s ago". */
export function stateText({ folder, state, why, exit_status, host, pid, started, updated, age }: RunState): string {
	const process = host === undefined ? "" : ` on ${host}, pid ${pid}`;
	const since = started === undefined ? "" : `, since ${localTime(started)}`;
	if (state === "running") return `${folder}: running${process}${since}; heartbeat ${formatSeconds(age ?? 0)} ago`;
	if (state === "silent" || state === "died") {
		const last = updated === undefined ? "" : `; last heartbeat ${localTime(updated)}`;
		return `${folder}: ${state}${process}${since}${last}: ${why}\n  the same fintune run goes on where it stopped`;
	}
	if (state === "damaged") return `${folder}: damaged: ${why}`;
	const status = exit_status === undefined ? "" : ` (exit status ${exit_status})`;
	return `${folder}: ${state}${status}${updated === undefined ? "" : `, ${localTime(updated)}`}`;
}

/** The newest state of the work; how old it is where that is no longer usual. */
function workText(progress: NonNullable<RunState["progress"]>): string {
	const text = progressText(progressUpdate(progress));
	const age = (Date.now() - Date.parse(progress.at)) / 1000;
	return age < 60 ? text : `${text}  (${formatSeconds(age)} ago)`;
}

function stageTable({ stages }: RunState): string {
	return formatTable(
		[
			{ header: "stage" },
			{ header: "type" },
			{ header: "state" },
			{ header: "time", align: "right" },
			{ header: "", minWidth: 20 },
		],
		stages.map((stage) => [
			stageLabel(stage),
			stage.type,
			stage.status === "open" ? "" : stage.status,
			stage.seconds === undefined ? "" : formatSeconds(stage.seconds),
			stage.note ?? "",
		]),
		terminalWidth(),
	);
}
