/** Which rows an evaluation asks. */
import { describe, expect, it } from "vitest";
import { evaluatedRows, limitRows } from "../../src/stages/choose_rows.js";
import { boardOrder } from "../../src/tasks/board_order.js";
import { taskByName } from "../../src/tasks/registry.js";
import type { TaskRow } from "../../src/tasks/task.js";

const rowsOf = (n: number, doc: (i: number) => Record<string, unknown> = (i) => ({ i })): TaskRow[] =>
	Array.from({ length: n }, (_, i) => ({ query: `${i}`, answer: "", doc: doc(i), source: { file: "f", line: i + 1 } }));
const german = { task: taskByName("german"), rows: rowsOf(100) };
const numbers = (rows: readonly TaskRow[] | undefined): number[] => (rows ?? []).map(({ query }) => Number(query));

describe("a limit", () => {
	it("takes a seeded choice in the data's order, or a share", () => {
		const [ten] = evaluatedRows([german], { limit: 10, limit_rule: "seeded" }, 42);
		expect(numbers(ten)).toEqual(numbers(limitRows(german.rows, 10, 42)));
		expect(numbers(ten)).toEqual([...numbers(ten)].sort((a, b) => a - b));
		expect(new Set(numbers(ten)).size).toBe(10);
		expect(numbers(evaluatedRows([german], { limit: 10, limit_rule: "seeded" }, 43)[0])).not.toEqual(numbers(ten));
		expect(evaluatedRows([german], { limit: 0.25, limit_rule: "seeded" }, 42)[0]).toHaveLength(25);
		expect(evaluatedRows([german], { limit: 1000, limit_rule: "seeded" }, 42)[0]).toHaveLength(100);
	});

	it("of the leaderboard takes the first in its harness's order; a share of the first task is a count for all", () => {
		const other = { task: taskByName("sc"), rows: rowsOf(500) };
		const [a, b] = evaluatedRows([german, other], { limit: 0.1, limit_rule: "leaderboard" }, 1);
		expect(numbers(a)).toEqual(boardOrder(100).slice(0, 10));
		expect(numbers(b)).toEqual(boardOrder(500).slice(0, 10));
		expect(numbers(evaluatedRows([german], { limit: undefined, limit_rule: "leaderboard" }, 1)[0])).toEqual(boardOrder(100));
	});

	it("leaves no turn of a dialogue without the turns before it", () => {
		const rows = rowsOf(60, (i) => ({ dialogue_id: Math.floor(i / 4), turn: i % 4 }));
		const task = taskByName("convfinqa");
		for (const limit_rule of ["seeded", "leaderboard"] as const) {
			const chosen = numbers(evaluatedRows([{ task, rows }], { limit: 7, limit_rule }, 3)[0]);
			expect(chosen.length).toBeGreaterThanOrEqual(7);
			for (const i of chosen) for (let turn = i - (i % 4); turn < i; turn++) expect(chosen).toContain(turn);
		}
	});
});
