/**
 * What all commands share in talking to people and programs: results on stdout, everything else on stderr.
 * @module
 */
import { ExitStatus, FintuneError, FintuneErrors } from "../errors.js";
import { logProgress, stderrLog } from "../report/log.js";
import { createProgress, type Progress } from "../report/progress.js";

/**
 * How stderr is written: JSON log lines or text. FINTUNE_LOG says so; else it is text, but for the log of an unattended run
 * ({@link logUnattended}), whose last line, an error, is text even then: it is for the person who has to act on it.
 */
const jsonLog = (): boolean => process.env.FINTUNE_LOG === "json" || (unattended && process.env.FINTUNE_LOG !== "text");
let unattended = false;

/** From now on messages, warnings and progress are JSON log lines where stderr is no terminal. */
export function logUnattended(): void {
	unattended = process.stderr.isTTY !== true;
}

/** Shows an error and returns the exit status. People get text; FINTUNE_LOG=json gets one log line. */
export function showError(error: unknown): number {
	const known = error instanceof FintuneError;
	const status = known ? error.exitStatus : ExitStatus.software;
	if (process.env.FINTUNE_LOG === "json") {
		stderrLog().error(
			{ code: known ? error.code : "E_INTERNAL", exitStatus: status, err: known ? undefined : error },
			(error as Error).message,
		);
		return status;
	}
	if (error instanceof FintuneErrors) {
		process.stderr.write(`fintune: ${error.errors.length} error${error.errors.length === 1 ? "" : "s"} (${error.code})\n`);
		for (const e of error.errors) process.stderr.write(`${e.message}\n`);
	} else if (known) {
		process.stderr.write(`fintune: ${error.message} (${error.code})\n`);
	} else {
		process.stderr.write(`fintune: internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
		process.stderr.write("  This is a fault of fintune. Please report it with the command and the lines above.\n");
	}
	return status;
}

/** Shows a process warning as one line; the engine's own carry a code that begins with FINTUNE_. */
export function showWarning(warning: Error & { code?: string }): void {
	const own = warning.code?.startsWith("FINTUNE_");
	if (jsonLog()) {
		stderrLog().warn({ code: warning.code ?? warning.name }, warning.message);
	} else {
		process.stderr.write(`fintune: ${own ? "" : `${warning.name}: `}${warning.message}\n`);
	}
}

/** Progress on stderr. */
export const terminalProgress = (): Progress => (jsonLog() ? logProgress(stderrLog()) : createProgress());

/** One JSON document on stdout. */
export const printJson = (value: unknown): void => {
	process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
};

/** Width for tables. */
export const terminalWidth = (): number => process.stdout.columns ?? 100;

/**
 * A signal that SIGINT, SIGTERM and SIGHUP abort: the work stops at the next micro-batch with status 75. The second
 * signal ends the process at once.
 */
export function stopSignal(): AbortSignal {
	const controller = new AbortController();
	for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
		process.on(name, () => {
			if (controller.signal.aborted) process.exit(128 + (name === "SIGINT" ? 2 : name === "SIGTERM" ? 15 : 1));
			const notice = `${name}: stopping at the next micro-batch (again: stop at once)`;
			if (jsonLog()) stderrLog().warn(notice);
			else process.stderr.write(`\nfintune: ${notice}\n`);
			controller.abort(
				new FintuneError("E_ABORTED", `stopped by ${name}`, {
					hint: "run the same command again: it goes on where this one stopped",
				}),
			);
		});
	}
	return controller.signal;
}

/** 2026-08-21 03:00:12, by this machine's clock. */
export function localTime(iso: string): string {
	const date = new Date(iso);
	if (Number.isNaN(date.getTime())) return iso;
	const two = (value: number): string => String(value).padStart(2, "0");
	const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
	return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":")}`;
}
