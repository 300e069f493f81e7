import { describe, expect, it } from "vitest";
import { decontaminate, HeldOutIndex, shownTexts } from "../../src/data/decontaminate.js";
import { normaliseText } from "../../src/data/normalise.js";
import { parseRow } from "../../src/data/rows.js";

describe("decontaminate", () => {
	it("takes out rows whose text is held out, whatever its blanks, case and punctuation", () => {
		const rows = ["Net sales  rose 3 %.", "net sales rose 3%", "Net sales rose 4 %.", "...", ""];
		const { kept, dropped } = decontaminate(rows, ["NET SALES ROSE 3 %", "..."], (row) => row);
		expect(dropped).toEqual(["Net sales  rose 3 %.", "net sales rose 3%"]);
		expect(kept).toEqual(["Net sales rose 4 %.", "...", ""]);
	});

	it("keeps letters and digits of every script apart", () => {
		expect(normaliseText("Ünï-code, 中国 ½ ＡＢＣ\u00a0x")).toBe("ünï code 中国 1 2 abc x");
		expect(normaliseText("e\u0301")).toBe(normaliseText("é"));
		expect(normaliseText("10.5")).not.toBe(normaliseText("105"));
	});
});

describe("the index of held-out texts", () => {
	const text = "Tesco’s café sales rise as Britain's grocers cut prices";
	const template = "The client is a female, the credit balance is -5000, the number of cards is 1.";
	const index = new HeldOutIndex([
		{ text, loosest: "near" },
		{ text: template, loosest: "exact" },
		{ text: "What was the change in revenue from 2018 to 2019?", loosest: "normalised" },
		{ text: "Revenue Recognition", loosest: "near" },
	]);
	const found = (query: string, loosest?: "exact" | "normalised" | "near"): string[] =>
		index.find(query, loosest).map(({ index: place, kind }) => `${place} ${kind}`);

	it.each([
		["the same characters", text, ["0 exact"]],
		["other blanks", ` ${text.replace(" ", "\n ")}\t`, ["0 exact"]],
		["another case", text.toUpperCase(), ["0 normalised"]],
		["other punctuation", text.replace("’", " '").replace("'", "-"), ["0 normalised"]],
		["another form of the same letters", text.normalize("NFD"), ["0 normalised"]],
		["another word", text.replace("cut", "lower"), ["0 near"]],
		["a prefix", `UPDATE 2: ${text}`, ["0 near"]],
		["two words, in another case", "revenue recognition", ["3 normalised"]],
		["two words in a longer text", "Revenue recognition under IFRS 15", []],
		["another text", "Tesco opens forty shops in Poland this year", []],
	] as [string, string, string[]][])("%s", (_, query, expected) => {
		expect(found(query)).toEqual(expected);
	});

	it("takes texts of a template by their characters only: a sign is all that differs", () => {
		expect(found(template)).toEqual(["1 exact"]);
		expect(found(template.replace("-5000", "5000"))).toEqual([]);
		expect(found(template.toLowerCase())).toEqual([]);
	});

	it("takes questions as a whole", () => {
		expect(found("what was the change in revenue from 2018 to 2019")).toEqual(["2 normalised"]);
		expect(found("So: what was the change in revenue from 2018 to 2019")).toEqual([]);
	});

	it("goes no further than the training text allows", () => {
		expect(found(text.replace("cut", "lower"), "normalised")).toEqual([]);
		expect(found(text.toUpperCase(), "exact")).toEqual([]);
		expect(found(text, "exact")).toEqual(["0 exact"]);
	});
});

describe("what of a row is compared", () => {
	const shown = (value: Record<string, unknown>): string[] => shownTexts(parseRow({ value, source: { file: "f", line: 1 } }));
	const turns = (...contents: [string, string][]) => contents.map(([role, content]) => ({ role, content }));

	it.each([
		["a prompt", { prompt: "p", completion: "c" }, ["p"]],
		["a prompt of kto", { prompt: "p", completion: "c", label: true }, ["p"]],
		["a prompt of a pair", { prompt: "p", chosen: "c", rejected: "r" }, ["p"]],
		["a text", { text: "t" }, ["t"]],
		[
			"the turns of system and user",
			{ messages: turns(["system", "s"], ["user", "u"], ["assistant", "a"], ["user", "v"]) },
			["s", "u", "v"],
		],
		["the messages of a prompt", { prompt: turns(["user", "u"]), completion: turns(["assistant", "a"]) }, ["u"]],
		[
			"the messages that a pair has in common",
			{ chosen: turns(["user", "u"], ["assistant", "a"]), rejected: turns(["user", "u"], ["assistant", "b"]) },
			["u"],
		],
		["nothing of token ids", { input_ids: [1, 2], completion_mask: [0, 1] }, []],
	] as [string, Record<string, unknown>, string[]][])("%s", (_, value, expected) => {
		expect(shown(value)).toEqual(expected);
	});
});
