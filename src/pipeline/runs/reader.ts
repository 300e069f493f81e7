/**
 * Reads a run folder back.
 * @module
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { FintuneError } from "../../errors.js";
import type { RunReport } from "../../report/types.js";
import { writeFileWhole } from "../../stages/files.js";
import { cameToItsEnd } from "../failure.js";
import { RunFolder, reportFile, type StageRecord } from "../folder.js";
import { lockName, lockRunFolder } from "../lock.js";
import { reportPage, runReport } from "../report.js";
import type { PipelineConfig } from "../schema.js";
import type { StageSummary } from "../types.js";

/** Whether a stage of a run has left what it made, now or in an earlier run. */
export const hasRecord = ({ status }: { status: string }): boolean => status === "done" || status === "reused";

/**
 * A run that came to its end and whose stages are all as it left them.
 * @throws FintuneError E_NOT_FOUND where it did not, E_CHECKSUM naming a file that is damaged
 */
export async function verifiedRun(path: string): Promise<{ folder: RunFolder; stages: StageSummary[] }> {
	const folder = new RunFolder(path);
	const result = await folder.result();
	if (!result || !cameToItsEnd(result)) {
		throw new FintuneError("E_NOT_FOUND", "is no run that came to its end", {
			where: path,
			expected: "a folder that fintune run made, with a result.json of status done",
			found: result ? `status ${result.status}` : existsSync(path) ? "no result.json" : "no such folder",
		});
	}
	const stages = result.stages.filter(hasRecord);
	for (const stage of stages) {
		const verified = await folder.verify(stage.name, stage.iteration);
		if (!("why" in verified)) continue;
		throw new FintuneError("E_CHECKSUM", `a file of this run is damaged: ${verified.why}`, {
			where: join(folder.stage(stage.name, stage.iteration), verified.file),
			hint: "the same fintune run command in that folder makes the damaged stage again",
		});
	}
	return { folder, stages };
}

interface ReadRun {
	result: unknown;
	report: RunReport;
}

/** A run's result and report. @throws FintuneError E_NOT_FOUND where the folder holds no finished run */
async function readRun(folder: RunFolder): Promise<ReadRun> {
	const result = await folder.result();
	if (!result) {
		throw new FintuneError("E_NOT_FOUND", "is no run folder with a result", {
			where: folder.path,
			expected: "a folder that fintune run made, with result.json",
		});
	}
	const config = (await folder.config()) as PipelineConfig;
	const records: StageRecord[] = [];
	for (const stage of result.stages) {
		const record = hasRecord(stage) ? await folder.record(stage.name, stage.iteration) : undefined;
		if (record) records.push(record);
	}
	return { result, report: runReport(result, records, config) };
}

/**
 * Writes report.html again, as a run would: under the folder's lock.
 * @throws FintuneError E_NOT_FOUND where the folder holds no finished run, E_LOCKED where a run is at work in it
 */
export async function rewriteReport(path: string): Promise<ReadRun> {
	const folder = new RunFolder(path);
	// Before a lock file is made in a folder that is none of ours.
	if (!existsSync(folder.file(lockName))) await readRun(folder);
	const lock = await lockRunFolder(path);
	try {
		const run = await readRun(folder);
		await writeFileWhole(folder.file(reportFile), await reportPage(run.report));
		return run;
	} finally {
		lock.release();
	}
}
