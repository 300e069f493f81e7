/**
 * Watches the host's memory while a stage trains. The kernel grants more than there is and kills later whoever takes it up,
 * so that an allocation on a CPU seldom fails: what is left is looked at between steps, and acted on before it is gone.
 * @module
 */
import { hostMemory } from "../engine/host_memory.js";
import { FintuneError } from "../errors.js";
import { formatBytes } from "../report/numbers.js";
import type { TrainingConfig } from "./schema.js";

/** Looked at most so often: reading it takes less than a millisecond. */
const everySeconds = 2;
/** What is to stay free besides room for a checkpoint: a part of all there is, at most so much. */
const floorShare = 0.05;
const mostFloor = 256e6;

/** Too little is left. */
export interface MemoryShortage {
	available: number;
	floor: number;
}

export class MemoryWatch {
	readonly #config: TrainingConfig["guards"];
	readonly #checkpointBytes: number;
	readonly #now: () => number;
	#next = Number.NEGATIVE_INFINITY;

	/** @param checkpointBytes what saving a checkpoint takes in memory */
	constructor(config: TrainingConfig["guards"], checkpointBytes: number, now: () => number) {
		this.#config = config;
		this.#checkpointBytes = checkpointBytes;
		this.#now = now;
	}

	/** Whether less is left than has to be; undefined where enough is, or where it is not time to look again. */
	shortage(): MemoryShortage | undefined {
		if (this.#config.low_memory === "ignore" || this.#now() < this.#next) return undefined;
		this.#next = this.#now() + everySeconds;
		const { available, total } = hostMemory();
		const { low_memory_megabytes: given } = this.#config;
		const floor = given === undefined ? Math.min(mostFloor, floorShare * total) + this.#checkpointBytes : given * 1e6;
		return available < floor ? { available, floor } : undefined;
	}

	/** Whether a shortage that smaller micro-batches do not end is to end the run. */
	get stops(): boolean {
		return this.#config.low_memory === "stop";
	}
}

/** "120 MB of the host's memory are left, 256 MB have to be". */
export const shortageText = ({ available, floor }: MemoryShortage): string =>
	`${formatBytes(available)} of the host's memory are left, ${formatBytes(floor)} have to be`;

/** What ends a run that goes on once there is more memory. */
export const memoryShort = (name: string, { available, floor }: MemoryShortage): FintuneError =>
	new FintuneError("E_MEMORY_SHORT", "the host's memory ran short: stopped before the kernel would have killed the run", {
		where: name,
		expected: `${formatBytes(floor)} free`,
		found: formatBytes(available),
		hint: "start again when there is more: it goes on where it was; a smaller micro_batch_tokens, or recompute: full, takes less",
	});
