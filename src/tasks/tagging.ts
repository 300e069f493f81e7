/**
 * What the tasks of rule S have in common: a label for every token.
 * @module
 */
import type { TaskRule } from "./hub_task.js";
import { ruleS, sequenceStrictRules } from "./sequence_labelling.js";
import type { TaskRow } from "./task.js";

const better = { higherIsBetter: true };

/** O, and B- and I- of each kind. */
export const bio = (...kinds: string[]): string[] => ["O", ...kinds.flatMap((kind) => [`B-${kind}`, `I-${kind}`])];

export const tagRule = (labels: readonly string[], headline: "f1" | "entity_f1"): TaskRule => ({
	headline,
	metrics: { f1: better, entity_f1: better, missing: { higherIsBetter: false } },
	strictRules: sequenceStrictRules,
	columns: ["token", "label"],
	scorer: ruleS(labels),
	defaultMaxNewTokens: 128,
});

/** A row of a tagging task: the answer is a line "token:label" for each token. */
export function taggedRow(
	prompt: (text: string) => string,
	id: string,
	token: readonly string[],
	label: readonly string[],
	source: TaskRow["source"],
): TaskRow {
	const text = token.join(" ");
	const answer = token.map((word, i) => `${word}:${label[i]}`).join("\n");
	return { query: prompt(text), answer, doc: { id, text, token: [...token], label: [...label] }, source };
}
