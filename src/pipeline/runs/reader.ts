/**
 * Reads a run folder back.
 * @module
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { FintuneError, fromSystemError } from "../../errors.js";
import { renderReport } from "../../report/html.js";
import type { RunReport } from "../../report/types.js";
import { readJsonIfThere, writeFileWhole } from "../../stages/files.js";
import { RunFolder, type StageRecord } from "../folder.js";
import { runReport } from "../report.js";
import type { PipelineConfig } from "../schema.js";
import type { RunResult, StageSummary } from "../types.js";

/**
 * A run that came to its end and whose stages are all as it left them.
 * @throws FintuneError E_NOT_FOUND where it did not, E_CHECKSUM naming a file that is damaged
 */
export async function verifiedRun(path: string): Promise<{ folder: RunFolder; stages: StageSummary[] }> {
	const folder = new RunFolder(path);
	const result = (await readJsonIfThere(folder.file("result.json"))) as Pick<RunResult, "status" | "stages"> | undefined;
	if (!result || !["done", "gate_not_passed"].includes(result.status)) {
		throw new FintuneError("E_NOT_FOUND", "is no run that came to its end", {
			where: path,
			expected: "a folder that fintune run made, with a result.json of status done",
			found: result ? `status ${result.status}` : existsSync(path) ? "no result.json" : "no such folder",
		});
	}
	const stages = result.stages.filter((s) => s.status === "done" || s.status === "reused");
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
	const result = (await readJsonIfThere(folder.file("result.json"))) as
		| Pick<RunResult, "status" | "stages" | "promotion">
		| undefined;
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
