/**
 * Prompts and answers built from original files, byte by byte beside the leaderboard's own rows; every file says how many
 * of its rows were compared.
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { taskByName } from "../../src/tasks/registry.js";
import type { Split, TaskRow } from "../../src/tasks/task.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";

const dirs = [sharedPath("data")];
const bytes = (path: string) => readFileSync(sharedPath("data", path));
const rowsOf = (path: string) =>
	(path.endsWith(".gz") ? gunzipSync(bytes(path)) : bytes(path))
		.toString("utf-8")
		.split("\n")
		.filter((line) => line !== "")
		.map((line) => JSON.parse(line) as Record<string, unknown>);
const load = (task: string, split: Split) => taskByName(task).loadWithReport(split, dirs);
const byQuery = (rows: readonly TaskRow[]) => new Map(rows.map((row) => [row.query, row]));

describe.skipIf(!hasShared)(`rows built from original files (${whyNoShared})`, () => {
	it("TAT-QA: all 678 known rows of the leaderboard, numbers as they are written", async () => {
		// Two questions of one context are the same, with other answers.
		const built = new Set((await load("tatqa", "test")).rows.map(({ query, answer }) => `${query} ${answer}`));
		const known = rowsOf("leaderboard_rows/flare_tatqa_test_partial.jsonl.gz");
		expect(known).toHaveLength(678);
		const wrong = known.filter((row) => !built.has(`${row.query} ${row.answer}`));
		expect(wrong.map((row) => [row.id, row.answer])).toEqual([]);
	});

	it("FinRED: all 608 known rows, sentences with bars of their own among them", async () => {
		const { rows } = await load("finred", "test");
		const texts = new Set(rows.map(({ doc }) => doc.text));
		const known = rowsOf("leaderboard_rows/flare_finred_test_partial.jsonl.gz");
		const there = known.filter((row) => texts.has(row.text));
		expect([known.length, there.length]).toEqual([608, 608]);
		const built = byQuery(rows);
		for (const row of there) {
			const mine = built.get(row.query as string);
			expect(mine, row.id as string).toBeDefined();
			expect([mine?.answer, mine?.doc.label]).toEqual([row.answer, row.label]);
		}
	});

	it("ccfraud: the prompt and answer of all 2,098 test documents", async () => {
		const wrapped = /^Human: \n(.*)\n\nAssistant: \n$/s;
		const known = rowsOf("ccfraud/flare_cra_ccfraud_test_prompt_truth.jsonl.gz").map(
			({ prompt, truth }) => `${wrapped.exec(prompt as string)?.[1]} ${truth}`,
		);
		const { rows } = await load("ccfraud", "test");
		expect(rows.map(({ query, answer }) => `${query} ${answer}`).sort()).toEqual(known.sort());
		expect(rows).toHaveLength(2098);
	});

	it.each([
		["finqa", "valid", "finqa/pixiu_finqa_valid.jsonl.gz", 883],
		["bigdata22", "test", "stock_movement/bigdata22_test.jsonl.gz", 1472],
		["bigdata22", "valid", "stock_movement/bigdata22_valid.jsonl.gz", 798],
		["cikm18", "valid", "stock_movement/cikm18_valid.jsonl.gz", 431],
	] as const)("%s %s: PIXIU's rows, unchanged", async (name, split, path, count) => {
		const { rows, report } = await load(name, split);
		const removed = Object.values(report.removed).reduce((a, b) => a + b, 0);
		const known = new Set(
			rowsOf(path).map(({ conversations }) => (conversations as { value: string }[]).map(({ value }) => value).join(" ")),
		);
		expect(rows.length + removed).toBe(count);
		for (const { query, answer } of rows) expect(known.has(`${query} ${answer}`)).toBe(true);
	});

	it("the leaderboard's own rows load as they are: MultiFin, TSA, MLESG", async () => {
		const files = { multifin: "flare_multifin_en_test_full", tsa: "flare_tsa_test_full", mlesg: "flare_mlesg_test_partial" };
		expect(Object.values(files).map((file) => rowsOf(`leaderboard_rows/${file}.jsonl`).length)).toEqual([546, 561, 128]);
		const built = byQuery((await load("multifin", "test")).rows);
		for (const row of rowsOf(`leaderboard_rows/${files.multifin}.jsonl`)) {
			const mine = built.get(row.query as string);
			expect([mine?.answer, mine?.doc.choices, mine?.doc.gold]).toEqual([row.answer, row.choices, row.gold]);
		}
		for (const row of rowsOf(`leaderboard_rows/${files.mlesg}.jsonl`)) {
			expect(row.choices).toEqual(taskByName("mlesg").labels);
		}
	});

	it("the example prompts that can be built are among the built ones", async () => {
		const examples = JSON.parse(bytes("leaderboard_rows/example_prompts.json").toString()) as Record<string, { prompt: string }>;
		const built = ["flare_multifin_en", "flare_cd", "flare_finred", "flare_tatqa", "flare_cra_ccfraud"];
		for (const id of built) {
			const { rows } = await load(id, "test");
			expect(byQuery(rows).has(examples[id]?.prompt as string), id).toBe(true);
		}
	});

	it.each([
		["finer_ord", { train: 3262, valid: 402, test: 1075 }],
		["finred", { train: 5700, valid: 1007, test: 1068 }],
		["cd", { train: 674, valid: 226, test: 226 }],
		["tatqa", { test: 1668 }],
		["ccfraud", { test: 2098 }],
	] as const)("%s: as many rows as the source says", async (name, sizes) => {
		for (const [split, size] of Object.entries(sizes)) {
			const { rows, report } = await load(name, split as Split);
			expect(rows.length + Object.values(report.removed).reduce((a, b) => a + b, 0), split).toBe(size);
		}
	});
});
