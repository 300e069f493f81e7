/**
 * Fills the report of a run from the records of its stages.
 * @module
 */
import { stringify } from "yaml";
import { evaluationTable } from "../report/table.js";
import type { RunReport } from "../report/types.js";
import { version } from "../version.js";
import type { StageRecord } from "./folder.js";
import type { PipelineConfig } from "./schema.js";
import type { RunResult } from "./types.js";

/** A repetition is shown under its own name. */
const label = (record: Pick<StageRecord, "name" | "iteration">): string =>
	record.iteration === 1 ? record.name : `${record.name}.${record.iteration}`;

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
			name: label(s),
			type: s.type,
			status: s.status,
			seconds: s.seconds,
			...(s.note === undefined ? {} : { note: s.note }),
		})),
		...(result.promotion ? { promotion: result.promotion.reason } : {}),
		training: records.flatMap((r) => (r.outcome.training ? [{ ...r.outcome.training, stage: label(r) }] : [])),
		evaluations: records.flatMap((r) => (r.outcome.evaluation ? [{ ...r.outcome.evaluation, stage: label(r) }] : [])),
		samples: records.flatMap((r) => (r.outcome.samples ?? []).map((s) => ({ ...s, stage: label(r) }))),
		configYaml: stringify(config),
		memoryPeakBytes: process.resourceUsage().maxRSS * 1024,
		versions: { fintune: version, node: process.version },
	};
}

/** The table that a run ends with. */
export const finalTable = (report: RunReport, width: number): string => evaluationTable(report.evaluations, width);
