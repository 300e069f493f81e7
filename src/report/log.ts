/**
 * Log lines for programs: pino's JSON, one document a line, with the same text that people read as its message.
 * @module
 */
import { type DestinationStream, type Logger, pino } from "pino";
import { type Progress, type ProgressUpdate, progressLines, progressText } from "./progress.js";

export type Log = Logger;

/** A log whose lines carry the level by name, the time in ISO 8601 and the process that wrote them. */
export const createLog = (destination: DestinationStream): Log =>
	pino(
		{
			base: { pid: process.pid },
			timestamp: pino.stdTimeFunctions.isoTime,
			formatters: { level: (level) => ({ level }) },
		},
		destination,
	);

/** JSON log lines on stderr, each written at once. */
export const stderrLog = (): Log => createLog(pino.destination({ fd: 2, sync: true }));

/** Progress as log lines: messages, and the state of the work at intervals. */
export const logProgress = (log: Log, options: { everySeconds?: number; now?: () => number } = {}): Progress =>
	progressLines({
		...options,
		show: (update, left) => log.info(progressFields(update, left), progressText(update, left)),
		message: (line) => log.info(line),
	});

/** What programs read of the state of the work: in log lines and in status.json. */
export interface ProgressFields {
	stage: string;
	step: number;
	total?: number;
	unit: string;
	loss?: number;
	tokens_per_second?: number;
	seconds_left?: number;
}

/** The state of the work under the names that a run's files have. */
export function progressFields(update: ProgressUpdate, secondsLeft = update.secondsLeft): ProgressFields {
	const { stage, step, total, unit = "step", loss, tokensPerSecond } = update;
	return {
		stage,
		step,
		...(total === undefined ? {} : { total }),
		unit,
		...(loss === undefined ? {} : { loss }),
		...(tokensPerSecond === undefined ? {} : { tokens_per_second: Math.round(tokensPerSecond) }),
		...(secondsLeft === undefined ? {} : { seconds_left: Math.round(secondsLeft) }),
	};
}

/** The same the other way round, for showing it again. */
export const progressUpdate = ({ tokens_per_second, seconds_left, ...fields }: ProgressFields): ProgressUpdate => ({
	...fields,
	...(tokens_per_second === undefined ? {} : { tokensPerSecond: tokens_per_second }),
	...(seconds_left === undefined ? {} : { secondsLeft: seconds_left }),
});
