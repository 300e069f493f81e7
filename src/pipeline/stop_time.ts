/**
 * The moment at which a run has to be over: `--deadline` and `--max-runtime`. Training stops before it, as early as one more
 * step and a checkpoint would not fit; everything else is stopped by the signal that fires at the moment itself.
 * @module
 */
import { FintuneError } from "../errors.js";

export interface StopTime {
	/** Milliseconds since 1970. */
	at: number;
	/** What set it, for messages: "--deadline 06:30". */
	setBy: string;
}

/**
 * `HH:MM` is the next such time of the local clock; a date with a time (ISO 8601) is that moment.
 * @throws FintuneError E_USAGE
 */
export function parseDeadline(text: string, now = new Date()): StopTime {
	const clock = /^(\d{1,2}):(\d{2})$/.exec(text);
	const [hours, minutes] = [Number(clock?.[1]), Number(clock?.[2])];
	if (clock && hours < 24 && minutes < 60) {
		const at = new Date(now);
		at.setHours(hours, minutes, 0, 0);
		if (at <= now) at.setDate(at.getDate() + 1);
		return { at: at.getTime(), setBy: `--deadline ${text}` };
	}
	const at = /^\d{4}-\d{2}-\d{2}T\d/.test(text) ? Date.parse(text) : Number.NaN;
	if (!Number.isNaN(at)) return { at, setBy: `--deadline ${text}` };
	throw new FintuneError("E_USAGE", `--deadline ${text} is no time`, { expected: "HH:MM, or 2026-12-31T06:30" });
}

/** The moment so many seconds after the start. */
export const maxRuntime = (seconds: number, started = Date.now()): StopTime => ({
	at: started + seconds * 1000,
	setBy: `--max-runtime ${seconds}s`,
});

/** The error of a run that its time is over for. */
export const timeIsOver = ({ setBy }: StopTime): FintuneError =>
	new FintuneError("E_ABORTED", `stopped by ${setBy}`, {
		hint: "run the same command again: it goes on where this one stopped",
	});

/** Timers cannot wait longer than this. */
const longestWait = 2 ** 31 - 1;

/** A signal that fires when the given one does or the time is over, whichever is first. `clear` ends the waiting. */
export function stopSignalAt(stopTime: StopTime | undefined, signal?: AbortSignal): { signal?: AbortSignal; clear(): void } {
	if (stopTime === undefined) return { ...(signal ? { signal } : {}), clear() {} };
	const controller = new AbortController();
	let timer: NodeJS.Timeout | undefined;
	const wait = (): void => {
		const left = stopTime.at - Date.now();
		if (left > 0) timer = setTimeout(wait, Math.min(left, longestWait));
		else controller.abort(timeIsOver(stopTime));
	};
	wait();
	return {
		signal: signal ? AbortSignal.any([signal, controller.signal]) : controller.signal,
		clear: () => clearTimeout(timer),
	};
}
