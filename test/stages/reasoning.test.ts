import { describe, expect, it } from "vitest";
import { AnswerExtractor, reasoningPrompt } from "../../src/stages/reasoning.js";
import { majority } from "../../src/stages/synthesize.js";

const sentiment = new AnswerExtractor(["positive", "negative", "neutral"]);
const free = new AnswerExtractor(undefined);

describe("AnswerExtractor with labels", () => {
	it.each([
		["Sales rose.\nFinal answer: positive", "positive"],
		["The answer is Neutral.", "neutral"],
		["final answer:NEGATIVE  ", "negative"],
		["Answer: positive\nOn reflection.\nAnswer: negative", "negative"],
		// no mark, one label: no guess is needed
		["I would say this is positive news.", "positive"],
		["Final answer: \npositive", "positive"],
	])("reads %j as %s", (output, answer) => {
		expect(sentiment.extract(output)).toBe(answer);
	});

	it.each([
		"",
		"It could be positive or negative.",
		"Final answer: positive or negative",
		"The outlook is positively glowing.",
		"nonnegative",
		"Final answer: unclear",
	])("does not guess from %j", (output) => {
		expect(sentiment.extract(output)).toBeUndefined();
	});

	it("takes labels as text, not as patterns, in any script", () => {
		const odd = new AnswerExtractor(["a.b", "c+ (x)", "Größe"]);
		expect(odd.extract("Answer: c+ (x)")).toBe("c+ (x)");
		expect(odd.extract("Answer: aXb")).toBeUndefined();
		expect(odd.extract("answer is größe")).toBe("Größe");
	});
});

describe("AnswerExtractor for free text", () => {
	it("takes the last marked line, or the only line", () => {
		expect(free.extract("Reasons.\nFinal answer: Acme Corp, ORG.")).toBe("Acme Corp, ORG");
		expect(free.extract("42 million")).toBe("42 million");
		expect(free.extract("One line.\nAnother line.")).toBeUndefined();
		expect(free.extract("   ")).toBeUndefined();
	});

	it("uses the pattern it is given, and refuses one that RE2 does not take or that has no group", () => {
		expect(new AnswerExtractor(undefined, "<a>(.*?)</a>").extract("x <a>1</a> <a>2</a>")).toBe("2");
		expect(() => new AnswerExtractor(undefined, "(?=x)(y)")).toThrow(/answer_pattern is not a pattern that RE2 accepts/);
		expect(() => new AnswerExtractor(undefined, "(a)\\1")).toThrow(/RE2/);
		expect(() => new AnswerExtractor(undefined, "answer: .*")).toThrow(/answer_pattern has no group/);
	});
});

describe("time", () => {
	/** The best of several runs, in milliseconds of CPU time: a busy machine only ever adds, and little. */
	const time = (extractor: AnswerExtractor, text: string): number => {
		let best = Number.POSITIVE_INFINITY;
		for (let run = 0; run < 4; run++) {
			const started = process.cpuUsage();
			extractor.extract(text);
			const { user, system } = process.cpuUsage(started);
			best = Math.min(best, (user + system) / 1000);
		}
		return best;
	};
	it.each<[string, (n: number) => string]>([
		["blanks after a mark", (n) => `answer:${" ".repeat(n)}`],
		["marks without an answer", (n) => "answer: ".repeat(n / 8)],
		["marks in lines", (n) => "final answer:\n".repeat(n / 14)],
		["dots and blanks before a letter", (n) => `answer: ${". ".repeat(n / 2)}x\n`],
		["labels glued together", (n) => "positive".repeat(n / 8)],
	])("is linear on %s", (_, make) => {
		for (const extractor of [sentiment, free]) {
			time(extractor, make(20_000)); // compiled by then
			// Quadratic work would take 64 times as long.
			expect(time(extractor, make(80_000))).toBeLessThan(32 * Math.max(1, time(extractor, make(10_000))));
		}
	});

	it("stays linear with the pattern that ruins a backtracking engine", () => {
		const nasty = new AnswerExtractor(undefined, "((?:a+)+)$");
		const started = performance.now();
		nasty.extract(`${"a".repeat(1_000)}!`);
		expect(performance.now() - started).toBeLessThan(20_000);
	});
});

describe("majority", () => {
	const group = (...answers: (string | undefined)[]) => answers.map((answer) => ({ answer }));
	it.each([
		[group("a", "a", "a", "b"), 0.75, "a"],
		[group("a", "a", "b", "b"), 0.75, undefined],
		[group("a", "a", "b", "b"), 0.5, "a"],
		[group("a", undefined, undefined, undefined), 0.5, undefined],
		[group(undefined, undefined), 0, undefined],
		[group("a", "a", undefined, undefined), 0.5, "a"],
		[[], 0.5, undefined],
	])("of %j at %d is %s", (samples, agreement, answer) => {
		expect(majority(samples, agreement)).toBe(answer);
	});

	it("is not misled by binary fractions", () => {
		// 0.55 * 20 is 11.000000000000002
		expect(majority(group(...Array(11).fill("a"), ...Array(9).fill("b")), 0.55)).toBe("a");
		expect(majority(group(...Array(10).fill("a"), ...Array(10).fill("b")), 0.55)).toBeUndefined();
	});
});

describe("reasoningPrompt", () => {
	it("asks for reasons in place of the bare answer", () => {
		const prompt = reasoningPrompt("Text: Sales rose.\nAnswer:");
		expect(prompt).not.toMatch(/Answer:\s*\n/);
		expect(prompt.startsWith("Text: Sales rose.\n")).toBe(true);
		expect(prompt.endsWith("\nReasoning:")).toBe(true);
		expect(reasoningPrompt("Q", "Think.")).toBe("Q\nThink.\nReasoning:");
	});
});
