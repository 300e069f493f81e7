/**
 * The runs below a folder: what each is doing or came to.
 * @module
 */
import { realpathSync, statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { isTemporary } from "../../engine/files.js";
import { fromSystemError } from "../../errors.js";
import { RunFolder, stageLabel } from "../folder.js";
import { hasRecord } from "./reader.js";
import { isRunFolder, type RunState, readRunState } from "./state.js";

/** A run in a list of runs. */
export interface ListedRun extends RunState {
	/** From its start to now, or to its last word. */
	seconds?: number;
	/** The shown metric of each task of the last evaluation, or the last loss: `stage.task.metric`, `stage.loss`. */
	main: Record<string, number>;
}

/** The runs below a folder, the newest first; folders of anything else are passed over. */
export async function listRuns(folder: string, now = Date.now()): Promise<ListedRun[]> {
	const runs: ListedRun[] = [];
	for (const path of await runFoldersBelow(folder)) {
		const run = await readRunState(path, now);
		const end = run.state === "running" ? now : Date.parse(run.updated ?? "");
		const seconds = (end - Date.parse(run.started ?? "")) / 1000;
		runs.push({ ...run, ...(Number.isFinite(seconds) ? { seconds: Math.max(0, seconds) } : {}), main: await mainMetrics(run) });
	}
	return runs.sort((a, b) => compareText(b.started ?? "", a.started ?? "") || compareText(a.folder, b.folder));
}

/** Run folders in a folder, and in the folders of it: the runs of a pipeline by date. */
async function runFoldersBelow(folder: string): Promise<string[]> {
	const found = new Map<string, string>();
	const look = async (place: string): Promise<string[]> => {
		const folders: string[] = [];
		const entries = await readdir(place, { withFileTypes: true });
		// A link to a run (the newest, the best) is that run again.
		for (const entry of entries.sort((a, b) => Number(a.isSymbolicLink()) - Number(b.isSymbolicLink()))) {
			const path = join(place, entry.name);
			if (isTemporary(entry.name) || !isFolder(path)) continue;
			folders.push(path);
			if (isRunFolder(path) && !found.has(realpathSync(path))) found.set(realpathSync(path), path);
		}
		return folders;
	};
	try {
		// One that may not be read holds nothing that could be shown.
		for (const below of await look(folder)) await look(below).catch(() => []);
	} catch (error) {
		throw fromSystemError(error, folder);
	}
	return [...found.values()];
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

async function mainMetrics({ folder, stages }: RunState): Promise<Record<string, number>> {
	const over = stages.filter(hasRecord);
	const last = over.findLast((s) => s.type === "evaluate");
	if (last) {
		const record = await new RunFolder(folder).record(last.name, last.iteration).catch(() => undefined);
		const tasks = record?.outcome.evaluation?.tasks ?? [];
		return Object.fromEntries(
			tasks.flatMap(({ task, metric, score }) => (score === null ? [] : [[`${stageLabel(last)}.${task}.${metric}`, score]])),
		);
	}
	for (const stage of over.reverse()) {
		const metric = ["eval_loss", "loss"].find((name) => stage.metrics[name] !== undefined);
		if (metric !== undefined) return { [`${stageLabel(stage)}.${metric}`]: stage.metrics[metric] as number };
	}
	return {};
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
