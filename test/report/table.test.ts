import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { evaluationTable, formatTable, taskHistories } from "../../src/report/table.js";
import type { EvaluationReport } from "../../src/report/types.js";
import { displayWidth } from "../../src/report/width.js";
import { exampleEvaluation } from "./example.js";

const lines = (table: string): string[] => table.trimEnd().split("\n");

describe("formatTable", () => {
	it("aligns by display width", () => {
		const columns = [{ header: "name" }, { header: "score", align: "right" as const }];
		const table = formatTable(columns, [
			["金融", "1"],
			["naïve", "12.5"],
		]);
		expect(table).toBe("name   score\n────────────\n金融       1\nnaïve   12.5\n");
	});

	it("cuts only columns that allow it, and marks the cut", () => {
		const columns = [{ header: "title", minWidth: 5 }, { header: "n" }];
		const table = formatTable(columns, [["a very long title indeed", "1234567890"]], 20);
		expect(lines(table)).toEqual(
			["title     n", "─".repeat(20), "a very…   1234567890"].map((l) => l.replace("a very…   ", "a very …  ")),
		);
	});

	it("keeps a cell on its line and takes its control characters away", () => {
		const table = formatTable([{ header: "a" }], [["x\ny\u001b[31mz"]]);
		expect(lines(table)).toHaveLength(3);
		expect(table).not.toContain("\u001b");
	});

	it("never exceeds the width where every column gives way", () => {
		const cell = fc.string({ unit: "grapheme", maxLength: 40 });
		fc.assert(
			fc.property(fc.array(fc.tuple(cell, cell), { maxLength: 5 }), fc.integer({ min: 20, max: 60 }), (rows, width) => {
				const columns = [
					{ header: "first", minWidth: 5 },
					{ header: "second", minWidth: 6 },
				];
				for (const line of lines(formatTable(columns, rows, width))) expect(displayWidth(line)).toBeLessThanOrEqual(width);
			}),
		);
	});
});

const evaluation = (stage: string, score: number | null, overlong: number, split?: string): EvaluationReport => ({
	stage,
	...(split ? { split } : {}),
	tasks: [
		{
			task: "ner",
			title: "NER",
			metric: "entity_f1",
			n: 98,
			score,
			...(score === null ? {} : { low: score - 0.05, high: score + 0.05 }),
			overlong,
			missing: 0.01,
			floor: { name: "train lexicon", score: 0.761 },
			all: {},
		},
	],
});

describe("evaluationTable", () => {
	it("shows score, interval, overlong, missing, floor and gain side by side where there is room", () => {
		expect(evaluationTable([evaluation("before", 0.1, 0.5), evaluation("final", 0.7, 0)], 140)).toMatchInlineSnapshot(`
			"task              floor          before                          final                            gain
			──────────────────────────────────────────────────────────────────────────────────────────────────────
			NER               0.761          0.100 [0.050, 0.150]            0.700 [0.650, 0.750]           +0.600
			 entity_f1, n=98  train lexicon  overlong 50.0 %, missing 1.0 %  overlong 0.0 %, missing 1.0 %
			"
		`);
	});

	it("takes a line for every evaluation where there is not", () => {
		expect(evaluationTable([evaluation("before", 0.1, 0.5), evaluation("final", 0.7, 0)], 80)).toMatchInlineSnapshot(`
			"task       evaluation     score                 overlong  missing    gain
			─────────────────────────────────────────────────────────────────────────
			NER        before         0.100 [0.050, 0.150]    50.0 %    1.0 %
			entity_f1  final          0.700 [0.650, 0.750]     0.0 %    1.0 %  +0.600
			           train lexicon  0.761
			"
		`);
	});

	it("fits 80 columns with seven tasks and four evaluations", () => {
		const evaluations = [0.2, 0.5, 0.6, 0.7].map((level, i) => exampleEvaluation(`stage${i}`, level, 0.1, i));
		for (const line of lines(evaluationTable(evaluations, 80))) expect(displayWidth(line)).toBeLessThanOrEqual(80);
	});

	it("never compares splits, and shows the split", () => {
		const evaluations = [
			evaluation("before", 0.1, 0.5),
			evaluation("probe", 0.9, 0, "train"),
			evaluation("final", 0.7, 0, "test"),
		];
		expect(taskHistories(evaluations)[0]?.deltas).toEqual([undefined, undefined, expect.closeTo(0.6, 12)]);
		expect(evaluationTable(evaluations)).toContain("probe (train)");
	});

	it("says a missing score as such and draws no gain from it", () => {
		const table = evaluationTable([evaluation("before", null, 1), evaluation("final", 0.7, 0)], 80);
		expect(table).toMatch(/before +– +100\.0 %/);
		expect(table).toMatch(/final .* –$/m);
	});

	it("is empty without evaluations", () => {
		expect(evaluationTable([])).toBe("");
	});
});

describe("the other way of scoring", () => {
	const evaluation = exampleEvaluation("before", 0.2, 0.1, 1);
	const tasks = evaluation.tasks.slice(0, 2).map((task, i) => ({
		...task,
		otherScoring: { name: "strict" as const, score: [0.123, 0.456][i] as number },
	}));
	it.each([200, 40])("stands beside the score at width %i", (width) => {
		const text = evaluationTable([{ ...evaluation, tasks }], width);
		expect(text).toContain(width === 200 ? "strict 0.123, overlong" : "0.123");
		expect(text).toContain("0.456");
		expect(text.split("\n")[0]?.includes("strict")).toBe(width === 40);
	});
});
