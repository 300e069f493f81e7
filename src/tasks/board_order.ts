/**
 * Which documents the leaderboard's harness asks, and in which order: shuffled with seed 42, then cut by its --limit.
 * @module
 */
import { pythonShuffle } from "../metrics/python_random.js";

const seed = 42;

/** Row indices in the order in which the harness asks n documents. */
export const boardOrder = (n: number): number[] => pythonShuffle(n, seed);

/**
 * How many documents of each task are asked, tasks in the order of the run.
 * @param limit below 1: a share of the first task's documents, whose count then holds for all tasks; else a count (1.0 is
 * one document)
 */
export function boardLimit(sizes: readonly number[], limit: number | undefined): number[] {
	if (limit === undefined) return [...sizes];
	const count = limit < 1 ? Math.floor((sizes[0] ?? 0) * limit) : Math.floor(limit);
	return sizes.map((size) => Math.min(size, count));
}
