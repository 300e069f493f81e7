/**
 * RUN/log.jsonl: everything a run says, as log lines for programs. Each process that works in the folder adds its own, with
 * its pid; a line is in the file before the work goes on, so that the last one before a kill is there. A file that is full
 * becomes log.1.jsonl, that one log.2.jsonl, and so on; the oldest goes, and the first line of the new file says so.
 * @module
 */
import { closeSync, existsSync, fstatSync, ftruncateSync, openSync, readSync, renameSync, statSync, writeSync } from "node:fs";
import { basename } from "node:path";
import { createLog, type Log, logProgress } from "../../report/log.js";
import type { Progress } from "../../report/progress.js";
import { dropTornLine } from "../../stages/files.js";
import type { RunEnd } from "../failure.js";
import { stageLabel } from "../folder.js";

export const logFile = "log.jsonl";

/** How large a file may become, and how many older ones stay: three weeks of training with progress every 10 s. */
const bounds = { mostBytes: 10e6, olderFiles: 4 };

/** log.1.jsonl is the file before log.jsonl, log.2.jsonl the one before that. */
const olderLog = (path: string, age: number): string => (age === 0 ? path : path.replace(/\.jsonl$/, `.${age}.jsonl`));

/** How much of the newest lines is kept for those who are told of the run's end. */
const tailBytes = 10_000;

/** Events of the journal that a message or {@link RunLog.ended} tells in words. */
const toldInWords = ["skipped", "damaged", "finished"];

export class RunLog {
	readonly log: Log;
	/** Messages, and the state of the work at intervals. */
	readonly progress: Progress;
	readonly #path: string;
	readonly #bounds: typeof bounds;
	#fd: number | undefined;
	#tail = "";
	#failure: Error | undefined;

	private constructor(path: string, limits: typeof bounds, fd: number | undefined, failure?: Error) {
		this.#path = path;
		this.#bounds = limits;
		this.#fd = fd;
		this.#failure = failure;
		this.log = createLog({ write: (line) => this.#write(line) });
		this.progress = logProgress(this.log);
	}

	/** Opens the log to add to it. Where that fails the run goes on without; {@link failure} says why. */
	static async open(path: string, limits = bounds): Promise<RunLog> {
		try {
			await dropTornLine(path);
			return new RunLog(path, limits, openSync(path, "a"));
		} catch (error) {
			return new RunLog(path, limits, undefined, error as Error);
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
			const { size } = fstatSync(this.#fd);
			if (size > 0 && size + Buffer.byteLength(line) > this.#bounds.mostBytes) this.#beginNew(this.#fd);
			appendWhole(this.#fd, line);
		} catch (error) {
			this.#failure ??= error as Error;
		}
	}

	/** Makes room for a new file under the log's name. */
	#beginNew(full: number): void {
		const { olderFiles } = this.#bounds;
		const oldest = olderLog(this.#path, olderFiles);
		const deleted = existsSync(oldest) ? basename(oldest) : undefined;
		// Not there where an attempt before this one has moved it and could make no new one.
		for (let age = existsSync(this.#path) ? olderFiles - 1 : -1; age >= 0; age--) {
			if (existsSync(olderLog(this.#path, age))) renameSync(olderLog(this.#path, age), olderLog(this.#path, age + 1));
		}
		this.#fd = openSync(this.#path, "a");
		closeSync(full);
		const before = basename(olderLog(this.#path, 1));
		const lost = deleted === undefined ? "" : `; what was in ${deleted} is deleted`;
		this.log.info({ event: "log rotated", before, deleted }, `log: the lines before are in ${before}${lost}`);
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
 * The whole lines of a log from an offset on. A log that is shorter by now has given its name to a new one: the rest of it
 * is read, and the new one from its beginning.
 * @returns the lines, and the offset behind the last of them
 */
export function readLog(path: string, from: number): { lines: LogLine[]; end: number } {
	if (sizeOf(path) >= from) return linesFrom(path, from);
	const rest = linesFrom(olderLog(path, 1), from).lines;
	const { lines, end } = linesFrom(path, 0);
	return { lines: [...rest, ...lines], end };
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** None where there is no such file, or where it ends before. */
function linesFrom(path: string, from: number): { lines: LogLine[]; end: number } {
	let bytes: Buffer;
	try {
		const fd = openSync(path, "r");
		try {
			bytes = Buffer.alloc(Math.max(0, fstatSync(fd).size - from));
			bytes = bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, from));
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
	return readLog(path, Math.max(0, sizeOf(path) - size)).lines;
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
