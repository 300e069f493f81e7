/**
 * EDTSUM (headlines of news articles; Zhou et al. 2021) and ECTSUM (sentences of earnings calls; Mukherjee et al. 2022).
 * @module
 */
import { hubTask } from "./hub_task.js";
import { extractionStrictRules, ruleA, ruleX, summaryMetrics, summaryStrictRules } from "./summaries.js";

export const edtsum = hubTask({
	name: "edtsum",
	id: "flare_edtsum",
	title: "EDTSUM: headlines of articles",
	rule: {
		headline: "rouge1",
		metrics: summaryMetrics,
		strictRules: summaryStrictRules,
		columns: ["answer"],
		scorer: ruleA,
		defaultMaxNewTokens: 128,
		floors: () => [],
	},
});

export const ectsum = hubTask({
	name: "ectsum",
	id: "flare_ectsum",
	title: "ECTSUM: key sentences of earnings calls",
	license: "GPL-3.0-only",
	rule: {
		headline: "rouge1",
		metrics: summaryMetrics,
		strictRules: extractionStrictRules,
		columns: ["label", "text"],
		scorer: ruleX,
		defaultMaxNewTokens: 256,
		floors: () => [],
	},
	howToGet:
		"Save the rows of the hub's TheFinAI/flare-ectsum, unchanged, as JSON lines (query, answer, label, text). The original " +
		"transcripts (rajdeep345/ECTSum) do not hold the marks of sentences that the leaderboard scores against.",
});
