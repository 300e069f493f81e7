/**
 * Reads a run folder back.
 * @module
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { FintuneError } from "../../errors.js";
import { renderReport } from "../../report/html.js";
import type { RunReport } from "../../report/types.js";
import { writeFileWhole } from "../../stages/files.js";
import { cameToItsEnd } from "../failure.js";
import { RunFolder, reportFile, type StageRecord } from "../folder.js";
import { runReport } from "../report.js";
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

/** A run's result and report. @throws FintuneError E_NOT_FOUND where the folder holds no finished run */
export async function loadRun(path: string): Promise<{ result: unknown; report: RunReport; writeReport(): Promise<void> }> {
	const folder = new RunFolder(path);
	const result = await folder.result();
	if (!result) {
		throw new FintuneError("E_NOT_FOUND", "is no run folder with a result", {
			where: path,
			expected: "a folder that fintune run made, with result.json",
		});
	}
	const config = (await folder.config()) as PipelineConfig;
	const records: StageRecord[] = [];
	for (const stage of result.stages) {
		const record = hasRecord(stage) ? await folder.record(stage.name, stage.iteration) : undefined;
		if (record) records.push(record);
	}
	const report = runReport(result, records, config);
	return { result, report, writeReport: () => writeFileWhole(folder.file(reportFile), renderReport(report)) };
}
