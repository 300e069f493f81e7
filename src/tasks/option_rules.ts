/**
 * What tasks whose answer is one of some options have in common, beyond rule C itself: credit tasks show MCC, the stock
 * tasks and two of the credit tasks go by rule M.
 * @module
 */
import { classificationMetrics, classificationStrictRules, ruleCTask, ruleM } from "./classification.js";
import type { TaskRule } from "./hub_task.js";

export const optionRule: TaskRule = { ...ruleCTask };
export const creditRule: TaskRule = { ...optionRule, headline: "mcc" };

/** Rule M. @param fallback what the leaderboard takes an output for in which nothing matches */
export const withSynonyms = (fallback: "fall" | "good", headline: string, defaultMaxNewTokens: number): TaskRule => ({
	headline,
	metrics: classificationMetrics,
	strictRules: classificationStrictRules,
	columns: ["choices", "gold"],
	scorer: ruleM(fallback),
	defaultMaxNewTokens,
});
