/**
 * `fintune run`: runs a pipeline file.
 * @module
 */

import { setPriority } from "node:os";
import type { Command } from "commander";
import { ExitStatus, FintuneError } from "../errors.js";
import { loadPipeline, runFolder, runsFolder } from "../pipeline/config.js";
import { type CatchUp, catchUpModes, datesToRun } from "../pipeline/dates.js";
import { preflight, refuseFindings } from "../pipeline/preflight.js";
import { finalTable } from "../pipeline/report.js";
import { runPipeline } from "../pipeline/runner.js";
import { maxRuntime, parseDeadline, type StopTime } from "../pipeline/stop_time.js";
import type { RunResult } from "../pipeline/types.js";
import type { Progress } from "../report/progress.js";
import { addModelOptions, asOfDate, collect, oneOf, seconds, wholeNumber } from "./options.js";
import { logUnattended, printJson, showError, stopSignal, terminalProgress, terminalWidth } from "./terminal.js";

interface RunFlags {
	out?: string;
	set: string[];
	data: string[];
	device?: string;
	dtype?: string;
	threads?: number;
	force?: boolean;
	from?: string;
	wait?: number;
	asOf?: string;
	catchUp: CatchUp;
	deadline?: StopTime;
	maxRuntime?: StopTime;
	nice?: number;
	strict?: boolean;
	verifyResume?: boolean;
	json?: boolean;
}

export function addRun(program: Command): Command {
	return addModelOptions(program.command("run"))
		.argument("<pipeline>", "pipeline file (YAML)")
		.description("run a pipeline: train, evaluate, and leave a run folder with a report and an adapter")
		.option("--out <dir>", "run folder (default runs/<name>)")
		.option("--set <key=value>", "override one value, e.g. stages.sft.learning_rate=1e-4 (repeatable)", collect, [])
		.option("--data <dir>", "folder with task data (repeatable)", collect, [])
		.option("--force", "repeat finished stages")
		.option("--from <stage>", "repeat this stage and those after it")
		.option(
			"--wait <time>",
			"wait so long for another run in this folder, or for a GPU that others use, e.g. 30m (default: give up at once)",
			seconds,
		)
		.option(
			"--as-of <date>",
			"the run of this date (YYYY-MM-DD, today, yesterday), in a folder DATE of its own below --out",
			asOfDate,
		)
		.option("--catch-up <which>", "with --as-of: run missed dates first, the last or all of them", oneOf(...catchUpModes), "none")
		.option("--deadline <time>", "stop in time to be over by HH:MM or 2026-12-31T06:30; the next start goes on", (text) =>
			parseDeadline(text),
		)
		.option("--max-runtime <time>", "stop in time to be over after so long, e.g. 4h; the next start goes on", (text) =>
			maxRuntime(seconds(text)),
		)
		.option("--nice <n>", "lower the priority of this process, 1 to 19", wholeNumber)
		.option("--verify-resume", "replay finished training stages from a checkpoint: the bytes must be the same")
		.option("--strict", "refuse to start where fintune doctor PIPELINE would warn")
		.option("--json", "print result.json on stdout")
		.action(async (file: string, flags: RunFlags) => {
			// Before the engine starts its threads: they inherit it.
			if (flags.nice !== undefined) lowerPriority(flags.nice);
			const { json, set, data, wait, asOf, catchUp, deadline, maxRuntime: longest, nice: _nice, strict, out, ...model } = flags;
			if (asOf === undefined && catchUp !== "none") throw new FintuneError("E_USAGE", "--catch-up needs --as-of");
			const stopTime = earliest([deadline, longest]);
			logUnattended();
			const progress = terminalProgress();
			const signal = stopSignal();
			const results = await runDates(await datesOf(file, flags), progress, async (date) => {
				const pipeline = await loadPipeline(file, set, date);
				if (strict) refuseFindings(await preflight(pipeline, { ...model, dataDirs: data, out: runFolder(pipeline, out) }));
				const result = await runPipeline(pipeline, {
					...model,
					out: runFolder(pipeline, out),
					dataDirs: data,
					waitSeconds: wait ?? 0,
					...(stopTime ? { stopTime } : {}),
					progress,
					signal,
				});
				if (!json) printResult(result);
				return result;
			});
			const documents = results.map(documentOf);
			if (json) printJson(documents.length === 1 ? documents[0] : { runs: documents });
		});
}

/** The dates to run, oldest first; undefined stands for a run without a date. */
async function datesOf(file: string, { asOf, catchUp, set, out }: RunFlags): Promise<(string | undefined)[]> {
	if (asOf === undefined) return [undefined];
	return datesToRun(runsFolder(await loadPipeline(file, set, asOf), out), asOf, catchUp);
}

/**
 * The runs one after the other. One of an earlier date that fails is told and does not keep the later ones from running,
 * unless it failed because it was stopped or another run is busy. The exit status is the first that is not 0.
 */
async function runDates(
	dates: readonly (string | undefined)[],
	progress: Progress,
	run: (date: string | undefined) => Promise<RunResult>,
): Promise<RunResult[]> {
	const results: RunResult[] = [];
	const statuses: ExitStatus[] = [];
	for (const date of dates) {
		if (dates.length > 1) progress.message(`the run of ${date}`);
		try {
			const result = await run(date);
			results.push(result);
			statuses.push(result.exitStatus);
		} catch (error) {
			if (date === dates.at(-1) || !(error instanceof FintuneError) || error.exitStatus === ExitStatus.tryAgain) throw error;
			statuses.push(showError(error) as ExitStatus);
		}
	}
	process.exitCode = statuses.find((status) => status !== ExitStatus.ok) ?? ExitStatus.ok;
	return results;
}

function lowerPriority(nice: number): void {
	if (nice > 19) throw new FintuneError("E_USAGE", `--nice ${nice}`, { expected: "1 to 19" });
	setPriority(nice);
}

const earliest = (times: readonly (StopTime | undefined)[]): StopTime | undefined =>
	times.filter((time) => time !== undefined).sort((a, b) => a.at - b.at)[0];

function documentOf({ report: _report, exitStatus: _exitStatus, ...document }: RunResult): object {
	return document;
}

function printResult({ report, status, folder, promotion }: RunResult): void {
	if (report.evaluations.length > 0) process.stdout.write(`\n${finalTable(report, terminalWidth())}\n`);
	if (promotion) process.stdout.write(`${promotion.reason}\n`);
	process.stdout.write(`${status}: ${folder}/report.html\n`);
}
