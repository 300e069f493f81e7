/**
 * `fintune tasks`: the tasks there are, and whether their data are; `fintune tasks show NER` explains one.
 * @module
 */
import type { Command } from "commander";
import { FintuneError } from "../errors.js";
import { formatScore } from "../report/numbers.js";
import { formatTable } from "../report/table.js";
import { baselineCacheFolder } from "../tasks/baselines/cache.js";
import { trivialBaselines } from "../tasks/baselines/trivial.js";
import { categoryNames, unsupported } from "../tasks/board.js";
import { taskDataDirs } from "../tasks/data_dirs.js";
import { knownBaselines } from "../tasks/known_baselines.js";
import { taskByName, tasks } from "../tasks/registry.js";
import { answerFormat, ruleOf } from "../tasks/rules.js";
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
	const found = await Promise.all(tasks.map(async (task) => describe(task, await loadHere(task, dirs))));
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
	aliases: readonly string[];
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

/** The rows of a task that are here, and why others are not. */
interface Here {
	rows: Partial<Record<Split, TaskRow[]>>;
	missing?: string;
}

async function loadHere(task: Task, dirs: readonly string[]): Promise<Here> {
	const here: Here = { rows: {} };
	for (const split of splits.filter((s) => task.hasSplit(s))) {
		try {
			here.rows[split] = await task.load(split, dirs);
		} catch (error) {
			if (!(error instanceof FintuneError && error.code === "E_TASK_DATA")) throw error;
			here.missing = error.message;
		}
	}
	return here;
}

function describe(task: Task, here: Here): TaskSummary {
	const rows: TaskSummary["rows"] = {};
	for (const split of splits) if (here.rows[split]) rows[split] = here.rows[split].length;
	const { name, id, title, headline, license, board } = task;
	const status: Status = Object.keys(rows).length > 0 ? "here" : task.originalFiles.length > 0 ? "importable" : "hub";
	return {
		...{ name, id, boardName: board.boardName, title, category: board.category, headline, rule: board.rule, license },
		...{ hub: board.hub, aliases: board.aliases, status, rows, boardRows: board.sizes },
		...(here.missing === undefined ? {} : { missing: here.missing }),
	};
}

async function show(name: string, flags: TasksFlags): Promise<void> {
	const task = taskByName(name);
	const dirs = taskDataDirs(flags.data);
	const here = await loadHere(task, dirs);
	const summary = describe(task, here);
	const example = anyRow(here);
	const baselines = await trivialScores(task, here, dirs);
	const { rule, traps } = ruleOf(task);
	const known = knownBaselines(task).filter(({ name }) => !baselines.some((measured) => measured.name === name));
	const document = {
		...summary,
		category: categoryNames[task.board.category],
		scoring: { letter: task.board.rule, rule, traps, strict: task.strictRules },
		answerFormat: answerFormat(task),
		labels: task.labels ?? null,
		maxNewTokens: task.defaultMaxNewTokens,
		howToGet: task.howToGet,
		example: example ?? null,
		baselines,
		knownBaselines: known,
	};
	if (flags.json) return printJson(document);
	const line = (head: string, text: string): void => void process.stdout.write(`${head.padEnd(12)}${text}\n`);
	line("task", `${task.name}: ${task.title}`);
	line("board", `${task.board.boardName} (${task.id}, number ${task.board.number}, ${document.category}), hub ${task.board.hub}`);
	const { train, valid, test } = task.board.sizes;
	line("rows there", [train, valid, test].map((n) => n ?? "-").join("/"));
	line("rows here", summary.status === "here" ? rowsOrStatus(summary) : `none: ${task.howToGet}`);
	line("licence", task.license);
	line("answer", `${answerFormat(task)}; at most ${task.defaultMaxNewTokens} tokens`);
	line("metric", task.headline);
	line(`rule ${task.board.rule}`, rule);
	for (const trap of traps) line("  trap", trap);
	line("strict", task.strictRules);
	for (const { name: floor, value, strict } of baselines) {
		line("trivial", `${floor}: ${formatScore(value)} (strict ${formatScore(strict)})`);
	}
	for (const { name: floor, value, strict } of known) {
		line("known", `${floor}: ${formatScore(value)}${strict === undefined ? "" : ` (strict ${formatScore(strict)})`}`);
	}
	if (baselines.length + known.length === 0) line("trivial", "not known here: it needs the task's train and test rows");
	if (example) process.stdout.write(`prompt (${example.split} row 1):\n${example.query}\nanswer: ${example.answer}\n`);
}

/** The first row of the first split that is here. */
function anyRow({ rows }: Here): (Pick<TaskRow, "query" | "answer"> & { split: Split }) | undefined {
	for (const split of ["test", "valid", "train"] as const) {
		const row = rows[split]?.[0];
		if (row) return { split, query: row.query, answer: row.answer };
	}
	return undefined;
}

/** What the task's trivial answers score on its test rows. */
async function trivialScores(task: Task, { rows: { test } }: Here, dirs: readonly string[]) {
	if (!test) return [];
	const { baselines } = await trivialBaselines(task, "test", test, dirs, baselineCacheFolder());
	return baselines.map(({ name, scores }) => ({
		name,
		value: scores.leaderboard[task.headline] ?? null,
		strict: scores.strict[task.headline] ?? null,
	}));
}
