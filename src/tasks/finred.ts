/**
 * FinRED: relations between entities of a sentence as triplets (Sharma et al. 2022).
 * @module
 */
import { nativeLines } from "./define.js";
import { badRow } from "./files.js";
import { hubTask, type TaskRule } from "./hub_task.js";
import type { Split, TaskRow } from "./task.js";
import { ruleR, tripletStrictRules } from "./triplets.js";

const better = { higherIsBetter: true };
const rule: TaskRule = {
	headline: "f1",
	metrics: { precision: better, recall: better, f1: better, missing: { higherIsBetter: false } },
	strictRules: tripletStrictRules,
	columns: ["label"],
	scorer: ruleR,
	defaultMaxNewTokens: 128,
};
const fileOf: Record<Split, string> = { train: "train.txt", valid: "dev.txt", test: "test.txt" };

// The blank after "Answer:" is the leaderboard's.
const prompt = (text: string): string =>
	"Given the following sentence, identify the head, tail, and relation of each triplet present in the sentence. The relations you " +
	"should be looking for are 'legal_form', 'publisher', 'owner_of', 'employer', 'manufacturer', 'position_held', 'chairperson', " +
	"'industry', 'business_division', 'creator', 'original_broadcaster', 'chief_executive_officer', 'location_of_formation', " +
	"'operator', 'owned_by', 'founded_by', 'parent_organization', 'member_of', 'product_or_material_produced', 'brand', " +
	"'headquarters_location', 'director_/_manager', 'distribution_format', 'distributed_by', 'platform', 'currency', 'subsidiary', " +
	"'stock_exchange', and 'developer'. If a relation exists between two entities, provide your answer in the format " +
	"'head ; tail ; rel'. If there are multiple triplets in a sentence, provide each one on a new line.\n" +
	`Text: ${text}\nAnswer: `;

/** "sentence | head ; tail ; relation | ..."; a sentence may hold bars of its own. */
function toRow(raw: string, file: string, line: number): TaskRow {
	const parts = raw.split(" | ");
	let end = parts.length;
	while (end > 1 && (parts[end - 1] as string).split(" ; ").length === 3) end--;
	const sentence = parts.slice(0, end).join(" | ");
	const label = parts.slice(end).map((triplet) => triplet.trim());
	if (label.length === 0) throw badRow(file, line, "sentence | head ; tail ; relation, with at least one triplet", raw);
	return {
		query: prompt(sentence),
		answer: label.join("\n"),
		doc: { id: `finred${line - 1}`, text: sentence, label },
		source: { file, line },
	};
}

export const finred = hubTask({
	name: "finred",
	id: "flare_finred",
	title: "FinRED: relation triplets",
	rule,
	native: { folder: "finred", files: Object.values(fileOf), read: (folder, split) => nativeLines(folder, fileOf[split], toRow) },
	howToGet: "The sentences with their triplets are in gtfintechlab/FLaME, data/FinRed (train.txt, dev.txt, test.txt).",
});
