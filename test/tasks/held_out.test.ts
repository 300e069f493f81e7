/** What of tasks is held out, and the leaks of the real data sets. */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { comparedText, comparedTexts, HeldOut, loosestMatch, promptTexts } from "../../src/tasks/held_out.js";
import { type LeakReport, LeakReporter } from "../../src/tasks/leak_report.js";
import { taskByName } from "../../src/tasks/registry.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";

const row = (query: string, doc: Record<string, unknown> = {}) => ({ query, answer: "a", doc, source: { file: "f", line: 1 } });
const question = "Please answer.\nContext: |a|-1|\nIt fell.\nQuestion: What fell?\nAnswer:";

describe("what is compared", () => {
	it("texts up to near duplicates, questions with their page, rows of tables exactly", () => {
		expect(["fpb", "ner", "tsa_es", "ectsum"].map((name) => loosestMatch(taskByName(name)))).toEqual(Array(4).fill("near"));
		expect(["finqa", "tatqa", "convfinqa"].map((name) => loosestMatch(taskByName(name)))).toEqual(Array(3).fill("normalised"));
		expect(["german", "ccfraud", "bigdata22"].map((name) => loosestMatch(taskByName(name)))).toEqual(Array(3).fill("exact"));
		expect(comparedText(taskByName("fpb"), row("Say.\nText: Sales rose.\nAnswer:"))).toBe(" Sales rose.");
		expect(comparedText(taskByName("tatqa"), row(question, { text: "What fell?" }))).toBe(
			" |a|-1|\nIt fell.\nQuestion: What fell?",
		);
	});

	it("a prompt in the form of a task also by the text in it", () => {
		expect(promptTexts("Say.\nText: Sales rose.\nAnswer:")).toContain(" Sales rose.");
		expect(promptTexts("Say.\nText: 'The client is 5.' \nAnswer:")).toContain("The client is 5.");
		expect(promptTexts(question)).toContain(" |a|-1|\nIt fell.\nQuestion: What fell?");
		const of = (prompt: string) =>
			comparedTexts({ kind: "prompt-completion", prompt, completion: "Sales rose.", source: row("").source, extra: {} });
		expect(of("Which?")).toEqual(["Which?"]);
		expect(of("\n...")).toEqual([]);
	});

	it("a question of the same page is another question", () => {
		const tatqa = taskByName("tatqa");
		const heldOut = new HeldOut([{ task: tatqa, rows: [row(question)] }]);
		const hits = (query: string) => heldOut.find([comparedText(tatqa, row(query))], loosestMatch(tatqa)).map(({ kind }) => kind);
		expect(hits(question.replace("Please answer.", "Answer me:"))).toEqual(["exact"]);
		expect(hits(question.replace("What fell?", "By how much?"))).toEqual([]);
		expect(hits(question.replace("It fell.", "It rose."))).toEqual([]);
	});
});

describe.skipIf(!hasShared)(`leaks of the real data sets (${hasShared ? "shared data" : whyNoShared})`, () => {
	const folder = mkdtempSync(join(tmpdir(), "fintune-leaks-"));
	afterAll(() => rmSync(folder, { recursive: true, force: true }));
	const names = ["multifin", "tsa", "fomc", "fiqasa", "cd", "finred", "sc", "german", "ner"];
	let report: LeakReport;
	beforeAll(async () => {
		mkdirSync(join(folder, "tsa"));
		copyFileSync(sharedPath("data/leaderboard_rows/flare_tsa_test_full.jsonl"), join(folder, "tsa/test.jsonl"));
		const dirs = [folder, sharedPath("data")];
		const reporter = new LeakReporter(await HeldOut.load(dirs, names.map(taskByName)));
		for (const task of names.map(taskByName)) {
			const { rows } = await task.loadWithReport("train", dirs, { keepTestTexts: true });
			const loosest = loosestMatch(task);
			await reporter.add(
				task.name,
				rows.map((train) => ({ source: train.source, texts: [comparedText(task, train)], loosest })),
			);
		}
		report = reporter.report;
	}, 120_000);
	const pair = (training: string, test = training) => report.pairs.find((p) => p.training === training && p.test === test);

	// The counts of equal texts that were known before (finllm.md, "Leaks") are met to the row where texts are compared so.
	it("FOMC: 16 of 496 rows equal, 3 more but for punctuation, 10 nearly", () => {
		expect(pair("fomc")?.testRows).toEqual({ exact: 16, normalised: 3, near: 10, total: 29 });
	});
	it("FiQA: 16 of 235 rows equal", () => {
		expect(pair("fiqasa")?.testRows).toEqual({ exact: 16, normalised: 1, near: 2, total: 19 });
	});
	it("TSA: 114 of 416 titles equal", () => {
		expect(report.test.find(({ task }) => task === "tsa")).toEqual({ task: "tsa", rows: 561, texts: 416 });
		expect(pair("tsa")?.testTexts).toEqual({ exact: 114, normalised: 0, near: 5, total: 119 });
	});
	it("CD: 2 of 226 rows equal, 26 more but for where the tokens are parted", () => {
		expect(pair("cd")?.testRows).toEqual({ exact: 2, normalised: 26, near: 1, total: 29 });
	});
	it("MultiFin: 121 of 546 rows equal: the known 119, and 2 that differ by a blank at an end", () => {
		expect(pair("multifin")?.testRows).toEqual({ exact: 121, normalised: 16, near: 16, total: 153 });
	});
	it("FinRED: 9 of 1,068 rows equal but for quotes and case; none in its characters", () => {
		expect(pair("finred")?.testRows).toEqual({ exact: 0, normalised: 9, near: 63, total: 72 });
	});
	it("SC: 206 texts equal", () => {
		expect(pair("sc")?.testTexts).toMatchObject({ exact: 206 });
	});
	it("across tasks: the texts of CD's test are in SC's train, titles of TSA in FiQA's", () => {
		expect(pair("sc", "cd")?.testRows.total).toBe(206);
		expect(pair("fiqasa", "tsa")?.testTexts.exact).toBeGreaterThan(100);
	});
	it("none in German credit, whose rows are one template, nor in NER", () => {
		expect(report.pairs.filter(({ training }) => training === "german" || training === "ner")).toEqual([]);
	});
	it("examples name the lines of both", () => {
		for (const { train, test } of pair("fomc")!.examples) {
			expect(train).toMatch(/train-5768\.csv:\d+$/);
			expect(test).toMatch(/test-5768\.csv:\d+$/);
		}
		expect(pair("fomc")!.examples.filter(({ kind }) => kind === "exact")).toHaveLength(5);
	});
});
