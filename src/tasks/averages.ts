/**
 * The leaderboard's averages: a category is the mean of its tasks' shown values, the overall value the mean of all of them.
 * @module
 */
import { type Category, categoryNames } from "./board.js";
import type { Task } from "./task.js";

/** A task and its shown metric (`Task.headline`) by one of the two scorings; null where it could not be computed. */
export interface ScoredTask {
	task: Pick<Task, "name" | "board">;
	value: number | null;
}

export interface Averages {
	/** Mean in percent of each category's tasks that have a value; categories without one are left out. */
	categories: { category: Category; title: string; mean: number; tasks: string[] }[];
	/** Mean in percent of all tasks that have a value; NaN without any. */
	overall: number;
	/** Tasks whose value is an error, of which less is better, though the leaderboard adds it to the means as it is. */
	errorsAmongScores: string[];
	/** The overall mean without them; NaN without any task left. */
	overallWithoutErrors: number;
}

/** The value that the leaderboard shows: percent, and for risk management (100 MCC + 100) / 2. */
export function shownValue({ board }: Pick<Task, "board">, value: number): number {
	return board.category === "RM" ? (100 * value + 100) / 2 : 100 * value;
}

/** Means over tasks, as the leaderboard's pages compute them. */
export function averages(scored: readonly ScoredTask[]): Averages {
	const known = scored.flatMap(({ task, value }) => (value === null ? [] : [{ task, value }]));
	const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
	const raw = known.map(({ task, value }) => ({ isError: task.board.shown === "RMSE", value: 100 * value }));
	const categories = (Object.keys(categoryNames) as Category[]).flatMap((category) => {
		const members = known.filter(({ task }) => task.board.category === category);
		if (members.length === 0) return [];
		return [
			{
				category,
				title: categoryNames[category],
				mean: mean(members.map(({ task, value }) => shownValue(task, value))),
				tasks: members.map(({ task }) => task.name),
			},
		];
	});
	return {
		categories,
		overall: mean(raw.map(({ value }) => value)),
		errorsAmongScores: known.filter(({ task }) => task.board.shown === "RMSE").map(({ task }) => task.name),
		overallWithoutErrors: mean(raw.filter(({ isError }) => !isError).map(({ value }) => value)),
	};
}
