/**
 * Rule Q of the leaderboard: the stripped output must equal the answer exactly.
 * @module
 */
import { pyStrip } from "../metrics/pytext.js";
import { afterThinking } from "./answers.js";
import type { TaskRule } from "./hub_task.js";
import { meanOf, type Scorer, standardErrorOf, textColumn } from "./scoring.js";

/** How the strict score of rule Q departs from the leaderboard's. */
export const exactMatchStrictRules =
	"The answer is the first paragraph of what follows </think>. Numbers are compared as numbers (signs of money, thousands " +
	"separators, brackets for minus and written zeros do not matter; 5 % equals 0.05 only where the reference is a share), words " +
	"without case, quotes' shapes and a closing full stop. An empty answer is missing.";

const better = { higherIsBetter: true };

export const ruleQ: Scorer = {
	leaderboardMetrics: ["acc", "acc_stderr"],
	strictMetrics: ["acc", "missing"],
	leaderboard(docs, outputs) {
		const acc = docs.map((doc, row) => (pyStrip(outputs[row] as string) === textColumn(doc, "answer", row) ? 1 : 0));
		return { aggregates: { acc: meanOf(acc), acc_stderr: standardErrorOf(acc) }, perDocument: { acc } };
	},
	strict(docs, outputs) {
		const answers = outputs.map((output) => afterThinking(output)?.split(/\n[ \t\r]*\n/, 1)[0]);
		const acc = docs.map((doc, row) => {
			const reference = textColumn(doc, "answer", row);
			const answer = answers[row];
			return answer !== undefined && sameAnswer(answer, reference) ? 1 : 0;
		});
		const missing = answers.map((answer) => (answer ? 0 : 1));
		return { aggregates: { acc: meanOf(acc), missing: meanOf(missing) }, perDocument: { acc, missing } };
	},
};

/** What the tasks of rule Q have in common. */
export const exactMatchRule: TaskRule = {
	headline: "acc",
	metrics: { acc: better, acc_stderr: { higherIsBetter: false }, missing: { higherIsBetter: false } },
	strictRules: exactMatchStrictRules,
	columns: ["answer"],
	scorer: ruleQ,
	defaultMaxNewTokens: 256,
};

/** Whether an answer says the same as the reference, see `exactMatchStrictRules`. */
export function sameAnswer(answer: string, reference: string): boolean {
	const [a, r] = [readNumber(answer), readNumber(reference)];
	if (a && r) {
		const values = a.percent && !r.percent ? [a.value, a.value / 100] : [a.value];
		return values.some((value) => Math.abs(value - r.value) <= 1e-6 * Math.max(1e-9, Math.abs(r.value)));
	}
	return plainWords(answer) === plainWords(reference);
}

function readNumber(text: string): { value: number; percent: boolean } | undefined {
	const bare = pyStrip(text)
		.replaceAll("\u2212", "-")
		.replace(/\.$/, "")
		.replaceAll(/[$€£]/g, "")
		.replace(/\s+(?=%)/g, "");
	const bracketed = /^\((.*)\)(%?)$/.exec(bare);
	const signed = bracketed ? `-${bracketed[1]}${bracketed[2]}` : bare;
	const match = /^([-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)(%?)$/i.exec(signed);
	if (!match?.[1] || !/[0-9]/.test(match[1])) return undefined;
	return { value: Number(match[1].replaceAll(",", "")), percent: match[2] === "%" };
}

function plainWords(text: string): string {
	return pyStrip(text)
		.normalize("NFKC")
		.toLowerCase()
		.replace(/[“”]/g, '"')
		.replace(/[‘’]/g, "'")
		.replace(/\r/g, "")
		.replace(/[ \t]+/g, " ")
		.replace(/\.$/, "");
}
