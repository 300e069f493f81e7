/**
 * `fintune data check`: which training rows repeat a text of a test split.
 * @module
 */
import type { Command } from "commander";
import { Problems } from "../data/problems.js";
import { readRows } from "../data/readers.js";
import { parseRow } from "../data/rows.js";
import { FintuneError } from "../errors.js";
import { formatTable } from "../report/table.js";
import { taskDataDirs } from "../tasks/data_dirs.js";
import { comparedText, comparedTexts, HeldOut, loadIfHere, loosestMatch } from "../tasks/held_out.js";
import { type CheckedRow, type LeakReport, LeakReporter } from "../tasks/leak_report.js";
import { taskByName, tasks } from "../tasks/registry.js";
import type { Task } from "../tasks/task.js";
import { collect } from "./options.js";
import { printJson, terminalWidth } from "./terminal.js";

interface CheckFlags {
	input: string[];
	against?: string[];
	data: string[];
	json?: boolean;
}

export function addDataCheck(data: Command): void {
	data
		.command("check [task...]")
		.exitOverride()
		.description("find test texts among training rows: exact, normalised and near duplicates, across all tasks")
		.option("--input <files>", "rows of your own, in any shape that is trained on (repeatable)", collect, [])
		.option("--against <task...>", "test splits to compare with (default: of all tasks whose data are here)")
		.option("--data <dir>", "folder with task data (repeatable)", collect, [])
		.option("--json", "one JSON document on stdout, with examples (file:line of both)")
		.action(async (names: string[], flags: CheckFlags) => {
			const report = await check(names, flags);
			if (flags.json) printJson(report);
			else print(report);
		});
}

async function check(names: readonly string[], { input, against, data }: CheckFlags): Promise<LeakReport> {
	const dirs = taskDataDirs(data);
	const training = names.map(taskByName);
	const heldOut = await HeldOut.load(dirs, against?.map(taskByName));
	const missing = against?.map(taskByName).find((task) => !heldOut.sets.some((set) => set.task === task));
	// Loaded once more for its error, which says where it was looked for.
	if (missing) await missing.load("test", dirs);
	if (heldOut.sets.length === 0) {
		throw new FintuneError("E_TASK_DATA", "there is no test split to compare with", {
			hint: "name a folder of task data with --data",
		});
	}
	const reporter = new LeakReporter(heldOut);
	const everything = names.length === 0 && input.length === 0;
	for (const task of everything ? tasks : training) {
		const load = () => trainRows(task, dirs);
		const rows = everything ? await loadIfHere(load) : await load();
		if (rows) await reporter.add(`${task.name} train`, rows);
	}
	for (const files of input) await reporter.add(files, fileRows(files));
	return reporter.report;
}

/** The train rows as their files have them: nothing removed that is also in test. */
async function trainRows(task: Task, dirs: readonly string[]): Promise<CheckedRow[]> {
	const { rows } = await task.loadWithReport("train", dirs, { keepTestTexts: true });
	const loosest = loosestMatch(task);
	return rows.map((row) => ({ source: row.source, texts: [comparedText(task, row)], loosest }));
}

async function* fileRows(files: string): AsyncGenerator<CheckedRow> {
	const problems = new Problems();
	for await (const raw of readRows(files)) {
		const texts = problems.catch(["E_DATA_ROW"], () => comparedTexts(parseRow(raw)));
		if (texts) yield { source: raw.source, texts, loosest: "near" };
	}
	problems.throwIfAny("row");
}

function print({ training, test, pairs }: LeakReport): void {
	const right = (header: string) => ({ header, align: "right" as const });
	const columns = [
		{ header: "training rows of", minWidth: 12 },
		{ header: "test set" },
		...["exact", "normalised", "near", "rows"].map(right),
		right("of"),
		right("test texts"),
		right("of"),
		right("test rows"),
		right("of"),
	];
	const lines = pairs.map((pair) => {
		const rows = training.find((set) => set.name === pair.training)!.rows;
		const set = test.find(({ task }) => task === pair.test)!;
		const { exact, normalised, near, total } = pair.trainRows;
		const counts = [exact, normalised, near, total, rows, pair.testTexts.total, set.texts, pair.testRows.total, set.rows];
		return [pair.training, pair.test, ...counts.map(String)];
	});
	if (lines.length > 0) process.stdout.write(formatTable(columns, lines, terminalWidth()));
	for (const { name, uncompared } of training) {
		if (uncompared > 0) process.stdout.write(`${name}: ${uncompared} rows without a text were not compared\n`);
	}
	const clean = training.filter(({ name }) => !pairs.some((pair) => pair.training === name)).map(({ name }) => name);
	if (clean.length > 0) process.stdout.write(`no test text in ${clean.join(", ")}\n`);
	const sets = test.map(({ task }) => task).join(", ");
	process.stdout.write(`compared with the test splits of ${sets}\n`);
}
