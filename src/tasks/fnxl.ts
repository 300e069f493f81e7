/**
 * FNXL: which us-gaap concept a number in a financial statement reports (Sharma et al. 2023).
 * @module
 */
import { fnxlConcepts } from "./fnxl_tags.js";
import { hubTask } from "./hub_task.js";
import { tagRule } from "./tagging.js";

export const fnxl = hubTask({
	name: "fnxl",
	id: "flare_fnxl",
	title: "FNXL: concepts of numbers",
	rule: tagRule(["O", ...fnxlConcepts.map((concept) => `B-${concept}`)], "entity_f1"),
});
