/**
 * Watches answers as they come: too many that do not end, or that go round in circles, are told while there is still time
 * to stop.
 * @module
 */

/** What is looked at of an answer. */
export interface WatchedAnswer {
	outputIds: readonly number[];
	finishReason: "stop" | "length";
}

/** Longest sequence whose repetition is seen, in tokens; how often it stands at the end; how long that is at least. */
const longestPeriod = 32;
const fewestRepeats = 4;
const fewestTokens = 16;

/** Answers before a share is worth a word, and the shares that are. */
const judgedAfter = 32;
const unusual = { overlong: 0.5, repetition: 0.2 };

/** Whether the answer ends in at least four times the same sequence of at most 32 tokens. */
export function isRepetitive(ids: readonly number[]): boolean {
	for (let period = 1; period <= longestPeriod; period++) {
		const length = Math.max(fewestTokens, period * fewestRepeats);
		if (length > ids.length) continue;
		let same = true;
		for (let t = ids.length - length; same && t < ids.length - period; t++) same = ids[t] === ids[t + period];
		if (same) return true;
	}
	return false;
}

/** The share of answers that do, 0 where there are none. */
export const shareRepetitive = (answers: readonly { output_ids: readonly number[] }[]): number =>
	answers.length === 0 ? 0 : answers.filter((answer) => isRepetitive(answer.output_ids)).length / answers.length;

export class OutputWatch {
	readonly #log: (message: string) => void;
	readonly #told = new Set<keyof typeof unusual>();
	#count = 0;
	readonly #found = { overlong: 0, repetition: 0 };

	/** @param log is told once for each kind */
	constructor(log: (message: string) => void) {
		this.#log = log;
	}

	add({ outputIds, finishReason }: WatchedAnswer): void {
		this.#count += 1;
		if (finishReason === "length") this.#found.overlong += 1;
		if (isRepetitive(outputIds)) this.#found.repetition += 1;
		if (this.#count < judgedAfter) return;
		this.#judge("overlong", "are overlong: they reached max_new_tokens without an end");
		this.#judge("repetition", "go round in circles");
	}

	#judge(kind: keyof typeof unusual, what: string): void {
		if (this.#told.has(kind) || this.#found[kind] <= unusual[kind] * this.#count) return;
		this.#told.add(kind);
		this.#log(`${this.#found[kind]} of the first ${this.#count} answers ${what}`);
	}
}
