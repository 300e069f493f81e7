/**
 * What training consumes: rows as token ids.
 * @module
 */
import type { Source } from "./readers.js";

/** What training consumes. */
export type Example = SequenceExample | PairExample;

/** One sequence. `completionMask[t]` = 1: predicting token t counts; `completionMask[0]` never counts. */
export interface SequenceExample {
	kind: "sequence";
	inputIds: Int32Array;
	completionMask: Uint8Array;
	/** KTO: is the completion desirable. */
	label?: boolean;
	source: Source;
}

/** One preference pair; each answer follows the same prompt. */
export interface PairExample {
	kind: "pair";
	promptIds: Int32Array;
	chosenIds: Int32Array;
	rejectedIds: Int32Array;
	source: Source;
}
