/**
 * RUN/log.jsonl: everything a run says, as log lines for programs. Each process that works in the folder adds its own, with
 * its pid; a line is in the file before the work goes on, so that the last one before a kill is there.
 * @module
 */
import { closeSync, existsSync, fstatSync, ftruncateSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { createLog, type Log, logProgress } from "../../report/log.js";
import type { Progress } from "../../report/progress.js";
import { dropTornLine } from "../../stages/files.js";
import type { RunEnd } from "../failure.js";
import { stageLabel } from "../folder.js";

export const logFile = "log.jsonl";

/** How much of the newest lines is kept for those who are told of the run's end. */
const tailBytes = 10_000;

/** Events of the journal that a message or {@link RunLog.ended} tells in words. */
const toldInWords = ["skipped", "damaged", "finished"];

export class RunLog {
	readonly log: Log;
	/** Messages, and the state of the work at intervals. */
	readonly progress: Progress;
	readonly #fd: number | undefined;
	#tail = "";
	#failure: Error | undefined;

	private constructor(fd: number | undefined, failure?: Error) {
		this.#fd = fd;
		this.#failure = failure;
		this.log = createLog({ write: (line) => this.#write(line) });
		this.progress = logProgress(this.log);
	}

	/** Opens the log to add to it. Where that fails the run goes on without; {@link failure} says why. */
	static async open(path: string): Promise<RunLog> {
		try {
			await dropTornLine(path);
			return new RunLog(openSync(path, "a"));
		} catch (error) {
			return new RunLog(undefined, error as Error);
		}
	}

	/** The first reason why a line could not be kept. */
	get failure(): Error | undefined {
		return this.#failure;
	}

	/** The newest lines of this process, about 10 kB, whole. */
	get tail(): string {
		return this.#tail;
	}

	/** An event of the journal. */
	event(event: Record<string, unknown>): void {
		const { event: name, notes: _notes, ...fields } = event;
		if (toldInWords.includes(String(name))) return;
		const { stage, iteration = 1, error } = event as { stage?: string; iteration?: number; error?: string };
		const about = stage === undefined ? "run" : stageLabel({ name: stage, iteration });
		const text = `${about}: ${error === undefined ? name : `${name}: ${error}`}`;
		this.log[name === "failed" ? "error" : "info"]({ event: name, ...fields }, text);
	}

	/** The last line of a run: how it ended, and what stopped it. */
	ended({ status, exitStatus, error }: RunEnd): void {
		const fields = { event: "ended", status, exit_status: exitStatus, ...(error ? { code: error.code } : {}) };
		if (status === "failed") this.log.error(fields, `run: ${status}: ${error?.message}`);
		else this.log.info(fields, error ? `run: ${status}: ${error.message}` : `run: ${status}`);
	}

	/** Takes process warnings, among them the engine's own. */
	readonly warning = (warning: Error & { code?: string }): void =>
		this.log.warn({ code: warning.code ?? warning.name }, warning.message);

	close(): void {
		if (this.#fd !== undefined) closeSync(this.#fd);
	}

	#write(line: string): void {
		this.#tail = lastLines(`${this.#tail}${line}`);
		if (this.#fd === undefined) return;
		try {
			appendWhole(this.#fd, line);
		} catch (error) {
			this.#failure ??= error as Error;
		}
	}
}

/** A line that is there in part would spoil the next one: it is taken back. */
function appendWhole(fd: number, line: string): void {
	const before = fstatSync(fd).size;
	try {
		const bytes = Buffer.from(line);
		for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
	} catch (error) {
		ftruncateSync(fd, before);
		throw error;
	}
}

/** A line of a log, with the fields that all of them have, and some that some have. */
export interface LogLine {
	level: string;
	time: string;
	pid: number;
	msg: string;
	/** Of an event of the journal. */
	event?: string;
	/** Of the state of the work: what it is counted in. */
	unit?: string;
}

/**
 * The whole lines of a log from an offset on; a log that is shorter by now is read from its beginning.
 * @returns the lines, and the offset behind the last of them
 */
export function readLog(path: string, from: number): { lines: LogLine[]; end: number } {
	let bytes: Buffer;
	try {
		const fd = openSync(path, "r");
		try {
			const { size } = fstatSync(fd);
			const start = from > size ? 0 : from;
			bytes = Buffer.alloc(size - start);
			bytes = bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, start));
			from = start;
		} finally {
			closeSync(fd);
		}
	} catch {
		return { lines: [], end: 0 };
	}
	const whole = bytes.lastIndexOf(0x0a) + 1;
	const lines = bytes.toString("utf8", 0, whole).split("\n");
	return { lines: lines.flatMap(parsedLine), end: from + whole };
}

/** The newest lines of a log. */
export function readLogTail(path: string, size = 65_536): LogLine[] {
	const all = existsSync(path) ? statSync(path).size : 0;
	return readLog(path, Math.max(0, all - size)).lines;
}

/** What is not a log line, such as the rest of one that the offset cut, is passed over. */
function parsedLine(text: string): LogLine[] {
	try {
		const line = JSON.parse(text) as LogLine;
		return typeof line?.msg === "string" ? [line] : [];
	} catch {
		return [];
	}
}

/** The newest whole lines that fit; the end of the last one where it alone does not. */
function lastLines(text: string): string {
	const bytes = Buffer.from(text);
	if (bytes.length <= tailBytes) return text;
	const cut = bytes.subarray(-tailBytes).toString();
	const newline = cut.indexOf("\n");
	return newline < cut.length - 1 ? cut.slice(newline + 1) : cut;
}
