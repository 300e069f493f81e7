/**
 * `micro_batch_tokens: auto`: a packing budget that depends on the data alone, unless its planned bytes do not fit the
 * memory of the device that this process may use. Packing moves only the rounding (and the masks of dropout), but it does move it; so that a
 * run can be repeated on another machine, what was chosen is recorded, and a choice that memory forced is said.
 * @module
 */
import { deviceMemory } from "../engine/device.js";
import { hostMemory } from "../engine/host_memory.js";
import { type Model, totalBytes } from "../engine/model.js";
import type { TrainerOptions } from "../engine/types.js";
import { FintuneError } from "../errors.js";

const smallest = 256;
/** Beyond this a larger budget no longer makes a device faster: a CPU, a GPU. */
const largest = { cpu: 4096, gpu: 16384 };

/** The largest budget that `auto` takes on a device of that name. */
export const mostMicroBatchTokens = (device: string): number => (device === "cpu" ? largest.cpu : largest.gpu);

/** What `auto` takes on every machine with enough memory: no less than the longest example, no more than there is. */
export const wantedMicroBatchTokens = (longest: number, whole: number, most: number): number =>
	Math.max(longest, Math.min(most, whole));

/** Bytes that may still be taken on a device: what is free of a GPU's memory; of the host's. */
export const availableMemory = (device = "cpu"): number => deviceMemory(device)?.free ?? hostMemory().available;

/** Bytes that a job of this open model may take in all: its plan counts what already lies on a GPU once more. */
export function roomFor(model: Pick<Model, "device" | "memoryBytes">): number {
	const own = deviceMemory(model.device);
	return own ? own.free + model.memoryBytes() : hostMemory().available;
}

/** The share of the available memory that a training step may take. */
export const usableShare = 0.8;

export interface MicroBatchChoice {
	/** The packing budget. */
	tokens: number;
	/** The one that more memory would have allowed. */
	wanted: number;
}

/**
 * The packing budget for examples of these lengths: the one that is given, which must fit, or for `auto` the wanted one,
 * halved until it fits.
 * @param available bytes that the model's job may take in all; `auto` leaves a fifth of them alone
 * @param began what an interrupted run has chosen for the same examples; it is taken again where it fits
 * @throws FintuneError E_OUT_OF_MEMORY where the given budget does not fit, with the largest that does, or not even the
 * longest example
 */
export function chooseMicroBatchTokens(
	model: Pick<Model, "planTraining" | "device" | "memoryBytes">,
	options: TrainerOptions,
	lengths: readonly number[],
	given: number | "auto" = "auto",
	available = roomFor(model),
	began?: number,
): MicroBatchChoice {
	const longest = lengths.reduce((a, b) => Math.max(a, b), 0);
	const whole = lengths.reduce((a, b) => a + b, 0);
	const bytes = (tokens: number): number => {
		const filled: number[] = [];
		for (let left = tokens; left > 0; left -= longest) filled.push(Math.min(longest, left));
		return totalBytes(model.planTraining(options, { lengths: filled }));
	};
	const most = given === "auto" ? mostMicroBatchTokens(model.device) : given;
	const wanted = wantedMicroBatchTokens(longest, whole, most);
	const budget = given === "auto" ? available * usableShare : available;
	if (given === "auto" && began !== undefined && bytes(began) <= available) return { tokens: began, wanted };
	const fits = (tokens: number): boolean => bytes(tokens) <= budget;
	const fitting = halvedUntilFitting(fits, longest, wanted);
	if (given !== "auto" && fitting !== undefined && fitting < wanted) {
		throw new FintuneError("E_OUT_OF_MEMORY", `a micro-batch of ${wanted} tokens does not fit`, {
			where: "micro_batch_tokens",
			expected: `at most ${megabytes(budget)} (what is available)`,
			found: megabytes(bytes(wanted)),
			hint: `set micro_batch_tokens: ${largestFitting(fits, fitting, wanted)} or auto`,
		});
	}
	if (fitting !== undefined) return given === "auto" ? { tokens: fitting, wanted } : { tokens: given, wanted: given };
	const share = given === "auto" ? "80 % of what is available" : "what is available";
	throw new FintuneError("E_OUT_OF_MEMORY", `one micro-batch with the longest example (${longest} tokens) does not fit`, {
		expected: `at most ${megabytes(budget)} (${share})`,
		found: megabytes(bytes(Math.min(wanted, Math.max(longest, smallest)))),
		hint: longestDoesNotFit,
	});
}

/** What to do where not even the longest example fits. */
export const longestDoesNotFit = "lower max_length or lora.r, or set recompute: full";

/** `wanted`, halved until it fits, but not below the longest example; undefined where that does not fit either. */
export function halvedUntilFitting(fits: (tokens: number) => boolean, longest: number, wanted: number): number | undefined {
	const least = Math.max(longest, smallest);
	let tokens = wanted;
	while (!fits(tokens)) {
		if (tokens <= least) return undefined;
		tokens = Math.max(least, Math.floor(tokens / 2));
	}
	return tokens;
}

/** Between one that fits and one that does not, to a hundredth. */
export function largestFitting(fits: (tokens: number) => boolean, low: number, high: number): number {
	let [yes, no] = [low, high];
	while (no - yes > Math.max(1, yes / 100)) {
		const middle = Math.floor((yes + no) / 2);
		if (fits(middle)) yes = middle;
		else no = middle;
	}
	return yes;
}

const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
