/**
 * `fintune run`: runs a pipeline file.
 * @module
 */
import type { Command } from "commander";
import { loadPipeline } from "../pipeline/config.js";
import { finalTable } from "../pipeline/report.js";
import { runPipeline } from "../pipeline/runner.js";
import { addModelOptions, collect, seconds } from "./options.js";
import { logUnattended, printJson, stopSignal, terminalProgress, terminalWidth } from "./terminal.js";

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
		.option("--wait <time>", "wait so long for another run in this folder to end, e.g. 30m (default: give up at once)", seconds)
		.option("--json", "print result.json on stdout")
		.action(async (file: string, flags: RunFlags) => {
			const pipeline = await loadPipeline(file, flags.set);
			logUnattended();
			const { json, set: _set, data, wait, ...options } = flags;
			const result = await runPipeline(pipeline, {
				...options,
				dataDirs: data,
				waitSeconds: wait ?? 0,
				progress: terminalProgress(),
				signal: stopSignal(),
			});
			const { report, exitStatus, ...document } = result;
			if (json) printJson(document);
			else {
				if (report.evaluations.length > 0) process.stdout.write(`\n${finalTable(report, terminalWidth())}\n`);
				process.stdout.write(`${result.status}: ${result.folder}/report.html\n`);
			}
			process.exitCode = exitStatus;
		});
}
