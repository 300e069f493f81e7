/**
 * What a run is told and what it comes to.
 * @module
 */
import type { ExitStatus } from "../errors.js";
import type { Progress } from "../report/progress.js";
import type { RunReport } from "../report/types.js";
import type { StopTime } from "./stop_time.js";

export interface RunOptions {
	/** Run folder. Default {@link runFolder}. */
	out?: string;
	device?: string;
	dtype?: string;
	threads?: number;
	/** Repeat every stage although it is finished. */
	force?: boolean;
	/** Repeat this stage and those after it. */
	from?: string;
	dataDirs?: readonly string[];
	/** Replay finished training stages from a checkpoint and compare the bytes. */
	verifyResume?: boolean;
	/** How long to wait for another run in the folder to end, and for memory of a GPU. Default 0: E_LOCKED, E_BUSY at once. */
	waitSeconds?: number;
	/** When the run has to be over. It stops with E_ABORTED in time to save what it has done. */
	stopTime?: StopTime;
	progress: Progress;
	signal?: AbortSignal;
	/** Clock in seconds. */
	now?(): number;
}

/** One line of result.json. */
export interface StageSummary {
	name: string;
	type: string;
	iteration: number;
	status: "done" | "reused" | "skipped" | "failed" | "stopped";
	metrics: Record<string, number>;
	seconds: number;
	note?: string;
}

/** What a promotion was decided by. */
export interface PromotionFacts {
	/** The metric, as stage.task.metric, and its value in the run. */
	metric: string;
	score?: number;
	/** Better by so much than the run it was held against, with the 95 % interval and p; absent for a first champion. */
	gain?: number;
	low?: number;
	high?: number;
	p?: number;
	/** Identity of the evaluation: a run that was rolled back is known again by it. */
	identity: string;
}

/** What `promote:` came to. */
export interface Promotion extends Partial<PromotionFacts> {
	/** `champion`: it was that already. */
	status: "promoted" | "champion" | "not_promoted";
	metric: string;
	/** One sentence for people. */
	reason: string;
	/** The link, and the run that it leads to now; null where there is no champion. */
	link: string;
	champion: string | null;
}

export interface RunResult {
	status: "done" | "gate_not_passed" | "failed" | "stopped";
	stages: StageSummary[];
	folder: string;
	exitStatus: ExitStatus;
	/** Absent where the pipeline promotes nothing, or the run did not come so far. */
	promotion?: Promotion;
	/** What report.html shows. */
	report: RunReport;
	/** What stopped the run. */
	error?: { code: string; message: string };
}
