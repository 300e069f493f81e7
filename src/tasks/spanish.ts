/**
 * The Spanish tasks (Zhang et al. 2024, Toison de Oro): sentiment, topics, exams and summaries.
 * @module
 */
import { hubTask, type TaskRule } from "./hub_task.js";
import { optionRule } from "./option_rules.js";
import { summaryRule } from "./summaries.js";

const rule: TaskRule = {
	...optionRule,
	strictRules:
		`${optionRule.strictRules} Options of one letter count with their case, as FinBen's newer harness has it; the leaderboard's ` +
		"own lower-casing finds an a in nearly any output.",
};

export const financees = hubTask({
	name: "financees",
	id: "flare_es_financees",
	title: "FinanceES: Spanish sentiment",
	rule,
});
export const multifinEs = hubTask({
	name: "multifin_es",
	id: "flare_es_multifin",
	title: "MultiFin-ES: Spanish topics",
	license: "CC-BY-NC-4.0",
	rule,
});
export const efp = hubTask({ name: "efp", id: "flare_es_efp", title: "EFP: Spanish exam", rule, labels: ["A", "B", "C"] });
export const efpa = hubTask({
	name: "efpa",
	id: "flare_es_efpa",
	title: "EFPA: Spanish exam",
	rule,
	labels: ["A", "B", "C", "D"],
});
export const tsaEs = hubTask({ name: "tsa_es", id: "flare_es_tsa", title: "TSA-ES: Spanish sentiment", rule });

export const fns = hubTask({
	name: "fns",
	id: "flare_es_fns",
	title: "FNS: Spanish summaries of annual reports",
	rule: { ...summaryRule, defaultMaxNewTokens: 512 },
});
