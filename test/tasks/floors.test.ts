/**
 * Trivial baselines, as they were worked out with other code (sharing nothing with ours).
 */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { trivialBaselines } from "../../src/tasks/baselines/trivial.js";
import { knownBaselines } from "../../src/tasks/known_baselines.js";
import { taskByName } from "../../src/tasks/registry.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";

const dirs = [sharedPath("data")];

async function floorsOf(name: string) {
	const task = taskByName(name);
	return (await trivialBaselines(task, "test", await task.load("test", dirs), dirs)).baselines;
}

describe.skipIf(!hasShared)(`trivial floors (${whyNoShared})`, () => {
	it.each([
		["fpb", "neutral", 0.595, 0.444],
		["fiqasa", "positive", 0.6, 0.45],
		["fomc", "neutral", 0.494, 0.327],
		["german", "good", 0.66, 0.525],
		["sc", "noise", 0.934, 0.902],
	])("%s: always the largest class", async (name, answer, acc, f1) => {
		const [floor] = await floorsOf(name);
		expect(floor?.name).toBe(`always "${answer}"`);
		expect(floor?.scores.leaderboard.acc).toBeCloseTo(acc, 3);
		expect(floor?.scores.leaderboard.f1).toBeCloseTo(f1, 3);
		expect(floor?.scores.leaderboard.mcc).toBe(0);
		expect(floor?.scores.strict.f1).toBeCloseTo(floor?.scores.leaderboard.f1 as number, 12);
	});

	it.each(["fpb", "fiqasa", "fomc", "sc", "multifin", "headlines"])(
		"%s: what is known of the constant answer is measured",
		async (name) => {
			const task = taskByName(name);
			const [known] = knownBaselines(task);
			const test = await task.load("test", dirs);
			const answer = /"(.*)"/.exec(known?.name ?? "")?.[1] ?? "";
			const { leaderboard } = task.score(
				test.map(({ doc }) => doc),
				test.map(() => answer),
				{ bootstrap: 0 },
			);
			expect(Math.abs((leaderboard[task.headline] as number) - (known?.value ?? 0))).toBeLessThan(0.00051);
		},
	);

	it("headlines: a model that never says Yes gets 0.600", { timeout: 120_000 }, async () => {
		const floors = await floorsOf("headlines");
		const [always] = floors;
		const perQuestion = floors.find(({ name }) => name === "most frequent answer of each question");
		expect(always?.name).toBe('always "No"');
		expect(always?.scores.leaderboard.avg_f1).toBeCloseTo(0.6, 3);
		expect(perQuestion?.scores.leaderboard.avg_f1).toBeGreaterThan(0.7);
	});

	it("headlines: a model that says nothing gets the same from the leaderboard, and 0 from the strict score", async () => {
		const task = taskByName("headlines");
		const docs = (await task.load("test", dirs)).map((row) => row.doc);
		const scores = task.score(
			docs,
			docs.map(() => "I cannot tell."),
			{ bootstrap: 0 },
		);
		expect(scores.leaderboard.avg_f1).toBeCloseTo(0.6, 3);
		expect(scores.strict).toMatchObject({ avg_f1: 0, missing: 1, acc: 0 });
	});

	it("ner: two words 0.761, three names 0.794, the lexicon of 49 names 0.832", async () => {
		const floors = await floorsOf("ner");
		expect(floors.map((floor) => floor.name)).toEqual([
			"the 2 most frequent persons of train (2)",
			"the 3 most frequent names of train (3)",
			"train lexicon of names seen twice (49)",
		]);
		const scores = floors.map((floor) => floor.scores.leaderboard.entity_f1 as number);
		expect(scores.map((score) => score.toFixed(3))).toEqual(["0.761", "0.794", "0.832"]);
	});

	it("ner: a peer's run gets the score that the leaderboard's code gave it", async () => {
		const docs = (await taskByName("ner").load("test", dirs)).map((row) => row.doc);
		const outputsOf = (name: string) =>
			readFileSync(sharedPath("fixtures/golden/ner-peft", name), "utf-8")
				.trim()
				.split("\n")
				.map((line) => (JSON.parse(line) as { output: string }).output);
		const after = taskByName("ner").score(docs, outputsOf("generations_after.jsonl"));
		expect(after.leaderboard.entity_f1).toBeCloseTo(0.7495, 4);
		expect(after.interval?.low).toBeGreaterThan(0.64);
		expect(after.interval?.low).toBeLessThan(0.71);
		expect(after.interval?.high).toBeGreaterThan(0.8);
		expect(after.interval?.high).toBeLessThan(0.86);
		const before = taskByName("ner").score(docs, outputsOf("generations_before.jsonl"), { bootstrap: 0 });
		expect(before.leaderboard.entity_f1).toBe(0);
	});
});
