/**
 * The leaderboard's own code scored these outputs; every value must come out again.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { boardLimit, boardOrder } from "../../src/tasks/board_order.js";
import { ruleC, ruleM } from "../../src/tasks/classification.js";
import { fillEarlierAnswers } from "../../src/tasks/earlier_answers.js";
import { ruleQ } from "../../src/tasks/exact_match.js";
import { fnxlConcepts } from "../../src/tasks/fnxl_tags.js";
import { ruleH } from "../../src/tasks/headlines_scoring.js";
import { boardTags, ruleN } from "../../src/tasks/ner_scoring.js";
import { tasks } from "../../src/tasks/registry.js";
import { ruleT } from "../../src/tasks/regression.js";
import { buildScores, type Scorer } from "../../src/tasks/scoring.js";
import { ruleS } from "../../src/tasks/sequence_labelling.js";
import { ruleA, ruleX } from "../../src/tasks/summaries.js";
import { ruleR } from "../../src/tasks/triplets.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";

type Golden = number | { error: string };
interface GoldenDoc {
	id: string;
	doc: Record<string, unknown>;
	output: string;
	expected: Record<string, unknown>;
	solo?: Record<string, Golden>;
}
interface Group {
	id: string;
	family: string;
	task: string;
	higher_is_better: Record<string, boolean>;
	docs: GoldenDoc[];
	aggregates: { id: string; docs: "all" | number[]; values: Record<string, Golden> }[];
}

/** The group about the order of documents. */
interface Orders {
	family: string;
	order: { n: number; first: number[]; sha256_of_comma_joined: string }[];
	limit: { task_sizes: number[]; limit: number | null; documents: number[] }[];
}
/** What only the dialogue group has. */
interface Dialogues {
	docs: { id: string; doc: { query: string; turn: number; dialogue_id: number }; output: string; prompt: string }[];
	fill: { query: string; turn: number; answers: string[]; expected: string | { error: string } }[];
}

const bio = (...kinds: string[]) => ["O", ...kinds.flatMap((kind) => [`B-${kind}`, `I-${kind}`])];
const roles = [
	"QUANT",
	"TIME",
	"MANNER",
	"THEME",
	"VALUE",
	"WHOLE",
	"LOCATION",
	"AGENT",
	"CAUSE",
	"SOURCE",
	"REF_TIME",
	"CONDITION",
];
const tagsOf: Record<string, string[]> = {
	flare_cd: bio("CAUSE", "EFFECT"),
	flare_finer_ord: bio("PER", "LOC", "ORG"),
	flare_fsrl: bio(...roles),
	flare_fnxl: ["O", ...fnxlConcepts.map((concept) => `B-${concept}`)],
};

function scorerOf(group: Group): Scorer {
	const credit = group.task === "flare_german" || group.task === "flare_australian";
	const families: Record<string, Scorer> = {
		C: ruleC,
		H: ruleH,
		N: ruleN,
		M: ruleM(credit ? "good" : "fall"),
		T: ruleT,
		R: ruleR,
		Q: ruleQ,
		S: ruleS(tagsOf[group.task] ?? []),
		A: ruleA,
		X: ruleX,
	};
	const scorer = families[group.family];
	if (!scorer) throw new Error(`no scorer for family ${group.family}`);
	return scorer;
}

function scoresOf(group: Group, docs: readonly GoldenDoc[]) {
	const scorer = scorerOf(group);
	return buildScores(
		scorer,
		scorer.leaderboardMetrics[0] as string,
		docs.map((d) => d.doc),
		docs.map((d) => d.output),
		{ bootstrap: 0 },
	);
}

function expectValues(group: Group, docs: readonly GoldenDoc[], values: Record<string, Golden>): number {
	const scores = scoresOf(group, docs);
	for (const [metric, value] of Object.entries(values)) {
		if (typeof value === "number") expect(scores.leaderboard[metric], metric).toBeCloseTo(value, 9);
		else {
			expect(scores.leaderboard[metric], metric).toBeNull();
			expect(scores.errors[metric]).toContain(value.error);
		}
	}
	return Object.keys(values).length;
}

const groups: Group[] = hasShared
	? (JSON.parse(readFileSync(sharedPath("fixtures/golden/pixiu-scoring.json"), "utf-8")) as { groups: Group[] }).groups.filter(
			(g) => g.family !== "O",
		)
	: [];
const orders = hasShared
	? (JSON.parse(readFileSync(sharedPath("fixtures/golden/pixiu-scoring.json"), "utf-8")) as { groups: Orders[] }).groups.find(
			(g) => g.family === "O",
		)
	: undefined;

describe.skipIf(!hasShared)(`the leaderboard's values (${whyNoShared})`, () => {
	it("has all groups", () => {
		const families = groups.map((group) => group.family);
		const count = (letter: string) => families.filter((f) => f === letter).length;
		expect(Object.fromEntries([..."CHMTNSRQXA"].map((letter) => [letter, count(letter)]))).toEqual({
			...{ C: 23, H: 1, M: 6, T: 1, N: 2, S: 5, R: 1, Q: 3, X: 1, A: 2 },
		});
		expect(groups.length + (orders ? 1 : 0)).toBe(46);
	});

	it("O: documents are shuffled with seed 42, and a limit is a count or a share of the first task", () => {
		expect(orders?.order.length).toBeGreaterThan(5);
		for (const { n, first, sha256_of_comma_joined: hash } of orders?.order ?? []) {
			const order = boardOrder(n);
			expect(order.slice(0, first.length)).toEqual(first);
			expect(createHash("sha256").update(order.join()).digest("hex")).toBe(hash);
		}
		for (const { task_sizes: sizes, limit, documents } of orders?.limit ?? []) {
			expect(boardLimit(sizes, limit ?? undefined), JSON.stringify({ sizes, limit })).toEqual(documents);
		}
	});

	it("Q: prompts of later turns hold the earlier outputs", () => {
		const { docs, fill } = groups.find((group) => group.id === "Q-convfinqa") as unknown as Dialogues;
		expect(fill.length).toBeGreaterThan(9);
		for (const { query, turn, answers, expected } of fill) {
			const filled = () => fillEarlierAnswers(query, turn, answers);
			if (typeof expected === "string") expect(filled(), query).toBe(expected);
			else expect(filled, query).toThrow(expected.error);
		}
		for (const { doc, prompt } of docs) {
			const earlier = docs
				.filter((d) => d.doc.dialogue_id === doc.dialogue_id && d.doc.turn < doc.turn)
				.sort((a, b) => a.doc.turn - b.doc.turn)
				.map(({ output }) => output);
			expect(fillEarlierAnswers(doc.query, doc.turn, earlier)).toBe(prompt);
		}
	});

	it.each(groups)("$id: aggregates", (group) => {
		let checked = 0;
		for (const { docs, values } of group.aggregates) {
			const chosen = docs === "all" ? group.docs : docs.map((i) => group.docs[i] as GoldenDoc);
			checked += expectValues(group, chosen, values);
		}
		if (group.id !== "M-degenerate") expect(checked).toBeGreaterThan(0);
	});

	it.each(groups)("$id: each document alone", (group) => {
		for (const item of group.docs) {
			if (item.solo) expectValues(group, [item], item.solo);
			const { acc, missing, error } = item.expected as { acc?: number; missing?: number; error?: string };
			const scores = scoresOf(group, [item]);
			if (error) {
				expect(Object.values(scores.leaderboard).every((value) => value === null)).toBe(true);
				expect(Object.values(scores.errors)[0]).toContain(error);
			}
			if (acc !== undefined) expect(scores.perDocument?.acc?.[0], item.id).toBe(acc);
			if (missing !== undefined) expect(scores.perDocument?.missing?.[0], item.id).toBe(missing);
		}
	});

	it("N: the tags of every document", () => {
		const docs = groups.filter((group) => group.family === "N").flatMap((group) => group.docs);
		expect(docs.length).toBe(23);
		for (const { doc, output, expected, id } of docs) {
			expect(boardTags(doc.text as string, output), id).toEqual((expected.entity_f1 as unknown[])[0]);
		}
	});

	it("registered tasks score their own group, and point the same way", () => {
		const registered = groups.filter((group) => tasks.some((task) => task.id === group.task));
		expect(new Set(registered.map((group) => group.task)).size).toBe(tasks.length);
		for (const group of registered) {
			const task = tasks.find((t) => t.id === group.task);
			for (const [metric, higher] of Object.entries(group.higher_is_better)) {
				expect(task?.metrics[metric]?.higherIsBetter, `${group.id} ${metric}`).toBe(higher);
			}
			for (const { docs, values } of group.aggregates) {
				const chosen = docs === "all" ? group.docs : docs.map((i) => group.docs[i] as GoldenDoc);
				const scores = task?.score(
					chosen.map((d) => d.doc),
					chosen.map((d) => d.output),
					{ bootstrap: 0 },
				);
				for (const [metric, value] of Object.entries(values)) {
					if (typeof value === "number") expect(scores?.leaderboard[metric]).toBeCloseTo(value, 9);
					else expect(scores?.leaderboard[metric]).toBeNull();
				}
			}
		}
	});
});

describe("the leaderboard's quirks, without the shared fixtures", () => {
	const one = (scorer: Scorer, doc: Record<string, unknown>, output: string) =>
		buildScores(scorer, scorer.leaderboardMetrics[0] as string, [doc], [output], { bootstrap: 0 });

	it("takes the first option in stored order, wherever it stands", () => {
		const doc = { choices: ["positive", "neutral", "negative"], gold: 2 };
		expect(one(ruleC, doc, "negative, not positive").leaderboard.acc).toBe(0);
		expect(one(ruleC, doc, "NEGATIVELY").leaderboard.acc).toBe(1);
		expect(one(ruleC, doc, "?").leaderboard).toMatchObject({ acc: 0, missing: 1, acc_stderr: null });
	});

	it("counts anything but exactly Yes as No", () => {
		const doc = { choices: ["Yes", "No"], gold: 1, label_type: "PastNews" };
		expect(one(ruleH, doc, "Yes.").leaderboard.avg_f1).toBe(1);
	});

	it("loses an entity that ends at the last word, and shifts one that starts inside a word", () => {
		expect(boardTags("Bing Yu", "Bing Yu, PER")).toEqual(["O", "O"]);
		expect(boardTags("the RMB1 note .", "MB1, ORG")).toEqual(["O", "O", "B-ORG", "O"]);
	});

	it("names the exception where the board's code would end", () => {
		const crash = one(ruleM("fall"), { choices: ["Up", "Down"], gold: 0 }, "Down");
		expect(crash.leaderboard.acc).toBeNull();
		expect(crash.errors.acc).toBe('KeyError: no synonyms are known for the option "up" (row 1)');
		expect(crash.strict.acc).toBe(0);
	});
});
