/**
 * MA: was the deal that a text reports completed, or did it remain a rumour (Yang et al. 2020).
 * @module
 */
import { hubTask } from "./hub_task.js";
import { optionRule } from "./option_rules.js";

export const ma = hubTask({
	name: "ma",
	id: "flare_ma",
	title: "MA: deal complete or rumour",
	rule: optionRule,
	labels: ["complete", "rumour"],
});
