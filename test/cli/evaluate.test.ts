/** `fintune evaluate --generations` through the real command line: what stands on stdout and which status it ends with. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fintune, lines, put } from "./cli.js";

const dir = mkdtempSync(join(tmpdir(), "fintune-evaluate-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const choices = ["positive", "neutral", "negative"];
const row = (gold: number, output: string) => ({ doc: { choices, gold }, output });
/** gold 9 names no option: the leaderboard's code raises before any metric. */
const allCrash = put(join(dir, "all.jsonl"), lines([row(0, "positive"), row(9, "positive")]));
/** One document has no standard error; every other metric is there. */
const oneCrashes = put(join(dir, "one.jsonl"), lines([row(0, "positive")]));
const evaluate = (file: string, ...more: string[]) => fintune(["evaluate", "--task", "fpb", "--generations", file, ...more]);

interface Document {
	n: number;
	leaderboard: Record<string, number | null>;
	strict: Record<string, number | null>;
	errors: Record<string, string>;
}

describe("stored generations on which the leaderboard's code crashes", () => {
	it("in every metric: status 65, the whole document on stdout, the reason on stderr", async () => {
		const { status, stdout, stderr } = await evaluate(allCrash, "--json");
		expect(status).toBe(65);
		const { n, leaderboard, strict, errors } = JSON.parse(stdout) as Document;
		expect(n).toBe(2);
		expect(Object.keys(leaderboard)).toEqual(expect.arrayContaining(["acc", "f1", "missing"]));
		for (const [name, value] of Object.entries(leaderboard)) {
			expect(value, name).toBeNull();
			expect(errors[name], name).toBe("IndexError: gold 9 is outside the 3 choices (row 2)");
		}
		expect(Object.keys(strict).length).toBeGreaterThan(0);
		expect(stderr).toMatch(/all\.jsonl: .*every metric\n.*IndexError: gold 9/);
		expect(stderr).toContain("(E_SCORING)");
		expect(stderr).not.toMatch(/\n\s+at /);
	});

	it("in every metric, for people: the metrics and why, and the same status", async () => {
		const { status, stdout } = await evaluate(allCrash);
		expect(status).toBe(65);
		expect(stdout).toMatch(/^f1: null/m);
		expect(stdout).toMatch(/^f1: IndexError/m);
	});

	it("in one metric: null, named in errors, status 0", async () => {
		const { status, stdout, stderr } = await evaluate(oneCrashes, "--json");
		expect(status, stderr).toBe(0);
		expect(JSON.parse(stdout)).toMatchObject({
			leaderboard: { acc: 1, acc_stderr: null },
			errors: { acc_stderr: expect.stringContaining("ZeroDivisionError") },
		});
		expect(stderr).toBe("");
	});
});
