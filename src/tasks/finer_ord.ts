/**
 * FiNER-ORD: people, places and organisations in financial news, a label for every token (Shah et al. 2023).
 *
 * The leaderboard's own prompt for it is not known: rows built from the original files carry one in the manner of its other
 * tagging tasks; rows of the hub keep theirs.
 * @module
 */
import { nativeFile } from "./define.js";
import { badRow, readCsv } from "./files.js";
import { hubTask } from "./hub_task.js";
import { bio, taggedRow, tagRule } from "./tagging.js";
import type { Split, TaskRow } from "./task.js";

/** By the number in `gold_label`. */
const tags = bio("PER", "LOC", "ORG");
const fileOf: Record<Split, string> = { train: "train.csv", valid: "val.csv", test: "test.csv" };

const prompt = (text: string): string =>
	"In this task, you label each token of a sentence from financial news by the entity it belongs to. The labels are 'B-PER', " +
	"'I-PER', 'B-LOC', 'I-LOC', 'B-ORG', 'I-ORG' and 'O': B- begins a person, a location or an organization, I- continues it, and " +
	"O is any other token. Provide your answer as a sequence of 'token:label' pairs, with each pair on a new line.\n" +
	`Text: ${text}\nAnswer:`;

async function rowsOf(path: string): Promise<TaskRow[]> {
	const rows: TaskRow[] = [];
	let open: { key: string; line: number; token: string[]; label: string[] } | undefined;
	const close = (): void => {
		if (open) rows.push(taggedRow(prompt, `finer${rows.length}`, open.token, open.label, { file: path, line: open.line }));
	};
	const columns = ["gold_label", "gold_token", "doc_idx", "sent_idx"] as const;
	for (const { record, line } of await readCsv(path, columns)) {
		const label = /^\d+$/.test(record.gold_label) ? tags[Number(record.gold_label)] : undefined;
		if (label === undefined) throw badRow(path, line, `gold_label: 0 to ${tags.length - 1}`, record.gold_label);
		const key = `${record.doc_idx} ${record.sent_idx}`;
		if (open?.key !== key) {
			close();
			open = { key, line, token: [], label: [] };
		}
		open.token.push(record.gold_token);
		open.label.push(label);
	}
	close();
	return rows;
}

export const finerOrd = hubTask({
	name: "finer_ord",
	id: "flare_finer_ord",
	title: "FiNER-ORD: entities in news",
	license: "CC-BY-NC-4.0",
	rule: { ...tagRule(tags, "entity_f1"), defaultMaxNewTokens: 256 },
	native: {
		folder: "finer_ord",
		files: Object.values(fileOf),
		read: (folder, split) => nativeFile(folder, fileOf[split], rowsOf),
	},
	howToGet: "FiNER-ORD (CC BY-NC 4.0) is gtfintechlab/FiNER-ORD: train.csv, val.csv and test.csv.",
});
