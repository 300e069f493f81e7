/**
 * `fintune data`: brings in the rows of tasks whose data do not come with fintune.
 * @module
 */
import { resolve } from "node:path";
import type { Command } from "commander";
import { formatTable } from "../report/table.js";
import { fetchTask } from "../tasks/import/fetch.js";
import { type Imported, importTask } from "../tasks/import/import.js";
import { userDataDir } from "../tasks/import/user_folder.js";
import { licenceNote } from "../tasks/licences.js";
import { taskByName } from "../tasks/registry.js";
import type { Task } from "../tasks/task.js";
import { addDataCheck } from "./data_check.js";
import { printJson, terminalProgress, terminalWidth } from "./terminal.js";

const dataHelp = "where imported sets are kept (default: $FINTUNE_DATA, or the user's data folder)";

interface DataFlags {
	data?: string;
	json?: boolean;
}

interface ImportFlags extends DataFlags {
	from: string;
}

export function addData(program: Command): Command {
	const data = program.command("data").description("import task data, and check what is trained on");
	data
		.command("import <task>")
		.exitOverride()
		.description("build a task's train, valid and test rows from its original files, or from rows of the hub")
		.requiredOption("--from <path>", "the original files: a folder, a zip archive, or files of rows")
		.option("--data <dir>", dataHelp)
		.option("--json", "one JSON document on stdout")
		.action(async (name: string, flags: ImportFlags) => {
			const task = taskByName(name);
			show(task, await importTask(task, resolve(flags.from), dataFolder(flags)), flags);
		});
	data
		.command("fetch <task>")
		.exitOverride()
		.description("download a task's rows from the hub into its cache, and import them")
		.option("--revision <revision>", "branch, tag or commit of the data set (default: main)")
		.option("--data <dir>", dataHelp)
		.option("--json", "one JSON document on stdout")
		.action(async (name: string, flags: DataFlags & { revision?: string }) => {
			const task = taskByName(name);
			const { revision } = flags;
			const progress = process.stderr.isTTY ? terminalProgress() : undefined;
			const { downloaded, ...imported } = await fetchTask(task, dataFolder(flags), {
				...(revision === undefined ? {} : { revision }),
				...(progress ? { progress } : {}),
			});
			show(task, imported, flags, { downloaded });
		});
	addDataCheck(data);
	return data;
}

const dataFolder = (flags: DataFlags): string => (flags.data === undefined ? userDataDir() : resolve(flags.data));

/** The licence's note on stderr, and what was imported. */
function show(task: Task, imported: Imported, flags: DataFlags, more: Record<string, unknown> = {}): void {
	const note = licenceNote(task);
	if (note !== undefined) process.stderr.write(`fintune: ${note}\n`);
	const { folder, manifest, differences } = imported;
	if (flags.json) printJson({ folder, ...manifest, differences, ...more });
	else printImported(imported);
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
