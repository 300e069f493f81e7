/**
 * Options that several commands share.
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { parseAsOf } from "../pipeline/dates.js";

/** A repeatable option. */
export const collect = (value: string, previous: string[]): string[] => [...previous, value];

/** --device, --dtype, --threads. */
export function addModelOptions(command: Command): Command {
	const named = new Option("--device <device>", "auto, cpu, cuda or cuda:N").argParser(device);
	return command
		.addOption(process.env.FINTUNE_DEVICE ? named.env("FINTUNE_DEVICE") : named)
		.option("--dtype <dtype>", "auto, f32, bf16 or fp16", oneOf("auto", "f32", "bf16", "fp16"))
		.option("--threads <n>", "threads (default or 0: what this process may use)", wholeNumber);
}

/** Sampling options under transformers' names. */
export function addSamplingOptions(command: Command): Command {
	return command
		.option("--max-new-tokens <n>", "tokens to generate at most", wholeNumber)
		.option("--temperature <t>", "0: greedy (default)", number)
		.option("--top-k <k>", "0: all (default)", wholeNumber)
		.option("--top-p <p>", "1: all (default)", number)
		.option("--min-p <p>", "0: none (default)", number)
		.option("--repetition-penalty <p>", "1: none (default)", number)
		.option("--seed <n>", "of the random streams (default 0)", wholeNumber)
		.option("--batch-size <n>", "prompts decoded together (default 32)", wholeNumber);
}

export interface SamplingFlags {
	maxNewTokens?: number;
	temperature?: number;
	topK?: number;
	topP?: number;
	minP?: number;
	repetitionPenalty?: number;
	seed?: number;
	batchSize?: number;
}

/** The engine's options from the flags. */
export function samplingFrom({ batchSize, ...flags }: SamplingFlags) {
	const { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, seed } = flags;
	return { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, seed, maxBatch: batchSize };
}

export function wholeNumber(text: string): number {
	const value = Number(text);
	if (text.trim() === "" || !Number.isInteger(value) || value < 0)
		throw new InvalidArgumentError("Expected a whole number of 0 or more.");
	return value;
}

/** A length of time in seconds: 90s, 30m, 4h, 1d; a bare number counts seconds. */
export function seconds(text: string): number {
	const match = /^(\d+(?:\.\d+)?)([smhd]?)$/.exec(text);
	if (!match) throw new InvalidArgumentError("Expected a time such as 90s, 30m or 4h.");
	return Number(match[1]) * { s: 1, m: 60, h: 3600, d: 86400, "": 1 }[match[2] as "s" | "m" | "h" | "d" | ""];
}

/** A device's name; whether it is there shows when a model is opened. */
export function device(text: string): string {
	if (!/^(auto|cpu|cuda(:\d+)?)$/.test(text)) throw new InvalidArgumentError("Expected auto, cpu, cuda or cuda:N.");
	return text;
}

export function number(text: string): number {
	const value = Number(text);
	if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Expected a number.");
	return value;
}

export function oneOf(...allowed: string[]): (text: string) => string {
	return (text) => {
		if (!allowed.includes(text)) throw new InvalidArgumentError(`Expected one of ${allowed.join(", ")}.`);
		return text;
	};
}

/** The date of a run: YYYY-MM-DD, today or yesterday. */
export const asOfDate = (text: string): string => parseAsOf(text);
