/**
 * What stops a run, as its files name it.
 * @module
 */
import { ExitStatus, FintuneError, isStop } from "../errors.js";
import type { RunResult } from "./types.js";

/** The error's code; a fault that is not one of ours is E_INTERNAL. */
export const codeOf = (error: unknown): string => (error instanceof FintuneError ? error.code : "E_INTERNAL");

/** A run that was told to stop, or that stopped in time to go on later, is not one that failed. */
export const statusOf = (error: unknown): "stopped" | "failed" => (isStop(error) ? "stopped" : "failed");

/** Whether a run came to its end; a gate that was not passed is one, too. */
export const cameToItsEnd = ({ status }: Pick<RunResult, "status">): boolean => status === "done" || status === "gate_not_passed";

/** The error of a run whose signal fired, with the reason that was given. */
export const stopped = (reason: unknown, message = "stopped on request"): FintuneError =>
	reason instanceof FintuneError ? reason : new FintuneError("E_ABORTED", message, { cause: reason });

/** How a run ended, as it is told to others. */
export interface RunEnd {
	status: RunResult["status"];
	/** What the process ends with. */
	exitStatus: ExitStatus;
	error?: { code: string; message: string };
}

/** The end of a run that this error stopped. */
export const endOf = (error: unknown): RunEnd & Required<Pick<RunEnd, "error">> => ({
	status: statusOf(error),
	exitStatus: error instanceof FintuneError ? error.exitStatus : ExitStatus.software,
	error: { code: codeOf(error), message: error instanceof Error ? error.message : String(error) },
});
