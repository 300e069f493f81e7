/**
 * `micro_batch_tokens: auto`: a packing budget that depends on the data alone, unless its planned bytes do not fit the
 * memory this process may use. Packing moves only the rounding (and the masks of dropout), but it does move it; so that a
 * run can be repeated on another machine, what was chosen is recorded, and a choice that memory forced is said.
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import { freemem } from "node:os";
import type { Model } from "../engine/model.js";
import type { TrainerOptions } from "../engine/types.js";
import { FintuneError } from "../errors.js";

const smallest = 256;
/** Beyond this a larger budget no longer makes a CPU faster. */
const largest = 4096;

/** What `auto` takes on every machine with enough memory: no less than the longest example, no more than there is. */
export const wantedMicroBatchTokens = (longest: number, whole: number, most = largest): number =>
	Math.max(longest, Math.min(most, whole));

/** Bytes that may still be taken: free memory, or what a cgroup leaves. */
export function availableMemory(): number {
	const candidates = [freemem()];
	const read = (file: string): number | undefined => {
		if (!existsSync(file)) return undefined;
		const value = Number(readFileSync(file, "utf8").trim());
		return Number.isFinite(value) ? value : undefined;
	};
	for (const [limit, used] of [
		["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"],
		["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"],
	] as const) {
		const most = read(limit);
		const now = read(used);
		if (most !== undefined && now !== undefined) candidates.push(Math.max(0, most - now));
	}
	// free(1)'s "available" counts reclaimable cache, which os.freemem leaves out.
	if (existsSync("/proc/meminfo")) {
		const match = /MemAvailable:\s+(\d+) kB/.exec(readFileSync("/proc/meminfo", "utf8"));
		if (match) candidates[0] = Number(match[1]) * 1024;
	}
	return Math.min(...candidates);
}

/** The share of the available memory that a training step may take. */
export const usableShare = 0.8;

/**
 * The packing budget for examples of these lengths: the wanted one, halved until it fits.
 * @param available bytes that may still be taken
 * @returns the budget, and the one that more memory would have allowed
 * @throws FintuneError E_OUT_OF_MEMORY where not even the longest example fits, with the bytes by kind
 */
export function chooseMicroBatchTokens(
	model: Pick<Model, "planTraining">,
	options: TrainerOptions,
	lengths: readonly number[],
	available = availableMemory(),
): { tokens: number; wanted: number } {
	const longest = lengths.reduce((a, b) => Math.max(a, b), 0);
	const whole = lengths.reduce((a, b) => a + b, 0);
	const budget = available * usableShare;
	const bytes = (tokens: number): number => {
		const filled: number[] = [];
		for (let left = tokens; left > 0; left -= longest) filled.push(Math.min(longest, left));
		return Object.values(model.planTraining(options, { lengths: filled })).reduce((a, b) => a + b, 0);
	};
	const wanted = wantedMicroBatchTokens(longest, whole);
	let tokens = wanted;
	while (bytes(tokens) > budget && tokens > Math.max(longest, smallest))
		tokens = Math.max(longest, smallest, Math.floor(tokens / 2));
	const needed = bytes(tokens);
	if (needed > budget) {
		throw new FintuneError("E_OUT_OF_MEMORY", `one micro-batch with the longest example (${longest} tokens) does not fit`, {
			expected: `at most ${Math.floor(budget / 1e6)} MB (80 % of what is available)`,
			found: `${Math.ceil(needed / 1e6)} MB`,
			hint: "lower max_length or lora.r, or set recompute: full",
		});
	}
	return { tokens, wanted };
}
