/**
 * MLESG: which of 33 ESG issues of MSCI's rating a news article is about (FinNLP 2023, ML-ESG-1).
 * @module
 */
import { hubTask } from "./hub_task.js";
import { optionRule } from "./option_rules.js";

/** In stored order. */
const issues = [
	...["Access to Communications", "Biodiversity & Land Use", "Packaging Material & Waste", "Financing Environmental Impact"],
	...["Carbon Emissions", "Human Capital Development", "Ownership & Control", "Community Relations", "Responsible Investment"],
	...["Opportunities in Renewable Energy", "Consumer Financial Protection", "Accounting", "Business Ethics"],
	...["Opportunities in Clean Tech", "Toxic Emissions & Waste", "Product Carbon Footprint", "Opportunities in Green Building"],
	...["Climate Change Vulnerability", "Pay", "Water Stress", "Supply Chain Labor Standards", "Chemical Safety", "Board"],
	...["Opportunities in Nutrition & Health", "Access to Health Care", "Electronic Waste", "Access to Finance"],
	...["Raw Material Sourcing", "Health & Demographic Risk", "Labor Management", "Controversial Sourcing"],
	...["Privacy & Data Security", "Product Safety & Quality"],
];

export const mlesg = hubTask({
	name: "mlesg",
	id: "flare_mlesg",
	title: "MLESG: ESG issues",
	license: "CC-BY-NC-ND-4.0",
	rule: optionRule,
	labels: issues,
});
