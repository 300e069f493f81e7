/** The embedded base model must not have seen a test row. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { containmentFinder } from "../../src/data/decontaminate.js";
import { normaliseText } from "../../src/data/normalise.js";
import { tasks } from "../../src/tasks/registry.js";

const root = resolve(import.meta.dirname, "../..");
const corpus = gunzipSync(readFileSync(resolve(root, "data/pretrain/corpus.jsonl.gz")))
	.toString()
	.split("\n")
	.filter(Boolean)
	.map((line) => normaliseText((JSON.parse(line) as { text: string }).text));

describe("the pretraining corpus", () => {
	it.each(tasks.filter((t) => t.redistributable).map((t) => t.name))("holds no test text of %s", async (name) => {
		const task = tasks.find((t) => t.name === name)!;
		const test = await task.load("test", [resolve(root, "data")]);
		const texts = test.map((row) => String(row.doc.text));
		const whole = new Set(corpus);
		expect(texts.filter((text) => whole.has(normaliseText(text)))).toEqual([]);
		const contains = containmentFinder(texts);
		expect(corpus.filter(contains)).toEqual([]);
	});

	it("is watched by a check that finds a test text inside a longer one", () => {
		const contains = containmentFinder(["The borrower shall pay all fees on the first day."]);
		expect(contains("Note: THE BORROWER shall pay all fees, on the first day. Then")).toBe(true);
		expect(contains("the borrower shall pay all fees on the first")).toBe(false);
	});
});
