/**
 * Whether one more optimiser step and a checkpoint fit before a run has to be over, by what steps and checkpoints have
 * taken so far.
 * @module
 */
import type { StageContext } from "./context.js";

/** Steps looked back on: the slowest of them is what the next may take. */
const remembered = 16;
/** Steps after which it is told how far the time will reach. */
const planAfter = 5;
/** What a checkpoint is taken to be written at until one has been, bytes a second; slow for a disk of today. */
const assumedBytesPerSecond = 100e6;

export class TimeLimit {
	readonly #context: Pick<StageContext, "name" | "log" | "now" | "stopTime">;
	readonly #recent: number[] = [];
	#saveSeconds: number;
	#steps = 0;

	/** @param checkpointBytes size of a checkpoint */
	constructor(context: Pick<StageContext, "name" | "log" | "now" | "stopTime">, checkpointBytes: number) {
		this.#context = context;
		this.#saveSeconds = checkpointBytes / assumedBytesPerSecond;
	}

	/** @param left steps still to do */
	stepTook(seconds: number, left: number): void {
		this.#recent.push(seconds);
		if (this.#recent.length > remembered) this.#recent.shift();
		if (++this.#steps === planAfter) this.#tellPlan(left);
	}

	saveTook(seconds: number): void {
		this.#saveSeconds = Math.max(this.#saveSeconds, seconds);
	}

	/** @throws FintuneError E_ABORTED where the next step might not fit */
	check(): void {
		const { stopTime, now } = this.#context;
		if (stopTime && now() + Math.max(0, ...this.#recent) + this.#saveSeconds > stopTime.by) throw stopTime.error;
	}

	#tellPlan(left: number): void {
		const { stopTime, now, name, log } = this.#context;
		if (!stopTime) return;
		const mean = this.#recent.reduce((sum, s) => sum + s, 0) / this.#recent.length;
		const fit = Math.max(0, Math.floor((stopTime.by - now() - this.#saveSeconds) / mean));
		if (fit < left)
			log(`${name}: about ${fit} of the ${left} steps left fit before the end set for this run; the rest is for the next start`);
	}
}
