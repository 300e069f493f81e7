/**
 * Reads a run folder back.
 * @module
 */
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { FintuneError, fromSystemError } from "../errors.js";
import { renderReport } from "../report/html.js";
import type { RunReport } from "../report/types.js";
import { readJsonIfThere, writeFileWhole } from "../stages/files.js";
import { RunFolder, type StageRecord } from "./folder.js";
import { runReport } from "./report.js";
import type { PipelineConfig } from "./schema.js";
import type { RunResult } from "./types.js";

/** A run's result and report. @throws FintuneError E_NOT_FOUND where the folder holds no finished run */
export async function loadRun(path: string): Promise<{ result: unknown; report: RunReport; writeReport(): Promise<void> }> {
	const folder = new RunFolder(path);
	const result = (await readJsonIfThere(folder.file("result.json"))) as Pick<RunResult, "status" | "stages"> | undefined;
	if (!result) {
		throw new FintuneError("E_NOT_FOUND", "is no run folder with a result", {
			where: path,
			expected: "a folder that fintune run made, with result.json",
		});
	}
	let config: PipelineConfig;
	try {
		config = parse(await readFile(folder.file("config.resolved.yaml"), "utf8")) as PipelineConfig;
	} catch (error) {
		throw fromSystemError(error, folder.file("config.resolved.yaml"));
	}
	const records: StageRecord[] = [];
	for (const stage of result.stages) {
		const record =
			stage.status === "done" || stage.status === "reused" ? await folder.record(stage.name, stage.iteration) : undefined;
		if (record) records.push(record);
	}
	const report = runReport(result, records, config);
	return { result, report, writeReport: () => writeFileWhole(folder.file("report.html"), renderReport(report)) };
}
