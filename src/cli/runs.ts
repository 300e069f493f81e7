/**
 * `fintune runs`: the runs below a folder.
 * @module
 */
import { relative } from "node:path";
import type { Command } from "commander";
import { type ListedRun, listRuns } from "../pipeline/runs/list.js";
import { formatScore, formatSeconds } from "../report/numbers.js";
import { formatTable } from "../report/table.js";
import { localTime, printJson, terminalWidth } from "./terminal.js";

export function addRuns(program: Command): Command {
	return program
		.command("runs")
		.argument("[folder]", "folder of run folders", "runs")
		.description("list runs, the newest first: state, start, duration, stages done, main metrics")
		.option("--json", "one JSON document on stdout")
		.action(async (folder: string, flags: { json?: boolean }) => {
			const runs = await listRuns(folder);
			if (flags.json) return printJson(runs);
			if (runs.length === 0) process.stdout.write(`${folder}: no runs\n`);
			else process.stdout.write(runTable(folder, runs));
		});
}

const runTable = (folder: string, runs: readonly ListedRun[]): string =>
	formatTable(
		[
			{ header: "run" },
			{ header: "state" },
			{ header: "started" },
			{ header: "time", align: "right" },
			{ header: "stages", align: "right" },
			{ header: "metrics", minWidth: 12 },
		],
		runs.map((run) => [
			relative(folder, run.folder),
			run.state,
			run.started === undefined ? "" : localTime(run.started),
			run.seconds === undefined ? "" : formatSeconds(run.seconds),
			run.stages.length === 0 ? "" : `${run.stages.filter(isDone).length}/${run.stages.length}`,
			run.state === "damaged" ? (run.why ?? "") : metricsText(run.main),
		]),
		terminalWidth(),
	);

const isDone = ({ status }: ListedRun["stages"][number]): boolean => ["done", "reused", "skipped"].includes(status);

/** The stage is left out: it is the last one. */
const metricsText = (main: Record<string, number>): string =>
	Object.entries(main)
		.map(([name, value]) => `${name.slice(name.indexOf(".") + 1)} ${formatScore(value)}`)
		.join(", ");
