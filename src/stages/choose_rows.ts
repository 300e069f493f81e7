/**
 * Which rows of a split a stage takes where it does not take all.
 * @module
 */
import { epochOrder } from "../data/order.js";
import { boardLimit, boardOrder } from "../tasks/board_order.js";
import { taskByName } from "../tasks/registry.js";
import type { Task, TaskRow } from "../tasks/task.js";
import type { EvaluateConfig } from "./schema.js";

/** A seeded choice of `limit` rows, in the data's order, so that a limit does not mean "the easy first file". */
export function limitRows<Row>(rows: readonly Row[], limit: number | undefined, seed: number): Row[] {
	if (limit === undefined || limit >= rows.length) return [...rows];
	return Array.from(epochOrder(rows.length, seed, 0).slice(0, limit))
		.sort((a, b) => a - b)
		.map((i) => rows[i]!);
}

/** The tasks of an evaluation with all rows of its split. */
export const evaluatedTasks = (
	{ tasks, split }: Pick<EvaluateConfig, "tasks" | "split">,
	dataDirs: readonly string[],
): Promise<{ task: Task; rows: TaskRow[] }[]> =>
	Promise.all(
		tasks.map(async (name) => {
			const task = taskByName(name);
			return { task, rows: await task.load(split, dataDirs) };
		}),
	);

/**
 * The rows of each task that an evaluation asks. A limit below 1 is a share. Under `limit_rule: leaderboard` they are those
 * that the leaderboard's harness asks, in its order, and its share of the first task becomes a count for all; else a
 * seeded choice. Dialogues are taken whole, since later turns need the answers to earlier ones.
 */
export function evaluatedRows(
	tasks: readonly { task: Task; rows: readonly TaskRow[] }[],
	{ limit, limit_rule: rule }: Pick<EvaluateConfig, "limit" | "limit_rule">,
	seed: number,
): TaskRow[][] {
	const board = boardLimit(
		tasks.map(({ rows }) => rows.length),
		limit,
	);
	return tasks.map(({ task, rows }, t) => {
		if (rule === "leaderboard") {
			return wholeDialogues(
				task,
				boardOrder(rows.length).map((i) => rows[i]!),
				board[t]!,
			);
		}
		if (limit === undefined) return [...rows];
		const count = limit < 1 ? Math.max(1, Math.floor(rows.length * limit)) : limit;
		if (!task.followUp) return limitRows(rows, count, seed);
		return wholeDialogues(
			task,
			Array.from(epochOrder(rows.length, seed, 0), (i) => rows[i]!),
			count,
		);
	});
}

/** The first `count` rows; of a task with dialogues, those and the other turns of their dialogues up to them. */
function wholeDialogues({ followUp }: Task, rows: readonly TaskRow[], count: number): TaskRow[] {
	if (!followUp) return rows.slice(0, count);
	const last = new Map<string, number>();
	for (const { doc } of rows.slice(0, count)) {
		const { dialogue, turn } = followUp.place(doc);
		last.set(dialogue, Math.max(turn, last.get(dialogue) ?? turn));
	}
	return rows.filter(({ doc }) => {
		const { dialogue, turn } = followUp.place(doc);
		return turn <= (last.get(dialogue) ?? -1);
	});
}
