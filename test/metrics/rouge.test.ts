/** ROUGE beside Google's rouge-score, whose values are kept in fixtures/rouge (made by test/clients/rouge_score_golden.py). */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { longestCommonSubsequence, rouge, rougeKinds } from "../../src/metrics/rouge.js";
import { root } from "../repository.js";

interface Golden {
	cases: { target: string; prediction: string; f: Record<(typeof rougeKinds)[number], number> }[];
}
const golden = JSON.parse(readFileSync(join(root, "test/fixtures/rouge/rouge_score.json"), "utf8")) as Golden;

it("equals rouge-score on every pair of texts", () => {
	expect(golden.cases.length).toBe(91);
	for (const { target, prediction, f } of golden.cases) {
		const ours = rouge(target, prediction);
		for (const kind of rougeKinds) {
			expect(ours[kind], `${kind} of ${JSON.stringify([target, prediction])}`).toBeCloseTo(f[kind], 12);
		}
	}
	const kept = golden.cases.filter(({ f }) => f.rouge1 > 0 && f.rouge1 < 1 && f.rouge2 !== f.rougeL);
	expect(kept.length).toBeGreaterThan(30);
});

it("the longest common subsequence keeps the order", () => {
	const common = (a: string, b: string) => longestCommonSubsequence([...a], [...b]);
	expect(common("abcbdab", "bdcaba")).toBe(4);
	expect(common("abc", "cba")).toBe(1);
	expect(common("", "abc")).toBe(0);
});
