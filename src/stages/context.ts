/**
 * What every stage is given and what it leaves behind.
 * @module
 */
import type { FintuneError } from "../errors.js";
import type { Progress } from "../report/progress.js";
import type { EvaluationReport, SampleGeneration, TrainingReport } from "../report/types.js";
import type { Split } from "../tasks/task.js";
import type { LeakCheck } from "./leaks.js";
import type { ModelSession } from "./session.js";

export interface StageContext {
	/** Name in the pipeline file. */
	name: string;
	/** The stage's own folder: empty at the start, or holding what an interrupted run of the same identity left. */
	folder: string;
	/** What the work of this stage depends on, as one hash. */
	identity: string;
	session: ModelSession;
	seed: number;
	/** Folders with task data, in the order they are searched. */
	dataDirs: readonly string[];
	/** Finds test texts among training rows. */
	leaks: LeakCheck;
	/** A path of the pipeline file, made absolute. */
	resolvePath(path: string): string;
	/** Newest finished folder of an earlier stage. */
	stageFolder(stage: string): string;
	progress: Progress;
	/** One line for the reader that is not progress: counts of dropped rows, a condition's outcome. */
	log(message: string): void;
	/** Seconds since some fixed moment. */
	now(): number;
	signal?: AbortSignal;
	/** How long to wait for a GPU that others use. */
	waitSeconds?: number;
	/** When the run has to be over, by the clock of `now`, and what a stage throws that stops for it. */
	stopTime?: { by: number; error: FintuneError };
}

/** What a stage that trains is given: its folder may hold the checkpoints of the same work that was interrupted. */
export interface TrainingContext extends StageContext {
	/** Identity of the work, whichever build and device does it: what a checkpoint belongs to. */
	work: string;
	/** Appends an event of this stage to the journal. */
	journal(event: Record<string, unknown>): Promise<void>;
}

/** What a finished stage is remembered by (stage.json); it holds no time-dependent data but `seconds`. */
export interface StageOutcome {
	status: "done" | "skipped";
	/** Why it was skipped, what it made, what it dropped. */
	note?: string;
	/** `overlong` and the like pooled over the stage; `task.metric` for one task. */
	metrics: Record<string, number>;
	/** The stage trained an adapter (in `adapter/`) or a whole model (in `model/`). */
	trained?: "adapter" | "model";
	training?: TrainingReport;
	evaluation?: EvaluationReport;
	samples?: SampleGeneration[];
	/** Splits of tasks that the stage read. */
	read?: { task: string; split: Split }[];
}
