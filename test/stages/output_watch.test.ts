/** Answers that do not end, or go round in circles. */
import { expect, test } from "vitest";
import { isRepetitive, OutputWatch, shareRepetitive } from "../../src/stages/output_watch.js";

const repeat = (sequence: number[], times: number): number[] => Array.from({ length: times }, () => sequence).flat();
const prose = Array.from({ length: 200 }, (_, i) => (i * i * 31 + 7 * i) % 997);

test("an answer goes round in circles where its end repeats, four times and for 16 tokens at least", () => {
	expect(isRepetitive([...prose, ...repeat([1, 2, 3, 4], 4)])).toBe(true);
	expect(isRepetitive([...prose, ...repeat([1, 2, 3, 4], 3), 1, 2, 3])).toBe(false);
	expect(isRepetitive(repeat([5], 16))).toBe(true);
	expect(isRepetitive(repeat([5], 15))).toBe(false);
	expect(isRepetitive(repeat(prose.slice(0, 32), 4))).toBe(true);
	expect(isRepetitive(repeat(prose.slice(0, 33), 4))).toBe(false);
	// What repeats earlier, and what ends in the middle of a turn.
	expect(isRepetitive([...repeat([1, 2], 20), 9])).toBe(false);
	expect(isRepetitive([...repeat([1, 2, 3], 6), 1, 2])).toBe(true);
	expect(isRepetitive(prose)).toBe(false);
	expect(isRepetitive([])).toBe(false);
	expect(shareRepetitive([{ output_ids: repeat([5], 16) }, { output_ids: prose }])).toBe(0.5);
	expect(shareRepetitive([])).toBe(0);
});

test("unusual shares are told once, and not before there are enough answers", () => {
	const told: string[] = [];
	const watch = new OutputWatch((message) => told.push(message));
	for (let i = 0; i < 31; i++) watch.add({ outputIds: prose, finishReason: i < 20 ? "length" : "stop" });
	expect(told).toEqual([]);
	for (let i = 0; i < 9; i++) watch.add({ outputIds: repeat([5], 20), finishReason: "stop" });
	expect(told).toEqual([
		"20 of the first 32 answers are overlong: they reached max_new_tokens without an end",
		"8 of the first 39 answers go round in circles",
	]);
});
