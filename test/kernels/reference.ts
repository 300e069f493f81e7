/**
 * The plain loops that kernels are held against (scripts/check/reference.mjs, which check:gpu shares), and the check of
 * their own gradients.
 * @module
 */
import { expectClose, type Numbers, numericGradient } from "./support.js";

// @ts-expect-error a script without declarations
export * from "../../scripts/check/reference.mjs";

export type Round = (x: number) => number;

export interface AttentionShape {
	lengths: readonly number[];
	heads: number;
	kvHeads: number;
	dim: number;
	scale: number;
	/** Only the last row of each sequence. */
	lastOnly?: boolean;
}

/** A reference's own gradient against central differences of its value. */
export const expectGradient = (found: Numbers, value: (x: Float64Array) => number, at: Numbers, what: string): void =>
	expectClose(found, numericGradient(value, at), 1e-8, what);
