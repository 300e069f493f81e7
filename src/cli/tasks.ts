/**
 * `fintune tasks`: the tasks there are, and whether their data are; `fintune tasks show NER` explains one.
 * @module
 */
import type { Command } from "commander";
import { FintuneError } from "../errors.js";
import { formatScore } from "../report/numbers.js";
import { formatTable } from "../report/table.js";
import { categoryNames, unsupported } from "../tasks/board.js";
import { taskDataDirs } from "../tasks/data_dirs.js";
import { taskByName, tasks } from "../tasks/registry.js";
import { rules } from "../tasks/rules.js";
import type { Split, Task, TaskRow } from "../tasks/task.js";
import { collect } from "./options.js";
import { printJson, terminalWidth } from "./terminal.js";

const splits: Split[] = ["train", "valid", "test"];

interface TasksFlags {
	data: string[];
	json?: boolean;
}

export function addTasks(program: Command): Command {
	const command = program
		.command("tasks")
		.description("list the tasks, their rows and where their data would come from")
		.option("--data <dir>", "folder with task data (repeatable)", collect, [])
		.option("--json", "one JSON document on stdout")
		.action(list);
	command
		.command("show <task>")
		.description("explain a task: prompt, scoring rule, traps, what is trivial on it")
		.exitOverride()
		.action((name: string, _own: unknown, shown: Command) => show(name, shown.optsWithGlobals<TasksFlags>()));
	return command;
}

async function list(flags: TasksFlags): Promise<void> {
	const dirs = taskDataDirs(flags.data);
	const found = await Promise.all(tasks.map((task) => describe(task, dirs)));
	if (flags.json) return printJson({ tasks: found, unsupported });
	const columns = [
		{ header: "task" },
		{ header: "on the board" },
		{ header: "kind" },
		{ header: "metric" },
		{ header: "train/valid/test" },
		{ header: "licence", minWidth: 8 },
	];
	const lines = found.map((t) => [t.name, t.boardName, t.category, t.headline, rowsOrStatus(t), t.license]);
	process.stdout.write(`${formatTable(columns, lines, terminalWidth())}\n`);
	for (const { name, reason } of unsupported) process.stdout.write(`${name} is not supported: ${reason}.\n`);
}

/** Where a task's rows stand: here, to be built from original files, or only on the hub. */
type Status = "here" | "importable" | "hub";

interface TaskSummary {
	name: string;
	id: string;
	boardName: string;
	title: string;
	category: string;
	headline: string;
	rule: string;
	license: string;
	hub: string;
	status: Status;
	/** Rows that load now; undefined for splits that are not here. */
	rows: Partial<Record<Split, number>>;
	/** Rows of the hub's splits. */
	boardRows: Task["board"]["sizes"];
	missing?: string;
}

const rowsOrStatus = ({ status, rows }: TaskSummary): string =>
	status === "here"
		? splits.map((split) => rows[split] ?? "-").join("/")
		: status === "importable"
			? "importable"
			: "from the hub (may be gated)";

async function describe(task: Task, dirs: readonly string[]): Promise<TaskSummary> {
	const rows: TaskSummary["rows"] = {};
	let missing: string | undefined;
	for (const split of splits.filter((s) => task.hasSplit(s))) {
		try {
			rows[split] = (await task.load(split, dirs)).length;
		} catch (error) {
			if (!(error instanceof FintuneError && error.code === "E_TASK_DATA")) throw error;
			missing = error.message;
		}
	}
	const { name, id, title, headline, license, board } = task;
	const status: Status = Object.keys(rows).length > 0 ? "here" : task.hasOriginalReader ? "importable" : "hub";
	return {
		...{ name, id, boardName: board.boardName, title, category: board.category, headline, rule: board.rule, license },
		...{ hub: board.hub, status, rows, boardRows: board.sizes },
		...(missing === undefined ? {} : { missing }),
	};
}

async function show(name: string, flags: TasksFlags): Promise<void> {
	const task = taskByName(name);
	const dirs = taskDataDirs(flags.data);
	const summary = await describe(task, dirs);
	const example = await anyRow(task, dirs);
	const baselines = await trivialScores(task, dirs);
	const { rule, traps } = rules[task.board.rule];
	const document = {
		...summary,
		category: categoryNames[task.board.category],
		scoring: { letter: task.board.rule, rule, traps, strict: task.strictRules },
		labels: task.labels ?? null,
		maxNewTokens: task.defaultMaxNewTokens,
		howToGet: task.howToGet,
		example: example ?? null,
		baselines,
	};
	if (flags.json) return printJson(document);
	const line = (head: string, text: string): void => void process.stdout.write(`${head.padEnd(12)}${text}\n`);
	line("task", `${task.name}: ${task.title}`);
	line("board", `${task.board.boardName} (${task.id}, number ${task.board.number}, ${document.category}), hub ${task.board.hub}`);
	const { train, valid, test } = task.board.sizes;
	line("rows there", [train, valid, test].map((n) => n ?? "-").join("/"));
	line("rows here", summary.status === "here" ? rowsOrStatus(summary) : `none: ${task.howToGet}`);
	line("licence", task.license);
	line("answer", task.labels ? `one of ${task.labels.join(", ")}` : `free text, at most ${task.defaultMaxNewTokens} tokens`);
	line("metric", task.headline);
	line(`rule ${task.board.rule}`, rule);
	for (const trap of traps) line("  trap", trap);
	line("strict", task.strictRules);
	for (const { name: floor, value, strict } of baselines) {
		line("trivial", `${floor}: ${formatScore(value)} (strict ${formatScore(strict)})`);
	}
	if (baselines.length === 0) line("trivial", "not known here: it needs the task's train and test rows");
	if (example) process.stdout.write(`prompt (${example.split} row 1):\n${example.query}\nanswer: ${example.answer}\n`);
}

/** The first row of the first split that is here. */
async function anyRow(
	task: Task,
	dirs: readonly string[],
): Promise<(Pick<TaskRow, "query" | "answer"> & { split: Split }) | undefined> {
	for (const split of ["test", "valid", "train"] as const) {
		const row = (await loadOrNothing(task, split, dirs))?.[0];
		if (row) return { split, query: row.query, answer: row.answer };
	}
	return undefined;
}

/** What the task's trivial answers score on its test rows. */
async function trivialScores(task: Task, dirs: readonly string[]) {
	const [train, test] = [await loadOrNothing(task, "train", dirs), await loadOrNothing(task, "test", dirs)];
	if (!test) return [];
	return task.floors(train ?? [], test).map(({ name, scores }) => ({
		name,
		value: scores.leaderboard[task.headline] ?? null,
		strict: scores.strict[task.headline] ?? null,
	}));
}

async function loadOrNothing(task: Task, split: Split, dirs: readonly string[]): Promise<TaskRow[] | undefined> {
	try {
		return await task.load(split, dirs);
	} catch (error) {
		if (error instanceof FintuneError && error.code === "E_TASK_DATA") return undefined;
		throw error;
	}
}
