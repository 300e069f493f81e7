/**
 * The corrected scores of the families with numbers, triplets, tags and free answers.
 */
import { describe, expect, it } from "vitest";
import { sameAnswer } from "../../src/tasks/exact_match.js";
import { taskByName, tasks } from "../../src/tasks/registry.js";

const strict = (task: string, rows: [doc: Record<string, unknown>, output: string][]) =>
	taskByName(task).score(
		rows.map(([doc]) => doc),
		rows.map(([, output]) => output),
		{ bootstrap: 0 },
	);

describe("TSA", () => {
	it.each([
		["-0.5", 0.5 - 1],
		["<think>In 2015 sales rose.</think>\nScore: -.25", -0.25],
		["\u22120,4", -0.4],
		["1e-3", 0.001],
		["+7", 1],
	])("reads %j with its sign", (output, answer) => {
		expect(strict("tsa", [[{ answer }, output]]).strict.rmse).toBeCloseTo(0, 12);
	});

	it("counts no number as the far end, not as absent", () => {
		const { leaderboard, strict: corrected, errors } = strict("tsa", [[{ answer: -0.4 }, "bearish"]]);
		expect(leaderboard.rmse).toBeNull();
		expect(errors.rmse).toContain("ValueError");
		expect(corrected).toEqual({ rmse: 1.4, missing: 1 });
	});

	it("says which row has no gold score", () => {
		expect(() => strict("tsa", [[{ answer: "high" }, "1"]])).toThrow(/row 1/);
	});
});

describe("questions", () => {
	it.each([
		["688", "688.0", true],
		["4,575,515.0", "4575515.0", true],
		["$127.4", "127.4", true],
		["\u22121.9", "-1.9", true],
		["0.00001", "1e-05", true],
		["(9.8)", "-9.8", true],
		["13 %", "13.0%", true],
		["93.5%", "0.935", true],
		["0.935", "0.94", false],
		["0.935", "93.5%", false],
		["1,23", "123", false],
		["Yes.", "yes", true],
		['below under "Segment Results."', "below under “Segment Results.”", true],
		["2019, 2018", "2019\n2018", false],
		["", "0.0", false],
	])("%j for %j: %s", (answer, reference, same) => expect(sameAnswer(answer, reference)).toBe(same));

	it("takes the first paragraph after the chain of thought", () => {
		const rows: [Record<string, unknown>, string][] = [
			[{ answer: "19.2" }, "<think>maybe 20</think>19.2"],
			[{ answer: "0.19495" }, "0.19495\n\nExplanation: 34 / 174"],
			[{ answer: "2019\n2018" }, "2019\n2018\n\n"],
			[{ answer: "5" }, "<think>5"],
		];
		const { leaderboard, strict: corrected } = strict("finqa", rows);
		expect(leaderboard.acc).toBe(0.25);
		expect(corrected.acc).toBe(0.75);
	});
});

describe("triplets", () => {
	it("belong to their document, and prose is no prediction", () => {
		const rows: [Record<string, unknown>, string][] = [
			[{ label: ["A ; B ; brand"] }, "C ; D ; owner_of"],
			[{ label: ["C ; D ; owner_of"] }, "<think>hm</think>\n- C; D ; owner_of\nThat is all."],
		];
		const { leaderboard, strict: corrected } = strict("finred", rows);
		expect(corrected).toEqual({ precision: 0.5, recall: 0.5, f1: 0.5, missing: 0 });
		expect(leaderboard.recall).toBe(0.5);
		expect(leaderboard.precision).toBeCloseTo(0.25, 12);
	});

	it("without any gold are 0, where the leaderboard's code ends", () => {
		const { leaderboard, strict: corrected } = strict("finred", [[{ label: [] }, "A ; B ; brand"]]);
		expect(leaderboard).toMatchObject({ precision: 0, recall: null, f1: null });
		expect(corrected).toEqual({ precision: 0, recall: 0, f1: 0, missing: 0 });
	});
});

describe("sequence labelling", () => {
	const doc = { token: ["Sales", "at", "10:30", "rose"], label: ["B-CAUSE", "I-CAUSE", "I-CAUSE", "B-EFFECT"] };

	it("aligns in order, lets tokens hold colons and blanks follow them", () => {
		const { leaderboard, strict: corrected } = strict("cd", [
			[doc, "<think>x</think>\nHere:\nSales: B-CAUSE\nat: I-CAUSE\n10:30: i-cause\nrose:B-EFFECT"],
		]);
		expect(corrected).toEqual({ f1: 1, entity_f1: 1, missing: 0 });
		expect(leaderboard).toEqual({ f1: 0, entity_f1: 0 });
	});

	it("goes on after a skipped token", () => {
		const { leaderboard, strict: corrected } = strict("cd", [[doc, "Sales:B-CAUSE\n10:30:I-CAUSE\nrose:B-EFFECT"]]);
		expect(leaderboard.f1).toBeCloseTo((1 * 1) / 4, 12);
		// B-CAUSE 1 of 1, I-CAUSE 1 of 2 with full precision, B-EFFECT 1 of 1
		expect(corrected.f1).toBeCloseTo((1 + 2 * (2 / 3) + 1) / 4, 12);
	});
});

describe("the share of outputs without an answer", () => {
	const tagged = { token: ["Sales", "rose"], label: ["B-CAUSE", "O"] };
	it.each<[task: string, doc: Record<string, unknown>, good: string, bad: string[]]>([
		["fpb", { choices: ["positive", "neutral"], gold: 0 }, "neutral", ["?", "<think>positive", ""]],
		["headlines", { choices: ["Yes", "No"], gold: 0, label_type: "PastNews" }, "no", ["maybe", ""]],
		["german", { choices: ["good", "bad"], gold: 0 }, "bad", ["yes", ""]],
		["tsa", { answer: "0.5" }, "-1", ["bullish", ""]],
		["ner", { text: "Borrower pays .", label: ["B-PER", "O", "O"] }, "Lender, PER", ["Borrower", "Borrower, MISC", ""]],
		["cd", tagged, "rose:O", ["Sales rose", "Sales:B-CAUS", ""]],
		["finred", { label: ["A ; B ; brand"] }, "A ; C ; brand", ["A brand B", "<think>A ; B ; brand"]],
		["finqa", { answer: "1" }, "2", ["", "<think>1"]],
		["edtsum", { answer: "Sales rose" }, "rose", ["", "...", "<think>Sales rose"]],
		["ectsum", { text: "A b.\nC d.", label: [1, 0] }, "0\n1", ["0\n0", "A b.", ""]],
	])("%s", (task, doc, good, bad) => {
		expect(strict(task, [[doc, good]]).strict.missing).toBe(0);
		for (const output of bad) expect(strict(task, [[doc, output]]).strict.missing, output).toBe(1);
		expect(taskByName(task).metrics.missing).toEqual({ higherIsBetter: false });
	});

	it("is known for every task", () => {
		for (const task of tasks) expect(task.metrics.missing, task.name).toEqual({ higherIsBetter: false });
	});
});

describe("imported tasks", () => {
	it("score as their family", () => {
		const rise = { choices: ["Rise", "Fall"], gold: 0 };
		const { leaderboard, strict: corrected } = strict("bigdata22", [
			[rise, "yes"],
			[rise, "surprise"],
		]);
		expect(leaderboard.acc).toBe(1);
		expect(corrected).toMatchObject({ acc: 0, missing: 1 });
		expect(taskByName("lendingclub").headline).toBe("mcc");
	});
});
