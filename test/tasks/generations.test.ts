/**
 * `evaluate --generations`: rows in, one document out.
 */
import { describe, expect, it } from "vitest";
import { FintuneError } from "../../src/errors.js";
import { pairedBootstrap } from "../../src/metrics/bootstrap.js";
import { evaluateGenerations, everyMetricCrashed, parseGenerations } from "../../src/tasks/evaluate_generations.js";
import { taskByName } from "../../src/tasks/registry.js";

const choices = ["positive", "neutral", "negative"];
const row = (gold: number, output: string, extra = {}) => ({ doc: { choices, gold }, output, ...extra });
const text = (...rows: unknown[]) => rows.map((r) => JSON.stringify(r)).join("\n");
const fpb = taskByName("fpb");

describe("evaluate --generations", () => {
	it("gives exactly the document of the contract", () => {
		const rows = parseGenerations(
			text(row(0, " positive", { finish_reason: "stop" }), row(1, "positive neutral", { finish_reason: "length" }), row(2, "??")),
			"rows.jsonl",
		);
		const { document, scores } = evaluateGenerations(fpb, rows, { bootstrap: 50 });
		expect(Object.keys(document)).toEqual(["task", "n", "leaderboard", "strict", "overlong", "errors"]);
		expect(document).toMatchObject({
			task: "fpb",
			n: 3,
			leaderboard: { missing: 1 / 3, acc: 1 / 3 },
			strict: { missing: 1 / 3, ambiguous: 1 / 3, acc: 1 / 3 },
			overlong: 0.5,
			errors: {},
		});
		expect(scores.interval?.metric).toBe("f1");
		expect(everyMetricCrashed(document)).toBe(false);
	});

	it("says null where no row tells how it ended", () => {
		const { document } = evaluateGenerations(fpb, parseGenerations(text(row(0, "x"), row(0, "y")), "f"));
		expect(document.overlong).toBeNull();
		expect(evaluateGenerations(fpb, parseGenerations(text(row(0, "x", { overlong: true })), "f")).document.overlong).toBe(1);
	});

	it("names metrics that crash: one of them, or all", () => {
		const one = evaluateGenerations(fpb, parseGenerations(text(row(0, "positive")), "f")).document;
		expect(one.leaderboard).toMatchObject({ acc: 1, acc_stderr: null });
		expect(one.errors.acc_stderr).toContain("ZeroDivisionError");
		expect(everyMetricCrashed(one)).toBe(false);
		const all = evaluateGenerations(fpb, parseGenerations(text(row(0, "positive"), row(9, "positive")), "f")).document;
		expect(all.errors.f1).toBe("IndexError: gold 9 is outside the 3 choices (row 2)");
		expect(everyMetricCrashed(all)).toBe(true);
	});

	it("gives equal bytes for equal input", () => {
		const rows = parseGenerations(text(row(0, "positive"), row(1, "negative"), row(2, "neutral")), "f");
		expect(JSON.stringify(evaluateGenerations(fpb, rows))).toBe(JSON.stringify(evaluateGenerations(fpb, rows)));
	});

	it.each([
		["no doc", { output: "x" }, "E_DATA_ROW"],
		["output null", { doc: {}, output: null }, "E_DATA_ROW"],
		["a column short", { doc: { choices }, output: "x" }, "E_SCORING"],
		["gold as text", { doc: { choices, gold: "0" }, output: "x" }, "E_SCORING"],
		["choices no list", { doc: { choices: "a", gold: 0 }, output: "x" }, "E_SCORING"],
	])("refuses a row with %s, naming file and line", (_, bad, code) => {
		const run = () => evaluateGenerations(fpb, parseGenerations(`${text(row(0, "positive"))}\n\n${text(bad)}`, "rows.jsonl"));
		expect(run).toThrow(FintuneError);
		try {
			run();
		} catch (error) {
			expect((error as FintuneError).code).toBe(code);
			expect((error as FintuneError).where).toBe("rows.jsonl:3");
		}
	});

	it("refuses nothing to score", () => {
		expect(() => evaluateGenerations(fpb, [])).toThrow(/no generations/);
		expect(() => fpb.score([{ choices, gold: 0 }], [])).toThrow(/differ in number/);
	});
});

describe("comparing two systems", () => {
	it("re-aggregates the headline metric over any documents", () => {
		const docs = Array.from({ length: 60 }, (_, i) => ({ choices, gold: i % 3 }));
		const perfect = docs.map(({ gold }) => choices[gold] as string);
		const constant = docs.map(() => "positive");
		const better = fpb.metricOver(docs, perfect, "leaderboard");
		const worse = fpb.metricOver(docs, constant, "leaderboard");
		expect(better([0, 1, 2])).toBe(1);
		expect(worse(docs.map((_, i) => i))).toBe(fpb.score(docs, constant, { bootstrap: 0 }).leaderboard.f1);
		const result = pairedBootstrap(docs.length, worse, better, { resamples: 300 });
		expect(result.difference).toBeGreaterThan(0.7);
		expect(result.pValue).toBeLessThan(0.01);
	});
});
