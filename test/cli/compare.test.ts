/** `fintune evaluate --compare A B` through the real command line. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fintune, lines, put } from "./cli.js";

const dir = mkdtempSync(join(tmpdir(), "fintune-compare-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const choices = ["positive", "neutral", "negative"];
const rows = (right: (i: number) => boolean, n = 60) =>
	Array.from({ length: n }, (_, i) => ({
		doc: { id: `d${i}`, choices, gold: i % 3 },
		output: choices[right(i) ? i % 3 : (i + 1) % 3],
	}));
const weak = put(join(dir, "a", "generations", "fpb.jsonl"), lines(rows((i) => i % 2 === 0)));
put(join(dir, "b", "stages", "final", "generations", "fpb.jsonl"), lines(rows((i) => i % 10 !== 0).reverse()));
const other = put(join(dir, "fpb.jsonl"), lines(rows(() => true, 59)));

describe("evaluate --compare", () => {
	it("matches documents in any order, of a folder and of a run, and says which is better", async () => {
		const { status, stdout, stderr } = await fintune(["evaluate", "--compare", join(dir, "a"), join(dir, "b"), "--json"]);
		expect(status, stderr).toBe(0);
		const [fpb] = (JSON.parse(stdout) as { compare: unknown[] }).compare;
		expect(fpb).toMatchObject({
			task: "fpb",
			n: 60,
			leaderboard: { verdict: "better", sentence: expect.stringContaining("B is significantly better than A") },
			mcnemar: { onlyFirst: 6, onlySecond: 30, bothRight: 24, bothWrong: 0 },
		});
		const again = await fintune(["evaluate", "--compare", join(dir, "a"), join(dir, "b"), "--json"]);
		expect(again.stdout).toBe(stdout);
	});

	it("refuses other documents and names the first", async () => {
		const { status, stderr } = await fintune(["evaluate", "--compare", weak, other]);
		expect(status).toBe(65);
		expect(stderr).toMatch(/a\/generations\/fpb\.jsonl:60: the two evaluations are not of the same documents/);
		expect(stderr).toContain("1 only in");
	});

	it("refuses one evaluation", async () => {
		expect((await fintune(["evaluate", "--compare", weak])).status).toBe(64);
	});
});
