#!/usr/bin/env node
/**
 * The command line: one file a command below; here they are put together, and errors become messages and exit statuses.
 * @module
 */
import { Command, CommanderError } from "commander";
import { ExitStatus, fromSystemError } from "../errors.js";
import { version } from "../version.js";
import { addBaselines } from "./baselines.js";
import { addBench } from "./bench.js";
import { addChampion, addRollback } from "./champion.js";
import { addCompare } from "./compare.js";
import { addData } from "./data.js";
import { addDoctor } from "./doctor.js";
import { addEvaluate } from "./evaluate.js";
import { addGenerate } from "./generate.js";
import { addPlan } from "./plan.js";
import { addPrune } from "./prune.js";
import { addReport } from "./report.js";
import { addRun } from "./run.js";
import { addRuns } from "./runs.js";
import { addSchedule } from "./schedule.js";
import { addScore } from "./score.js";
import { addStatus } from "./status.js";
import { addTasks } from "./tasks.js";
import { showError, showWarning } from "./terminal.js";
import { addWatch } from "./watch.js";

const program = new Command("fintune")
	.description("LoRA fine-tuning of language models for finance, natively in Node")
	.version(version)
	.showSuggestionAfterError(true)
	.exitOverride()
	.configureOutput({ writeErr: (text) => process.stderr.write(text) });

const commands = [
	addRun,
	addPlan,
	addScore,
	addGenerate,
	addEvaluate,
	addBaselines,
	addTasks,
	addData,
	addStatus,
	addWatch,
	addRuns,
	addCompare,
	addReport,
	addChampion,
	addRollback,
	addPrune,
	addSchedule,
	addBench,
	addDoctor,
];

for (const add of commands) {
	const command = add(program);
	command.exitOverride();
}

// A reader that has seen enough (| head) ends the command quietly; a full disk behind stdout is an error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
	process.exit(error.code === "EPIPE" ? ExitStatus.ok : showError(fromSystemError(error, "stdout")));
});
// One line each, as everything else on stderr.
process.removeAllListeners("warning");
process.on("warning", showWarning);
process.on("uncaughtException", (error) => {
	process.exit(showError(error));
});

try {
	await program.parseAsync();
} catch (error) {
	if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? ExitStatus.ok : ExitStatus.usage;
	else process.exitCode = showError(error);
}
