#!/usr/bin/env node
/**
 * The command line: one file a command below; here they are put together, and errors become messages and exit statuses.
 * @module
 */
import { Command, CommanderError } from "commander";
import { ExitStatus, fromSystemError } from "../errors.js";
import { version } from "../version.js";
import { showError, showWarning } from "./terminal.js";

const program = new Command("fintune")
	.description("LoRA fine-tuning of language models for finance, natively in Node")
	.version(version)
	.showSuggestionAfterError(true)
	.exitOverride()
	.configureOutput({ writeErr: (text) => process.stderr.write(text) });

/** In the order of the help. */
const commands = new Map<string, () => Promise<(program: Command) => Command>>([
	["run", async () => (await import("./run.js")).addRun],
	["plan", async () => (await import("./plan.js")).addPlan],
	["score", async () => (await import("./score.js")).addScore],
	["generate", async () => (await import("./generate.js")).addGenerate],
	["evaluate", async () => (await import("./evaluate.js")).addEvaluate],
	["baselines", async () => (await import("./baselines.js")).addBaselines],
	["tasks", async () => (await import("./tasks.js")).addTasks],
	["data", async () => (await import("./data.js")).addData],
	["status", async () => (await import("./status.js")).addStatus],
	["watch", async () => (await import("./watch.js")).addWatch],
	["runs", async () => (await import("./runs.js")).addRuns],
	["compare", async () => (await import("./compare.js")).addCompare],
	["report", async () => (await import("./report.js")).addReport],
	["champion", async () => (await import("./champion.js")).addChampion],
	["rollback", async () => (await import("./champion.js")).addRollback],
	["prune", async () => (await import("./prune.js")).addPrune],
	["schedule", async () => (await import("./schedule.js")).addSchedule],
	["bench", async () => (await import("./bench.js")).addBench],
	["doctor", async () => (await import("./doctor.js")).addDoctor],
]);

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
	// A command that is named is loaded alone: all of them take longer to load than some to run.
	const named = commands.get(process.argv[2] ?? "");
	for (const load of named ? [named] : commands.values()) (await load())(program).exitOverride();
	await program.parseAsync();
} catch (error) {
	if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? ExitStatus.ok : ExitStatus.usage;
	else process.exitCode = showError(error);
}
