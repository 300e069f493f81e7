/**
 * FSRL: semantic roles of tokens in statements that compare quantities (Lamm et al. 2018, Textual Analogy Parsing).
 * @module
 */
import { hubTask } from "./hub_task.js";
import { bio, tagRule } from "./tagging.js";

const roles = bio(
	...["QUANT", "TIME", "MANNER", "THEME", "VALUE", "WHOLE", "LOCATION", "AGENT", "CAUSE", "SOURCE", "REF_TIME", "CONDITION"],
);

export const fsrl = hubTask({
	name: "fsrl",
	id: "flare_fsrl",
	title: "FSRL: semantic roles",
	license: "MIT",
	rule: tagRule(roles, "entity_f1"),
});
