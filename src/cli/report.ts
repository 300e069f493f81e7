/**
 * `fintune report`: the table of a run that is already there.
 * @module
 */
import { join } from "node:path";
import type { Command } from "commander";
import { reportFile } from "../pipeline/folder.js";
import { finalTable } from "../pipeline/report.js";
import { rewriteReport } from "../pipeline/runs/reader.js";
import { printJson, terminalWidth } from "./terminal.js";

export function addReport(program: Command): Command {
	return program
		.command("report")
		.argument("<run>", "run folder")
		.description("show the result of a run and write its report.html again")
		.option("--json", "print result.json on stdout")
		.action(async (folder: string, flags: { json?: boolean }) => {
			const run = await rewriteReport(folder);
			if (flags.json) return printJson(run.result);
			if (run.report.evaluations.length > 0) process.stdout.write(`${finalTable(run.report, terminalWidth())}\n`);
			process.stdout.write(`${run.report.status}: ${join(folder, reportFile)}\n`);
		});
}
