/** Trivial baselines of the real data sets: constants and lexicons as published, word counts within 0.02. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { againstBest, bestBaseline } from "../../src/tasks/baselines/compare.js";
import { trivialBaselines } from "../../src/tasks/baselines/trivial.js";
import { wordCountClassifier } from "../../src/tasks/baselines/word_count.js";
import { taskByName } from "../../src/tasks/registry.js";
import type { TaskRow } from "../../src/tasks/task.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";

type FiqaFile = Record<string, { sentence: string; info: { sentiment_score: number }[] }>;

const dirs = [sharedPath("data")];
const cache = mkdtempSync(join(tmpdir(), "fintune-baselines-"));
afterAll(() => rmSync(cache, { recursive: true, force: true }));

async function baselinesOf(name: string, folder?: string) {
	const task = taskByName(name);
	const rows = await task.load("test", dirs);
	return { task, rows, report: await trivialBaselines(task, "test", rows, dirs, folder) };
}

describe.skipIf(!hasShared)(`trivial baselines (${whyNoShared})`, () => {
	it.each([
		["fomc", 0.589, 0.59],
		["multifin", 0.863, 0.862],
		["fpb", 0.781, 0.778],
		["sc", 0.912, 0.922],
	])("%s: word counts", { timeout: 120_000 }, async (name, acc, f1) => {
		const { report } = await baselinesOf(name);
		const counted = report.baselines.find(({ kind }) => kind === "word-count")!;
		expect(Math.abs((counted.scores.leaderboard.acc as number) - acc)).toBeLessThan(0.02);
		expect(Math.abs((counted.scores.leaderboard.f1 as number) - f1)).toBeLessThan(0.02);
	});

	it("fiqasa: word counts as published, which is on the split of the original files (train and valid against test)", async () => {
		const rowsOf = (split: string): TaskRow[] =>
			Object.values(
				JSON.parse(readFileSync(sharedPath("data", "fiqa_sa", `fiqa_task1_${split}.json`), "utf8")) as FiqaFile,
			).flatMap(({ sentence, info }) =>
				info.map(({ sentiment_score: score }) => {
					const answer = score < -0.1 ? "negative" : score < 0.1 ? "neutral" : "positive";
					return { query: sentence, answer, doc: { text: sentence }, source: { file: split, line: 1 } };
				}),
			);
		const test = rowsOf("test");
		const outputs = wordCountClassifier()([...rowsOf("train"), ...rowsOf("valid")], test);
		const right = outputs.filter((answer, i) => answer === test[i]!.answer).length;
		expect(test).toHaveLength(230);
		expect(Math.abs(right / test.length - 0.748)).toBeLessThan(0.02);
	});

	it("ner: the lexicons as published", async () => {
		const { report } = await baselinesOf("ner");
		const found = report.baselines.map(({ scores }) => (scores.leaderboard.entity_f1 as number).toFixed(3));
		expect(found).toEqual(["0.761", "0.794", "0.832"]);
	});

	it("keeps what it made by content, and repairs a spoilt file", { timeout: 120_000 }, async () => {
		const first = await baselinesOf("fiqasa", cache);
		const [file] = readdirSync(cache);
		expect(file).toMatch(/^fiqasa-[0-9a-f]{32}\.json$/);
		expect((await baselinesOf("fiqasa", cache)).report).toEqual(first.report);
		writeFileSync(join(cache, file!), "[{");
		expect((await baselinesOf("fiqasa", cache)).report).toEqual(first.report);
		expect(readdirSync(cache)).toEqual([file]);
	});

	it("a perfect model is significantly better than the best, and a constant significantly worse", {
		timeout: 120_000,
	}, async () => {
		const { task, rows, report } = await baselinesOf("fiqasa", cache);
		const docs = rows.map((row) => row.doc);
		expect(bestBaseline(task, report.baselines, "leaderboard")?.baseline.kind).toBe("word-count");
		const answers = rows.map((row) => row.answer);
		expect(againstBest(task, docs, answers, report.baselines, "leaderboard")).toMatchObject({ verdict: "better" });
		const constant = rows.map(() => "positive");
		expect(againstBest(task, docs, constant, report.baselines, "leaderboard")).toMatchObject({ verdict: "worse" });
	});
});
