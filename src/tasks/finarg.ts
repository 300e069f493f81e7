/**
 * FinArg (NTCIR-17): is a sentence of an earnings call a premise or a claim (ACC), and how do two of them relate (ARC).
 * @module
 */
import { hubTask } from "./hub_task.js";
import { optionRule } from "./option_rules.js";

export const finargAcc = hubTask({
	name: "finarg_acc",
	id: "flare_finarg_ecc_auc",
	title: "FinArg: premise or claim",
	license: "CC-BY-NC-SA-4.0",
	rule: optionRule,
	labels: ["premise", "claim"],
});

export const finargArc = hubTask({
	name: "finarg_arc",
	id: "flare_finarg_ecc_arc",
	title: "FinArg: relation of sentences",
	license: "CC-BY-NC-SA-4.0",
	rule: optionRule,
	labels: ["norelation", "support", "attack"],
});
