/**
 * Plain-text tables for a terminal: aligned by display width, never wider than asked; and the table that ends a run.
 * @module
 */
import { formatDelta, formatInterval, formatPercent, formatScore, noValue } from "./numbers.js";
import type { EvaluationReport, TaskReport } from "./types.js";
import { displayWidth, fitWidth, padWidth } from "./width.js";

/** One column of a text table. */
export interface TableColumn {
	header: string;
	align?: "left" | "right";
	/** The narrowest this column may be cut to when the table is too wide. Default: it is never cut. */
	minWidth?: number;
}

/** A row of cells, or a rule across the table. */
export type TableRow = readonly string[] | "rule";

const gap = "  ";

/** Columns that the table takes when nothing is cut. */
export function naturalWidth(columns: readonly TableColumn[], rows: readonly TableRow[]): number {
	const widths = columnWidths(columns, rows);
	return widths.reduce((sum, width) => sum + width, 0) + gap.length * Math.max(0, columns.length - 1);
}

function columnWidths(columns: readonly TableColumn[], rows: readonly TableRow[]): number[] {
	return columns.map((column, j) => {
		let width = displayWidth(oneLine(column.header));
		for (const row of rows) if (row !== "rule") width = Math.max(width, displayWidth(oneLine(row[j] ?? "")));
		return width;
	});
}

/** A cell stays on its line and cannot move the cursor or set colours. */
const oneLine = (text: string): string => text.replace(/\s+/g, " ").replace(/[\x00-\x1f\x7f-\x9f]/g, "�");

/**
 * Lays out a table.
 * @param width the widest line allowed; columns with a `minWidth` give way (the widest first), marked by an ellipsis.
 *   Where even that is not enough the lines are longer than `width`: a number is never cut.
 * @returns lines without trailing spaces, joined and ended by a newline
 */
export function formatTable(
	columns: readonly TableColumn[],
	rows: readonly TableRow[],
	width = Number.POSITIVE_INFINITY,
): string {
	const widths = columnWidths(columns, rows);
	let excess = widths.reduce((sum, w) => sum + w, 0) + gap.length * Math.max(0, columns.length - 1) - width;
	while (excess > 0) {
		let widest = -1;
		for (const [j, column] of columns.entries()) {
			const limit = column.minWidth ?? Number.POSITIVE_INFINITY;
			if ((widths[j] as number) > limit && (widest < 0 || (widths[j] as number) > (widths[widest] as number))) widest = j;
		}
		if (widest < 0) break;
		widths[widest] = (widths[widest] as number) - 1;
		excess--;
	}
	const total = widths.reduce((sum, w) => sum + w, 0) + gap.length * Math.max(0, columns.length - 1);
	const line = (cells: readonly string[]): string =>
		columns
			.map((column, j) => padWidth(fitWidth(oneLine(cells[j] ?? ""), widths[j] as number), widths[j] as number, column.align))
			.join(gap)
			.trimEnd();
	const rule = "─".repeat(total);
	const lines = [line(columns.map((column) => column.header)), rule, ...rows.map((row) => (row === "rule" ? rule : line(row)))];
	return `${lines.join("\n")}\n`;
}

/** The scores of one task over the evaluations of a run, in order. */
export interface TaskHistory {
	task: string;
	title: string;
	metric: string;
	floor: TaskReport["floor"];
	/** One entry an evaluation; undefined where the task was not part of it. */
	results: (TaskReport | undefined)[];
	/** Score minus the first score on the same split; undefined for that first one itself. */
	deltas: (number | null | undefined)[];
}

/** Turns evaluations (one list of tasks each) into tasks (one list of evaluations each), tasks in order of first appearance. */
export function taskHistories(evaluations: readonly EvaluationReport[]): TaskHistory[] {
	const histories = new Map<string, TaskHistory>();
	for (const [index, evaluation] of evaluations.entries()) {
		for (const result of evaluation.tasks) {
			let history = histories.get(result.task);
			if (!history) {
				const empty = { results: evaluations.map(() => undefined), deltas: evaluations.map(() => undefined) };
				history = { task: result.task, title: result.title, metric: result.metric, floor: undefined, ...empty };
				histories.set(result.task, history);
			}
			history.floor ??= result.floor;
			const first = history.results.findIndex((earlier, i) => earlier && splitOf(evaluations[i]) === splitOf(evaluation));
			const base = first < 0 ? undefined : history.results[first];
			history.results[index] = result;
			if (base) history.deltas[index] = base.score === null || result.score === null ? null : result.score - base.score;
		}
	}
	return [...histories.values()];
}

const splitOf = (evaluation: EvaluationReport | undefined): string => evaluation?.split ?? "test";

/** Stage name, with the split where it is not the test split. */
export const evaluationLabel = (evaluation: EvaluationReport): string =>
	splitOf(evaluation) === "test" ? evaluation.stage : `${evaluation.stage} (${evaluation.split})`;

/**
 * The table that ends a run: per task the score of every evaluation with its 95 % interval, overlong and missing
 * shares, the trivial floor and the gain over the first evaluation. Tasks are rows and evaluations columns where
 * that fits into `width`, else every pair has its own line.
 */
export function evaluationTable(evaluations: readonly EvaluationReport[], width = 80): string {
	const histories = taskHistories(evaluations);
	if (histories.length === 0) return "";
	const across = acrossTable(evaluations, histories);
	const words = verdicts(evaluations, histories, width);
	if (naturalWidth(across.columns, across.rows) <= width) return formatTable(across.columns, across.rows, width) + words;
	const down = downTable(evaluations, histories);
	return formatTable(down.columns, down.rows, width) + words;
}

/** What is said about each task of each evaluation, wrapped at blanks; nothing where nothing is. */
function verdicts(evaluations: readonly EvaluationReport[], histories: readonly TaskHistory[], width: number): string {
	const said = histories.flatMap(({ title, results }) =>
		results.flatMap((result, i) => {
			if (result?.verdict === undefined) return [];
			const stage = evaluations.length > 1 ? `, ${evaluationLabel(evaluations[i] as EvaluationReport)}` : "";
			return [wrapWords(`${title}${stage}: ${result.verdict}`, width)];
		}),
	);
	return said.length === 0 ? "" : `\n${said.join("\n")}\n`;
}

/** Lines of at most `width`, the second and later ones indented; a longer word stands alone. */
function wrapWords(text: string, width: number): string {
	const lines: string[] = [];
	let line = "";
	for (const word of oneLine(text).split(" ")) {
		if (line.trim() !== "" && displayWidth(`${line} ${word}`) > width) {
			lines.push(line);
			line = `  ${word}`;
		} else {
			line = line === "" ? word : `${line} ${word}`;
		}
	}
	return [...lines, line].join("\n");
}

interface Layout {
	columns: TableColumn[];
	rows: TableRow[];
}

const failures = (result: TaskReport): string =>
	[
		...(result.otherScoring ? [`${result.otherScoring.name} ${formatScore(result.otherScoring.score)}`] : []),
		`overlong ${formatPercent(result.overlong)}`,
		...(result.missing === undefined ? [] : [`missing ${formatPercent(result.missing)}`]),
	].join(", ");

function acrossTable(evaluations: readonly EvaluationReport[], histories: readonly TaskHistory[]): Layout {
	const columns: TableColumn[] = [{ header: "task" }, { header: "floor", align: "left" }];
	for (const evaluation of evaluations) columns.push({ header: evaluationLabel(evaluation) });
	if (evaluations.length > 1) columns.push({ header: "gain", align: "right" });
	const rows: TableRow[] = [];
	for (const history of histories) {
		const counts = [...new Set(history.results.flatMap((result) => (result ? [result.n] : [])))];
		const gain = history.deltas.findLast((delta) => delta !== undefined);
		const scores = history.results.map((result) => (result ? formatInterval(result.score, result.low, result.high) : noValue));
		if (rows.length > 0) rows.push("rule");
		rows.push([history.title, formatScore(history.floor?.score), ...scores, gain === undefined ? "" : formatDelta(gain)]);
		rows.push([
			`  ${history.metric}, n=${counts.join("/")}`,
			history.floor?.name ?? "",
			...history.results.map((result) => (result ? failures(result) : "")),
		]);
	}
	return { columns, rows };
}

function downTable(evaluations: readonly EvaluationReport[], histories: readonly TaskHistory[]): Layout {
	const results = evaluations.flatMap(({ tasks }) => tasks);
	const other = results.find(({ otherScoring }) => otherScoring)?.otherScoring?.name;
	const columns: TableColumn[] = [
		{ header: "task", minWidth: 8 },
		{ header: "evaluation", minWidth: 8 },
		{ header: "score" },
		...(other === undefined ? [] : [{ header: other, align: "right" as const }]),
		{ header: "overlong", align: "right" },
		{ header: "missing", align: "right" },
		{ header: "gain", align: "right" },
	];
	const rows: TableRow[] = [];
	for (const history of histories) {
		if (rows.length > 0) rows.push("rule");
		const lead = [history.title, history.metric];
		for (const [index, result] of history.results.entries()) {
			if (!result) continue;
			const label = evaluationLabel(evaluations[index] as EvaluationReport);
			const delta = history.deltas[index];
			const score = formatInterval(result.score, result.low, result.high);
			const others = other === undefined ? [] : [formatScore(result.otherScoring?.score)];
			const shares = [formatPercent(result.overlong), formatPercent(result.missing)];
			rows.push([lead.shift() ?? "", label, score, ...others, ...shares, delta === undefined ? "" : formatDelta(delta)]);
		}
		if (history.floor) rows.push([lead.shift() ?? "", history.floor.name, formatScore(history.floor.score), "", "", ""]);
		for (const rest of lead) rows.push([rest, "", "", "", "", ""]);
	}
	return { columns, rows };
}
