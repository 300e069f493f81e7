/**
 * Stock movement: will a share close higher on the next day, from ten days of prices and tweets (BigData22: Soun et al.
 * 2022; ACL18: Xu and Cohen 2018; CIKM18: Wu et al. 2018).
 * @module
 */
import { choiceDoc, conversationTurns, nativeRecords } from "./define.js";
import { badRow } from "./files.js";
import { hubTask } from "./hub_task.js";
import { withSynonyms } from "./option_rules.js";
import type { Split, Task, TaskRow } from "./task.js";

const labels = ["Rise", "Fall"] as const;
const rule = withSynonyms("fall", "acc", 128);

function toRow(record: Record<string, unknown>, file: string, line: number): TaskRow {
	const turns = conversationTurns(record, file, line);
	const answer = labels.find((label) => label === turns.answer);
	if (answer === undefined) throw badRow(file, line, `an answer out of ${labels.join(", ")}`, turns.answer);
	const text = /\nContext: (.*)\nAnswer:$/s.exec(turns.prompt)?.[1] ?? turns.prompt;
	return { query: turns.prompt, answer, doc: choiceDoc(String(record.id), text, labels, answer), source: { file, line } };
}

/** @param prefix of the files of PIXIU's rows */
function stockTask(name: string, id: string, title: string, prefix: string, license?: string): Task {
	const fileOf = (split: Split): string => `${prefix}_${split}.jsonl`;
	return hubTask({
		name,
		id,
		title,
		rule,
		labels,
		...(license === undefined ? {} : { license }),
		native: {
			folder: "stock_movement",
			files: [fileOf("train"), fileOf("valid"), fileOf("test")],
			read: (folder, split) => nativeRecords(folder, fileOf(split), toRow),
		},
		howToGet: `PIXIU's rows (The-FinAI/PIXIU, data/${prefix}), saved as ${prefix}_train.jsonl, _valid.jsonl and _test.jsonl.`,
	});
}

export const bigdata22 = stockTask("bigdata22", "flare_sm_bigdata", "BigData22: stock movement", "bigdata22");
export const acl18 = stockTask("acl18", "flare_sm_acl", "ACL18: stock movement", "acl18", "MIT");
export const cikm18 = stockTask("cikm18", "flare_sm_cikm", "CIKM18: stock movement", "cikm18");
