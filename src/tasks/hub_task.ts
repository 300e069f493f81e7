/**
 * Tasks whose rows come as the hub has them (the import format of `define.ts`): the prompt is in the row, so that all that
 * is particular to a task is its name, its labels and its scoring rule. Families that can also be built from a data set's
 * original files add a reader.
 * @module
 */
import { board } from "./board.js";
import { defineTask, type NativeSplit, type TaskDefinition } from "./define.js";
import type { Split, Task } from "./task.js";

/** What the tasks of one scoring rule have in common. */
export type TaskRule = Pick<
	TaskDefinition,
	"headline" | "metrics" | "strictRules" | "columns" | "scorer" | "defaultMaxNewTokens"
>;

export interface HubTask {
	name: string;
	/** The leaderboard's registry id. */
	id: string;
	title: string;
	rule: TaskRule;
	/** The answers, where they are the same in every row. */
	labels?: readonly string[];
	license?: string;
	/** Original files that `readNative` reads, in a folder of a data folder. */
	native?: { folder: string; files: readonly string[]; read(folder: string, split: Split): Promise<NativeSplit | undefined> };
	howToGet?: string;
	followUp?: TaskDefinition["followUp"];
}

export function hubTask({ name, id, title, rule, labels, license, native, howToGet, followUp }: HubTask): Task {
	const columns = [...new Set(["query", "answer", ...rule.columns])];
	return defineTask({
		...rule,
		name,
		id,
		title,
		license: license ?? "LicenseRef-see-data-set",
		redistributable: false,
		...(labels ? { labels } : {}),
		...(followUp ? { followUp } : {}),
		folder: native?.folder ?? id,
		nativeFiles: native?.files ?? ["train.jsonl", "valid.jsonl"],
		howToGet: howToGet ?? `Save the rows of the hub's ${board.get(id)?.hub}, unchanged, as JSON lines (${columns.join(", ")}).`,
		...(native ? { readNative: native.read } : {}),
	});
}
