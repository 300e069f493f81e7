/**
 * Run folders as a finished run leaves them, with one evaluation of a real task, made without a model: what promotion,
 * rollback and retention are tested with.
 * @module
 */
import { mkdirSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { RunFolder, type StageRecord } from "../../src/pipeline/folder.js";
import { hashJson } from "../../src/pipeline/identity.js";
import { packageDataDir } from "../../src/tasks/data_dirs.js";
import { taskByName } from "../../src/tasks/registry.js";
import type { TaskRow } from "../../src/tasks/task.js";
import { lines, put } from "../cli/cli.js";

const german = taskByName("german");
let rows: TaskRow[] | undefined;

export interface FinishedRun {
	folder: RunFolder;
	/** Of the stage `final`. */
	record: StageRecord;
}

/**
 * A finished run of one stage `final` over 60 rows of german, of which the first are answered rightly.
 * @param right how many
 */
export async function finishedRun(
	path: string,
	right: number,
	{ name = "nightly", keep, promote, docs = 60, ended = new Date(), bytes = 0 }: Partial<RunFacts> = {},
): Promise<FinishedRun> {
	rows ??= await german.load("test", [packageDataDir()]);
	const chosen = rows.slice(0, docs);
	const other = (answer: string): string => (answer === "good" ? "bad" : "good");
	const outputs = chosen.map(({ answer }, i) => (i < right ? answer : other(answer)));
	mkdirSync(join(path, "stages", "final", "generations"), { recursive: true });
	put(
		join(path, "stages", "final", "generations", "german.jsonl"),
		lines(chosen.map(({ doc }, i) => ({ index: i, output: outputs[i], doc }))),
	);
	put(join(path, "config.resolved.yaml"), stringify({ name, keep, promote, stages: [] }));
	put(join(path, "adapter", "adapter_model.safetensors"), new Uint8Array(bytes));
	const scores = german.score(
		chosen.map(({ doc }) => doc),
		outputs,
		{ bootstrap: 0 },
	);
	const record: StageRecord = {
		identity: hashJson([name, outputs]),
		name: "final",
		type: "evaluate",
		iteration: 1,
		seconds: 1,
		outcome: {
			status: "done",
			metrics: Object.fromEntries([
				...Object.entries(scores.leaderboard).map(([metric, value]) => [`german.${metric}`, value]),
				...Object.entries(scores.strict).map(([metric, value]) => [`german.strict_${metric}`, value]),
			]),
		},
	};
	const folder = new RunFolder(path);
	await folder.finish(record);
	put(join(path, "journal.jsonl"), lines([{ time: ended.toISOString(), event: "finished", status: "done" }]));
	put(
		join(path, "result.json"),
		JSON.stringify({ status: "done", stages: [{ name: "final", type: "evaluate", iteration: 1, status: "done" }] }),
	);
	utimesSync(join(path, "journal.jsonl"), ended, ended);
	return { folder, record };
}

interface RunFacts {
	name: string;
	keep: object;
	promote: object;
	/** Rows of the task. */
	docs: number;
	/** Time of its last event. */
	ended: Date;
	/** Size of its adapter. */
	bytes: number;
}
