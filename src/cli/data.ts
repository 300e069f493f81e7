/**
 * `fintune data`: brings in the rows of tasks whose data do not come with fintune.
 * @module
 */
import { resolve } from "node:path";
import type { Command } from "commander";
import { formatTable } from "../report/table.js";
import { type Imported, importTask } from "../tasks/import/import.js";
import { userDataDir } from "../tasks/import/user_folder.js";
import { licenceNote } from "../tasks/licences.js";
import { taskByName } from "../tasks/registry.js";
import { addDataCheck } from "./data_check.js";
import { printJson, terminalWidth } from "./terminal.js";

interface ImportFlags {
	from: string;
	data?: string;
	json?: boolean;
}

export function addData(program: Command): Command {
	const data = program.command("data").description("import task data, and check what is trained on");
	data
		.command("import <task>")
		.exitOverride()
		.description("build a task's train, valid and test rows from its original files, or from rows of the hub")
		.requiredOption("--from <path>", "the original files: a folder, a zip archive, or files of rows")
		.option("--data <dir>", "where imported sets are kept (default: $FINTUNE_DATA, or the user's data folder)")
		.option("--json", "one JSON document on stdout")
		.action(async (name: string, flags: ImportFlags) => {
			const task = taskByName(name);
			const into = flags.data === undefined ? userDataDir() : resolve(flags.data);
			const imported = await importTask(task, resolve(flags.from), into);
			const note = licenceNote(task);
			if (note !== undefined) process.stderr.write(`fintune: ${note}\n`);
			if (flags.json) printJson({ folder: imported.folder, ...imported.manifest, differences: imported.differences });
			else printImported(imported);
		});
	addDataCheck(data);
	return data;
}

/** What was imported, split by split, beside the leaderboard's own counts. */
export function printImported({ folder, manifest, differences }: Imported): void {
	const columns = [
		{ header: "split" },
		{ header: "rows", align: "right" as const },
		{ header: "board", align: "right" as const },
	];
	const answers = { header: "answers", minWidth: 10 };
	const rows = Object.entries(manifest.splits).map(([split, facts]) => [
		split,
		String(facts.rows),
		facts.boardRows === null ? "-" : String(facts.boardRows),
		Object.entries(facts.answers ?? {})
			.map(([answer, n]) => `${answer} ${n}`)
			.join(", "),
	]);
	process.stdout.write(formatTable([...columns, answers], rows, terminalWidth()));
	for (const difference of differences) process.stdout.write(`differs: ${difference}\n`);
	process.stdout.write(`${manifest.task}: ${folder}\n`);
}
