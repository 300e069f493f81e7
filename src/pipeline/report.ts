/**
 * Fills the report of a run from the records of its stages.
 * @module
 */
import { createHash } from "node:crypto";
import { stringify } from "yaml";
import { evaluationTable } from "../report/table.js";
import type { RunReport } from "../report/types.js";
import { codeIdentity, version } from "../version.js";
import { type StageRecord, stageLabel } from "./folder.js";
import { hashJson } from "./identity.js";
import type { PipelineConfig } from "./schema.js";
import type { RunResult } from "./types.js";

/** The data of report.html. */
export function runReport(
	result: Pick<RunResult, "status" | "stages" | "promotion">,
	records: readonly StageRecord[],
	config: PipelineConfig,
): RunReport {
	return {
		name: config.name,
		status: result.status,
		model: config.model,
		device: config.device,
		dtype: config.dtype,
		stages: result.stages.map((s) => ({
			name: stageLabel(s),
			type: s.type,
			status: s.status,
			seconds: s.seconds,
			...(s.note === undefined ? {} : { note: s.note }),
		})),
		...(result.promotion ? { promotion: result.promotion.reason } : {}),
		training: records.flatMap((r) => (r.outcome.training ? [{ ...r.outcome.training, stage: stageLabel(r) }] : [])),
		evaluations: records.flatMap((r) => (r.outcome.evaluation ? [{ ...r.outcome.evaluation, stage: stageLabel(r) }] : [])),
		samples: records.flatMap((r) => (r.outcome.samples ?? []).map((s) => ({ ...s, stage: stageLabel(r) }))),
		configYaml: stringify(config),
		memoryPeakBytes: process.resourceUsage().maxRSS * 1024,
		versions: { fintune: version, node: process.version },
	};
}

/**
 * The page of a report. Where the present one shows the same it stays, and with it what its run alone could measure: a start
 * that finds nothing to do draws no charts. Its last line has a hash of its data and one of the page itself, so that a page
 * from another build or with a flipped bit is never taken.
 */
export async function reportPage(report: RunReport, present?: string): Promise<string> {
	const { memoryPeakBytes: _measured, ...shown } = report;
	const stages = shown.stages.map((stage) => (stage.status === "reused" ? { ...stage, status: "done" } : stage));
	const data = hashJson({ ...shown, stages, code: codeIdentity() });
	if (present !== undefined && present === signed(present.slice(0, present.lastIndexOf("<!--")), data)) return present;
	// Loaded where it is needed: most starts of a scheduled run have nothing new to show.
	const { renderReport } = await import("../report/html.js");
	return signed(renderReport(report), data);
}

const signed = (page: string, data: string): string =>
	`${page}<!-- ${data} ${createHash("sha256").update(page).digest("hex")} -->\n`;

/** The table that a run ends with. */
export const finalTable = (report: RunReport, width: number): string => evaluationTable(report.evaluations, width);
