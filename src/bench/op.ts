/**
 * What is common to the benchmarks of single ops: names, shapes in dimension letters, and what a timed call needs.
 * @module
 */
import type { ProductDtype, Tensor } from "../engine/kernels.js";
import type { ComputeDtype, ModelConfig } from "../engine/types.js";
import { FintuneError, nearestName } from "../errors.js";
import type { BenchTensors } from "./tensors.js";

/** Sizes by dimension letter, in the order of the op's letters. */
export type OpShape = Readonly<Record<string, number>>;

/** The packed batch that shapes of a model are made for. */
export interface BenchBatch {
	/** T */
	tokens: number;
	/** S, tokens of a sequence; the last one may be shorter. */
	length: number;
	/** R */
	rank: number;
}

/** An op with its tensors, ready to be run again and again. */
export interface PreparedOp {
	run(): void;
	/** Puts back what a run changes and the next one reads. Called before every run, not timed. */
	reset?(): void;
	/** What the run has made: its bits must repeat. */
	results(): (Tensor | Float64Array)[];
}

/** The benchmark of one op in one direction. */
export interface OpBench {
	/** e.g. "attention_forward" */
	name: string;
	/** The header of native/ops, or the concern, that it belongs to. */
	family: string;
	/** Dimension letters of a shape, as native/ops/legend.h has them, with what they are. */
	letters: Readonly<Record<string, string>>;
	/** The op has one type only, whatever is asked for. */
	dtype?: "f32";
	/** The shapes of a model, without repetition. */
	shapes(model: ModelConfig, batch: BenchBatch): OpShape[];
	/** Operations of its matrix products, a product and a sum counting two; 0 where it has none. */
	flops(shape: OpShape): number;
	/** Bytes that must be read and written at least: every operand once. */
	bytes(shape: OpShape, dtype: ProductDtype): number;
	prepare(shape: OpShape, dtype: ProductDtype, tensors: BenchTensors): PreparedOp;
}

/** The size of a letter that the op has. */
export const size = (shape: OpShape, letter: string): number => shape[letter] as number;

/** Bytes of one element. */
export const width = (dtype: ProductDtype): number => (dtype === "f32" ? 4 : 2);

/** The tensors' name of a compute type. */
export const productDtype = (dtype: ComputeDtype): ProductDtype => (dtype === "fp16" ? "f16" : dtype);

/** "T=512,D=576": as it is printed, and as --shapes takes it back. */
export const shapeText = (shape: OpShape): string =>
	Object.entries(shape)
		.map(([letter, value]) => `${letter}=${value}`)
		.join(",");

/**
 * A shape from "T=512,D=576".
 * @throws FintuneError E_USAGE naming the letter
 */
export function parseShape(bench: OpBench, text: string): OpShape {
	const letters = Object.keys(bench.letters);
	const expected = `${bench.name}:${letters.map((letter) => `${letter}=..`).join(",")}`;
	const wrong = (summary: string, found: string): FintuneError =>
		new FintuneError("E_USAGE", summary, { where: `shape of ${bench.name}`, expected, found });
	const given = new Map<string, number>();
	for (const part of text.split(",")) {
		const [letter = "", value = ""] = part.split("=").map((s) => s.trim());
		if (!letters.includes(letter)) {
			const near = nearestName(letter, letters);
			throw wrong(`there is no size ${letter || part}${near ? `: did you mean ${near}?` : ""}`, text);
		}
		// 2^31: a typing error of a digit should not ask for all the memory there is.
		if (!/^\d+$/.test(value) || Number(value) > 2 ** 31) throw wrong(`${letter} is a whole number of 0 .. 2^31`, part);
		if (given.has(letter)) throw wrong(`${letter} is given twice`, text);
		given.set(letter, Number(value));
	}
	const missing = letters.filter((letter) => !given.has(letter));
	if (missing.length > 0) throw wrong(`${missing.join(", ")} missing`, text);
	return Object.fromEntries(letters.map((letter) => [letter, given.get(letter) as number]));
}

/** Lengths of the sequences of T tokens: all S, the last one what is left. */
export function sequenceLengths(tokens: number, length: number): number[] {
	const lengths: number[] = [];
	for (let left = tokens; left > 0; left -= length) lengths.push(Math.min(left, length));
	return lengths;
}

/** Starts of packed sequences, [N+1]. */
export function starts(lengths: readonly number[]): Int32Array {
	const all = new Int32Array(lengths.length + 1);
	lengths.forEach((n, i) => {
		all[i + 1] = (all[i] as number) + n;
	});
	return all;
}

/** Positions restart at each sequence. */
export const positionsOf = (lengths: readonly number[]): Int32Array =>
	Int32Array.from(lengths.flatMap((n) => Array.from({ length: n }, (_, t) => t)));
