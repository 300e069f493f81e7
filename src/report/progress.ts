/**
 * Progress for people: one live line on a terminal, plain lines elsewhere (cron, a pipe). Writes to stderr only,
 * so that stdout stays one document for programs.
 * @module
 */
import { formatClock, formatLoss } from "./numbers.js";
import { displayWidth, fitWidth } from "./width.js";

/** The state of the work at one moment. */
export interface ProgressUpdate {
	stage: string;
	/** Units done so far. */
	step: number;
	/** Units in all, where known. */
	total?: number;
	/** What a unit is; default "step". */
	unit?: string;
	loss?: number;
	tokensPerSecond?: number;
	/** Overrides the estimate from the steps seen so far. */
	secondsLeft?: number;
}

/** Where progress goes. */
export interface ProgressStream {
	write(text: string): unknown;
	columns?: number;
	isTTY?: boolean;
}

export interface ProgressOptions {
	/** Default: process.stderr. */
	stream?: ProgressStream;
	/** Default: what the stream says, and TERM is not "dumb". */
	isTTY?: boolean;
	/** Clock in milliseconds. Default: Date.now. */
	now?: () => number;
	/** Read for NO_COLOR and TERM. Default: process.env. */
	env?: Readonly<Record<string, string | undefined>>;
	/** Without a terminal: seconds between two lines of a stage. Default 10. */
	everySeconds?: number;
	/** Without a terminal: a line at least every so many steps as well. Default: none. */
	everySteps?: number;
}

/** A progress display. Every method is cheap enough to be called once a step. */
export interface Progress {
	/** Shows the new state, at most ten times a second on a terminal. */
	update(update: ProgressUpdate): void;
	/** Prints a line that stays, above the live line. */
	message(line: string): void;
	/** Removes the live line and, without a terminal, prints the last state if it was not printed yet. */
	end(): void;
}

const redrawMs = 100;
const clearLine = "\r\u001b[2K";
const barWidth = 24;

/**
 * Makes a progress display.
 * Colours (bold stage, dim separators) only on a terminal without NO_COLOR; no escape sequence ever without a terminal.
 */
export function createProgress(options: ProgressOptions = {}): Progress {
	const stream = options.stream ?? process.stderr;
	const env = options.env ?? process.env;
	const isTTY = options.isTTY ?? (stream.isTTY === true && env.TERM !== "dumb");
	if (isTTY) return liveProgress(stream, !env.NO_COLOR && env.TERM !== "dumb", options.now ?? Date.now);
	const line = (text: string): void => void stream.write(`${text}\n`);
	return progressLines({ ...options, show: (update, left) => line(progressText(update, left)), message: line });
}

/** One line on a terminal that is drawn again and again. */
function liveProgress(stream: ProgressStream, colour: boolean, now: () => number): Progress {
	const left = secondsLeftOf(now);
	let latest: ProgressUpdate | undefined;
	let shownAt = Number.NEGATIVE_INFINITY;
	let visible = false;

	const show = (update: ProgressUpdate): void => {
		const parts = describe(update, left.of(update));
		stream.write(`${clearLine}${liveLine(parts, update, (stream.columns || 80) - 1, colour)}`);
		visible = true;
		shownAt = now();
	};

	return {
		update(update) {
			left.begin(update);
			latest = update;
			if (now() - shownAt >= redrawMs) show(update);
		},
		message(line) {
			stream.write(`${visible ? clearLine : ""}${line}\n`);
			if (visible && latest) show(latest);
		},
		end() {
			if (visible) stream.write(clearLine);
			visible = false;
			latest = undefined;
			left.end();
			shownAt = Number.NEGATIVE_INFINITY;
		},
	};
}

export interface ProgressLinesOptions extends Pick<ProgressOptions, "now" | "everySeconds" | "everySteps"> {
	/** One state, with the estimated time to its end where it can be told. */
	show(update: ProgressUpdate, secondsLeft: number | undefined): void;
	message(line: string): void;
}

/** Progress as single reports: the first state of a stage, one every so many seconds or steps, and the last one. */
export function progressLines(options: ProgressLinesOptions): Progress {
	const now = options.now ?? Date.now;
	const everyMs = (options.everySeconds ?? 10) * 1000;
	const everySteps = options.everySteps ?? Number.POSITIVE_INFINITY;
	const left = secondsLeftOf(now);
	let latest: ProgressUpdate | undefined;
	let shown: { time: number; step: number } | undefined;
	let latestIsShown = true;

	const show = (update: ProgressUpdate): void => {
		options.show(update, left.of(update));
		latestIsShown = true;
		shown = { time: now(), step: update.step };
	};

	return {
		update(update) {
			const newStage = latest?.stage !== update.stage;
			if (newStage && latest && !latestIsShown) show(latest);
			left.begin(update);
			latest = update;
			latestIsShown = false;
			const elapsed = shown ? now() - shown.time : Number.POSITIVE_INFINITY;
			const steps = shown ? update.step - shown.step : Number.POSITIVE_INFINITY;
			if (newStage || elapsed >= everyMs || steps >= everySteps) show(update);
		},
		message: (line) => options.message(line),
		end() {
			if (latest && !latestIsShown) show(latest);
			latestIsShown = true;
			latest = undefined;
			shown = undefined;
			left.end();
		},
	};
}

/** The time to the end of a stage, from the steps seen so far: also where a resumed run starts in the middle. */
export function secondsLeftOf(now: () => number = Date.now) {
	let first: { stage: string; step: number; time: number } | undefined;
	return {
		/** Told of every update; the first of a stage is where the rate is measured from. */
		begin({ stage, step }: ProgressUpdate): void {
			if (first?.stage !== stage) first = { stage, step, time: now() };
		},
		of(update: ProgressUpdate): number | undefined {
			if (update.secondsLeft !== undefined) return update.secondsLeft;
			if (!first || update.total === undefined || update.step <= first.step) return undefined;
			return ((now() - first.time) / 1000 / (update.step - first.step)) * Math.max(0, update.total - update.step);
		},
		end(): void {
			first = undefined;
		},
	};
}

/** One progress that feeds several. */
export const together = (...all: readonly Progress[]): Progress => ({
	update(update) {
		for (const progress of all) progress.update(update);
	},
	message(line) {
		for (const progress of all) progress.message(line);
	},
	end() {
		for (const progress of all) progress.end();
	},
});

/** The state as one plain line. */
export const progressText = (update: ProgressUpdate, secondsLeft = update.secondsLeft): string =>
	describe(update, secondsLeft).join("  ");

/** The parts of the line, the most important first. */
function describe(update: ProgressUpdate, left: number | undefined): string[] {
	const parts = [update.stage, `${update.unit ?? "step"} ${update.step}${update.total === undefined ? "" : `/${update.total}`}`];
	if (update.loss !== undefined) parts.push(`loss ${formatLoss(update.loss)}`);
	if (left !== undefined && Number.isFinite(left)) parts.push(`${formatClock(left)} left`);
	if (update.tokensPerSecond !== undefined && Number.isFinite(update.tokensPerSecond)) {
		parts.push(`${Math.round(update.tokensPerSecond)} tokens/s`);
	}
	return parts;
}

/** Fits the parts into `width` columns: the least important are left out first, the bar takes what room remains. */
function liveLine(parts: readonly string[], update: ProgressUpdate, width: number, colour: boolean): string {
	const kept = [...parts];
	while (kept.length > 1 && displayWidth(kept.join("  ")) > width) kept.pop();
	const stage = fitWidth(kept[0] as string, width);
	const rest = kept.slice(1);
	const room = Math.min(barWidth, width - displayWidth([stage, ...rest].join("  ")) - 2);
	const bar =
		update.total !== undefined && update.total > 0 && room >= 8 ? [drawBar(update.step / update.total, room, colour)] : [];
	return [colour ? `\u001b[1m${stage}\u001b[22m` : stage, ...bar, ...rest].join("  ");
}

function drawBar(ratio: number, width: number, colour: boolean): string {
	const filled = Math.round(Math.min(1, Math.max(0, ratio)) * width);
	const done = "━".repeat(filled);
	const open = "─".repeat(width - filled);
	return colour ? `\u001b[36m${done}\u001b[39m\u001b[2m${open}\u001b[22m` : done + open;
}
