/**
 * EDTSUM (headlines of news articles; Zhou et al. 2021) and ECTSUM (sentences of earnings calls; Mukherjee et al. 2022).
 * @module
 */
import { hubTask } from "./hub_task.js";
import { extractionRule, summaryRule } from "./summaries.js";

export const edtsum = hubTask({
	name: "edtsum",
	id: "flare_edtsum",
	title: "EDTSUM: headlines of articles",
	rule: summaryRule,
});

export const ectsum = hubTask({
	name: "ectsum",
	id: "flare_ectsum",
	title: "ECTSUM: key sentences of earnings calls",
	license: "GPL-3.0-only",
	rule: extractionRule,
	howToGet:
		"Save the rows of the hub's TheFinAI/flare-ectsum, unchanged, as JSON lines (query, answer, label, text). The original " +
		"transcripts (rajdeep345/ECTSum) do not hold the marks of sentences that the leaderboard scores against.",
});
