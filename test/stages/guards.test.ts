/** What guards do about bad steps, on a training loop with a trainer whose losses are written in advance. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { Trainer } from "../../src/engine/trainer.js";
import type { NamedTensor, OptimizerState, StepOptions, TrainingBatch } from "../../src/engine/types.js";
import { FintuneError } from "../../src/errors.js";
import { Checkpoints } from "../../src/stages/checkpoint.js";
import type { TrainingContext } from "../../src/stages/context.js";
import { waitForRoom } from "../../src/stages/disk.js";
import { Guards } from "../../src/stages/guards.js";
import { stageSchema, type TrainingConfig } from "../../src/stages/schema.js";
import { trainLoop } from "../../src/stages/train_loop.js";

/** Stands in for /proc: megabytes that the host has left; undefined: the host's own. */
let hostMegabytes: (() => number) | undefined;
vi.mock("../../src/engine/cgroup.js", async (original) => {
	const real = await original<typeof import("../../src/engine/cgroup.js")>();
	const readText = (path: string): string | undefined => {
		if (hostMegabytes === undefined) return real.readText(path);
		return path === "/proc/meminfo"
			? `MemTotal: 16000000 kB\nMemAvailable: ${Math.round((hostMegabytes() * 1e6) / 1024)} kB\n`
			: undefined;
	};
	return { ...real, readText };
});

let dir: string;
let count = 0;
beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-guards-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

type GuardConfig = TrainingConfig["guards"];
const configOf = (guards: Partial<GuardConfig>, more: object = {}): TrainingConfig =>
	stageSchema.parse({
		name: "one",
		type: "sft",
		data: [{ path: "rows.jsonl" }],
		lora: {},
		batch_size: 1,
		shuffle: false,
		learning_rate: 0.1,
		lr_scheduler_type: "constant",
		guards,
		...more,
	}) as TrainingConfig;

interface Row {
	loss: number;
	tokens: number;
}

/** One parameter that every step lowers by the learning rate; the rows of a batch say what its loss is. */
class ScriptedTrainer {
	value = 0;
	steps = 0;
	readonly seen: { loss: number; microBatches: number }[] = [];
	readonly #how: How;

	constructor(how: How) {
		this.#how = how;
	}

	async step(batch: TrainingBatch, { learningRate, limits = {} }: StepOptions) {
		const { sequences, microBatches } = batch as unknown as { sequences: Row[]; microBatches: number[][] };
		const { loss, tokens } = sequences[0]!;
		const largest = tokens * Math.max(...microBatches.map((rows) => rows.length));
		if (largest > (this.#how.memory ?? Number.POSITIVE_INFINITY)) throw new FintuneError("E_OUT_OF_MEMORY", "no memory");
		const diverges = learningRate > (this.#how.mostLearningRate?.[this.steps] ?? Number.POSITIVE_INFINITY);
		if (Number.isNaN(loss) || diverges) throw new FintuneError("E_NUMERIC", "the loss is NaN");
		const { loss: most = Number.POSITIVE_INFINITY, gradNorm = Number.POSITIVE_INFINITY } = limits;
		if (loss > most || loss > gradNorm) throw new FintuneError("E_STEP_LIMIT", "the step was refused");
		this.seen.push({ loss, microBatches: microBatches.length });
		this.value -= learningRate;
		this.steps += 1;
		return { loss, gradNorm: loss, targets: 1 };
	}
	parameters = (): NamedTensor[] => [{ name: "w", shape: [1], data: Float32Array.of(this.value) }];
	setParameters = ([p]: NamedTensor[]): void => {
		this.value = p!.data[0]!;
	};
	optimizerState = (): OptimizerState => ({ step: this.steps, m: this.parameters(), v: this.parameters() });
	setOptimizerState = ({ step }: OptimizerState): void => {
		this.steps = step;
	};
}

interface How {
	more?: object;
	/** Tokens that a micro-batch may have. */
	memory?: number;
	microBatchTokens?: number;
	folder?: string;
	/** Called where a loop gives memory back; absent: a GPU's. */
	releaseMemory?: () => void;
	/** The run ends when this step is reported. */
	dieAt?: number;
	/** By steps done before: above this learning rate the next one's loss is not finite. */
	mostLearningRate?: Record<number, number>;
}

async function train(losses: readonly number[], guards: Partial<GuardConfig>, how: How = {}) {
	const folder = how.folder ?? mkdtempSync(join(dir, `run-${++count}-`));
	const events: Record<string, unknown>[] = [];
	const told: string[] = [];
	let clock = 0;
	const context = {
		name: "one",
		folder,
		seed: 1,
		now: () => ++clock,
		log: (line: string) => told.push(line),
		journal: async (event: Record<string, unknown>) => void events.push(event),
		progress: {
			update({ step }: { step: number }) {
				if (step === how.dieAt) throw new Error("killed");
			},
			message() {},
			end() {},
		},
	} as unknown as TrainingContext;
	const trainer = new ScriptedTrainer(how);
	const items: Row[] = losses.map((loss) => ({ loss, tokens: 10 }));
	const checkpoints = new Checkpoints(join(folder, "checkpoints"), "work", {} as never, 2, () => {});
	const resume = await checkpoints.newest();
	const result = await trainLoop({
		context,
		config: configOf(guards, how.more),
		type: "sft",
		trainer: trainer as unknown as Trainer,
		set: {
			items,
			tokens: (row) => row.tokens,
			batch: (rows, microBatches) => ({ sequences: rows, microBatches }) as unknown as TrainingBatch,
		},
		microBatchTokens: how.microBatchTokens ?? 1000,
		checkpoints,
		checkpointBytes: 12,
		...(how.releaseMemory ? { releaseMemory: how.releaseMemory } : {}),
		...(resume ? { resume: resume.checkpoint } : {}),
	});
	return { result, trainer, events: events.filter(({ event }) => event !== "checkpoint"), told };
}

/** The step of a run's newest checkpoint. */
const newestStep = async (folder: string): Promise<number | undefined> =>
	(await new Checkpoints(join(folder, "checkpoints"), "work", {} as never, 2, () => {}).newest())?.checkpoint.state.step;

const calm = (n: number): number[] => Array.from({ length: n }, (_, i) => 1 + 0.01 * (i % 5));

describe("a loss that is not finite", () => {
	test("stops the run unless told otherwise", async () => {
		await expect(train([1, Number.NaN, 1], {})).rejects.toMatchObject({ code: "E_NUMERIC", exitStatus: 65 });
	});
	test("skip leaves the batch out: no row, no step of the optimiser", async () => {
		const { result, trainer, events, told } = await train([1, 1, Number.NaN, 1, 1], { non_finite: "skip" });
		expect(result.rows.map((row) => row.step)).toEqual([1, 2, 4, 5]);
		expect(trainer.steps).toBe(4);
		expect(events).toEqual([{ event: "skipped batch", step: 3, reason: "the loss is NaN", items: [2] }]);
		expect(told).toEqual(["one: step 3: skipped batch: the loss is NaN"]);
	});
	test("too many are an end", async () => {
		const many = [1, Number.NaN, Number.NaN, Number.NaN, 1];
		const message = expect.stringContaining("max_skips 2");
		await expect(train(many, { non_finite: "skip", max_skips: 2 })).rejects.toMatchObject({ code: "E_NUMERIC", message });
	});
	test("a resumed run skips the same and ends with the same parameters", async () => {
		const many = [1, Number.NaN, 1, 1, Number.NaN, 1, 1];
		const guards = { non_finite: "skip", max_skips: 2 } as const;
		const more = { save_steps: 1 };
		const whole = await train(many, guards, { more });
		for (const dieAt of [3, 4, 6]) {
			const folder = mkdtempSync(join(dir, "killed-"));
			await expect(train(many, guards, { more, folder, dieAt })).rejects.toThrowError("killed");
			const { result, trainer } = await train(many, guards, { more, folder });
			expect(result.rows.map((row) => row.step)).toEqual([1, 3, 4, 6, 7]);
			expect(trainer.steps).toBe(whole.trainer.steps);
			expect(trainer.value).toBeCloseTo(whole.trainer.value, 6);
		}
	});
});

describe("rollback", () => {
	test("goes back to the newest checkpoint, or the beginning, with a smaller rate, so often as it may", async () => {
		const guards = { non_finite: "rollback", max_rollbacks: 2 } as const;
		const message = expect.stringContaining("max_rollbacks 2");
		await expect(train([Number.NaN], guards)).rejects.toMatchObject({ code: "E_NUMERIC", message });
		const { result, events } = await train([1, 1, 1, 1], guards, {
			more: { save_steps: 2 },
			mostLearningRate: { 1: 0.06, 3: 0.03 },
		});
		expect(result.rows.map((row) => [row.step, row.learning_rate])).toEqual([
			[1, 0.05],
			[2, 0.05],
			[3, 0.025],
			[4, 0.025],
		]);
		expect(events.map(({ event, step, learning_rate_scale: scale }) => [event, step, scale])).toEqual([
			["rolled back", 2, 0.5],
			["rolled back", 4, 0.25],
		]);
	});
	test("a run that was killed after one goes on with the smaller rate", async () => {
		const folder = mkdtempSync(join(dir, "killed-"));
		const how = { more: { save_steps: 2 }, mostLearningRate: { 1: 0.06 }, folder };
		await expect(train([1, 1, 1, 1], { non_finite: "rollback" }, { ...how, dieAt: 3 })).rejects.toThrowError("killed");
		const { result, events } = await train([1, 1, 1, 1], { non_finite: "rollback" }, how);
		expect(events).toEqual([]);
		expect(result.rows.map((row) => row.learning_rate)).toEqual([0.05, 0.05, 0.05, 0.05]);
		const lines = readFileSync(join(folder, "metrics.jsonl"), "utf8").trim().split("\n");
		expect(lines.map((line) => JSON.parse(line).step)).toEqual([1, 2, 3, 4]);
	});
});

describe("a loss far above the usual", () => {
	const losses = [...calm(20), 9, ...calm(3)];
	test("is told and trained on unless told otherwise", async () => {
		const { result, events } = await train(losses, {});
		expect(result.rows).toHaveLength(24);
		expect(events).toEqual([expect.objectContaining({ event: "loss spike", step: 21 })]);
	});
	test("is left out, or ends the run, before it changes anything", async () => {
		const { trainer, result } = await train(losses, { spike: "skip" });
		expect(trainer.seen.map(({ loss }) => loss)).not.toContain(9);
		expect(result.rows).toHaveLength(23);
		await expect(train(losses, { spike: "stop" })).rejects.toMatchObject({ code: "E_STEP_LIMIT" });
		expect((await train(losses, { spike: "ignore" })).events).toEqual([]);
	});
	test("is not seen where too little is known of what is usual, nor in ordinary noise", async () => {
		expect((await train([1, 1, 9, 1], { spike: "stop" })).result.rows).toHaveLength(4);
		const noise = Array.from({ length: 60 }, (_, i) => 1 + Math.sin(i * i) * 0.8);
		expect((await train(noise, { spike: "stop" })).result.rows).toHaveLength(60);
	});
	test("so is a gradient norm above its limit", async () => {
		const { result } = await train([1, 5, 1], { spike: "skip", grad_norm_limit: 3 });
		expect(result.rows.map((row) => row.step)).toEqual([1, 3]);
		expect(new Guards(configOf({ grad_norm_limit: 3 }).guards).warning([], { loss: 1, gradNorm: 4 })).toMatch(
			/grad_norm_limit 3/,
		);
	});
});

test("where memory falls short, micro-batches shrink down to the longest row, and the run goes on", async () => {
	const more = { batch_size: 8 };
	const { trainer, events, result } = await train(calm(16), {}, { more, memory: 25, microBatchTokens: 80 });
	expect(trainer.seen.map(({ microBatches }) => microBatches)).toEqual([4, 4]);
	expect(result.report.microBatchTokens).toBe(20);
	expect(events.map(({ event, step }) => [event, step])).toEqual([
		["memory short", 1],
		["memory short", 1],
	]);
	await expect(train(calm(8), {}, { more, memory: 5, microBatchTokens: 80 })).rejects.toMatchObject({ code: "E_OUT_OF_MEMORY" });
});

describe("a host whose memory runs short", () => {
	afterEach(() => {
		hostMegabytes = undefined;
	});
	const more = { batch_size: 8, save_minutes: 0 };

	test("gets smaller micro-batches first; with enough again the run goes on", async () => {
		let released = 0;
		hostMegabytes = () => [200, 255][released] ?? 300;
		const run = await train(calm(64), {}, { more, microBatchTokens: 80, releaseMemory: () => void released++ });
		expect(released).toBe(2);
		expect(run.trainer.seen.map(({ microBatches }) => microBatches)).toEqual([2, 4, 4, 4, 4, 4, 4, 4]);
		expect(run.events.map(({ event, step }) => [event, step])).toEqual([
			["memory short", 1],
			["memory short", 2],
		]);
		expect(run.told[0]).toMatch(
			/memory short: 190.7 MiB of the host's memory are left, 244.1 MiB .* 80 becomes 40, bits may differ/,
		);
	});

	test("then stops the run with a checkpoint and status 75; the next start goes on from there to the same end", async () => {
		const folder = mkdtempSync(join(dir, "short-"));
		let looked = 0;
		hostMegabytes = () => (++looked < 4 ? 300 : 100);
		const how = { more, microBatchTokens: 20, folder, releaseMemory() {} };
		const stopped = train(calm(64), {}, how);
		await expect(stopped).rejects.toMatchObject({ code: "E_MEMORY_SHORT", exitStatus: 75 });
		await expect(stopped).rejects.toThrow(/expected 244.1 MiB free, found 95.4 MiB.*goes on where it was/s);
		expect((await newestStep(folder)) ?? 0).toBeGreaterThan(2);
		hostMegabytes = undefined;
		const { result, trainer } = await train(calm(64), {}, how);
		expect(trainer.steps).toBe(8);
		expect(result.rows.map(({ loss }) => loss)).toEqual(
			(await train(calm(64), {}, { more })).result.rows.map(({ loss }) => loss),
		);
	});

	test("a GPU's micro-batches stay, and with enough on the host so does everything", async () => {
		hostMegabytes = () => 100;
		await expect(train(calm(16), {}, { more, microBatchTokens: 80 })).rejects.toMatchObject({ code: "E_MEMORY_SHORT" });
		hostMegabytes = () => 300;
		expect((await train(calm(16), {}, { more, releaseMemory: expect.unreachable })).events).toEqual([]);
	});

	test("does as the policy and its limit say", async () => {
		hostMegabytes = () => 100;
		const how = () => ({ more, microBatchTokens: 40, releaseMemory() {} });
		expect((await train(calm(32), { low_memory: "ignore" }, how())).events).toEqual([]);
		const shrunk = await train(calm(32), { low_memory: "shrink" }, how());
		expect(shrunk.result.report.microBatchTokens).toBe(10);
		expect(shrunk.events.map(({ event }) => event)).toEqual(["memory short", "memory short"]);
		expect((await train(calm(32), { low_memory_megabytes: 99 }, how())).events).toEqual([]);
		await expect(train(calm(64), { low_memory_megabytes: 101 }, how())).rejects.toMatchObject({ code: "E_MEMORY_SHORT" });
	});
});

describe("a disk that is nearly full", () => {
	/** A clock that moves by a second whenever it is looked at. */
	function context(log: string[]) {
		let clock = 0;
		return { name: "one", folder: dir, log: (line: string) => void log.push(line), journal: async () => {}, now: () => ++clock };
	}
	test("is waited for until there is room", async () => {
		const log: string[] = [];
		const free = [10, 1000];
		await waitForRoom(context(log), 500, 60, async () => free.shift()!);
		expect(log).toEqual([expect.stringMatching(/^one: the disk is nearly full: 10 B free.*500 B/)]);
	});
	test("in vain is an error that says how much is missing", async () => {
		const message = expect.stringMatching(/500 B for a checkpoint.*10 B free/s);
		await expect(waitForRoom(context([]), 500, 0.5, async () => 10)).rejects.toMatchObject({
			code: "E_IO",
			exitStatus: 74,
			message,
		});
	});
	test("a stop while waiting is obeyed", async () => {
		const signal = AbortSignal.timeout(30);
		await expect(waitForRoom({ ...context([]), signal }, 500, 60, async () => 10)).rejects.toMatchObject({ code: "E_ABORTED" });
	});
});
