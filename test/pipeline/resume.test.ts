import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { Trainer } from "../../src/engine/trainer.js";
import { parsePipeline } from "../../src/pipeline/config.js";
import { runPipeline } from "../../src/pipeline/runner.js";
import { writeManifest } from "../../src/stages/manifest.js";
import { lines, put } from "../cli/cli.js";
import { tinyModel, tinyTaskData } from "./tiny.js";

let dir: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-resume-"));
	await tinyModel(join(dir, "model"));
	tinyTaskData(join(dir, "data"));
	const prompts = ["Row 1:", "Row 2:", "Inc .\nAnswer:", "Corvid Inc .\nAnswer:", "What?\nReasoning:"];
	put(join(dir, "rows.jsonl"), lines(prompts.map((prompt) => ({ prompt, completion: " yes" }))));
	put(join(dir, "other.jsonl"), lines([{ prompt: "Row 1:", completion: " never, not at all" }]));
	put(join(dir, "text.jsonl"), lines([{ text: "The firm grew. ".repeat(12) }, { text: "Sales fell." }]));
	put(join(dir, "pairs.jsonl"), lines(prompts.map((prompt) => ({ prompt, chosen: " yes", rejected: " no no no" }))));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

type Stage = Record<string, unknown>;
/** Two epochs and a bit in uneven batches, with all that has a state: dropout, warm-up, shares drawn anew, validation. */
const stages: Record<string, Stage> = {
	sft: {
		type: "sft",
		data: [{ path: "rows.jsonl" }, { path: "rows.jsonl", weight: 0.5 }],
		lora: { r: 4, dropout: 0.2 },
		learning_rate: 0.01,
		lr_scheduler_type: "cosine",
		warmup_steps: 2,
		weight_decay: 0.1,
		batch_size: 3,
		max_steps: 7,
		validation: { path: "other.jsonl", every_steps: 2 },
	},
	dpo: { type: "dpo", data: [{ path: "pairs.jsonl" }], lora: { r: 2 }, learning_rate: 1e-3, batch_size: 2, max_steps: 5 },
	pretrain: {
		type: "pretrain",
		data: [{ path: "text.jsonl" }],
		learning_rate: 0.01,
		batch_size: 2,
		max_steps: 5,
		max_length: 16,
	},
};

const crash = new Error("as if the power had gone");
interface How {
	/** The run ends in the report of this step, without a word: what is on the disk then is all there is. */
	crashAt?: number;
	signal?: AbortSignal;
	change?: Stage;
}
let count = 0;
const newFolder = () => join(dir, `run-${++count}`);
async function run(out: string, type: string, how: How = {}): Promise<string[]> {
	const messages: string[] = [];
	const progress = {
		update({ step, unit }: { step: number; unit?: string }) {
			if (unit === undefined && step === how.crashAt) throw crash;
		},
		message: (line: string) => void messages.push(line),
		end() {},
	};
	const stage = { name: "one", save_steps: 2, ...stages[type], ...how.change };
	const text = stringify({ name: "small", model: "model", device: "cpu", dtype: "f32", threads: 1, stages: [stage] });
	const { signal } = how;
	await runPipeline(parsePipeline(text, join(dir, "p.yaml")), { out, progress, ...(signal ? { signal } : {}) });
	return messages;
}
const checkpointsOf = (out: string): string[] => {
	const folder = join(out, "stages", "one", "checkpoints");
	return existsSync(folder) ? readdirSync(folder).sort() : [];
};
const readJson = (...parts: string[]) => JSON.parse(readFileSync(join(...parts), "utf8"));
const jsonLines = (...parts: string[]) =>
	readFileSync(join(...parts), "utf8")
		.split(/(?<=\n)/)
		.map((line) => JSON.parse(line));
/** Everything that a run leaves but for measured times: weights as bytes, metrics row by row, what later stages read. */
function left(out: string): unknown {
	const stage = join(out, "stages", "one");
	const weights = ["adapter/adapter_model.safetensors", "model/model.safetensors"].filter((name) =>
		existsSync(join(stage, name)),
	);
	expect(weights).toHaveLength(1);
	const untimed = (rows: Record<string, unknown>[]) => rows.map(({ tokens_per_second: _, ...row }) => row);
	const { outcome } = readJson(stage, "stage.json");
	const { training, ...told } = outcome;
	const { seconds: _, rows, ...facts } = training;
	const metrics = jsonLines(stage, "metrics.jsonl");
	expect(metrics).toEqual(rows);
	return { weights: readFileSync(join(stage, weights[0]!), "base64"), metrics: untimed(metrics), told, facts };
}
const events = (out: string, event: string) => jsonLines(out, "journal.jsonl").filter((e) => e.event === event);

describe.each(Object.keys(stages))("an interrupted %s stage", (type) => {
	let whole: unknown;
	const steps = stages[type]!.max_steps as number;
	beforeAll(async () => {
		const out = newFolder();
		await run(out, type);
		whole = left(out);
	});

	it("ends with the same bytes wherever it crashed, and does again only what no checkpoint holds", async () => {
		for (let at = 1; at <= steps; at++) {
			const out = newFolder();
			await expect(run(out, type, { crashAt: at })).rejects.toThrow();
			const messages = await run(out, type);
			const saved = at - 1 - ((at - 1) % 2);
			expect(messages.join("\n").match(/goes on after step (\d+)/)?.[1], `crash at ${at}`).toBe(saved ? `${saved}` : undefined);
			expect(left(out), `crash at ${at}`).toEqual(whole);
		}
	});

	it("ends with the same bytes wherever it was told to stop, with a checkpoint of that very step", async () => {
		for (let at = 1; at < steps; at++) {
			const out = newFolder();
			const controller = new AbortController();
			const { step } = Trainer.prototype;
			let calls = 0;
			const spy = vi.spyOn(Trainer.prototype, "step").mockImplementation(function (this: Trainer, ...args) {
				if (++calls === at + 1) controller.abort();
				return step.apply(this, args);
			});
			await expect(run(out, type, { signal: controller.signal })).rejects.toMatchObject({ code: "E_ABORTED" });
			spy.mockRestore();
			expect(checkpointsOf(out)).toContain(`checkpoint-${at}`);
			expect(events(out, "checkpoint").at(-1)).toMatchObject({ stage: "one", step: at });
			const messages = await run(out, type);
			expect(messages.join("\n")).toContain(`one: goes on after step ${at}, from checkpoint-${at}`);
			expect(events(out, "resumed")).toEqual([expect.objectContaining({ stage: "one", iteration: 1, step: at })]);
			expect(left(out), `stopped after ${at}`).toEqual(whole);
		}
	});

	it("ends with the same bytes after many interruptions", async () => {
		const out = newFolder();
		for (let at = 1; at <= steps; at++)
			await expect(run(out, type, { crashAt: at, change: { save_steps: 1 } })).rejects.toThrow();
		await run(out, type);
		expect(left(out)).toEqual(whole);
	});
});

const generating = { name: "one", max_new_tokens: 4, generation_batch_size: 1 };
const readable = { answer_pattern: "(?s)^\\s*(\\S.*)$", agreement: 0.5 };
describe.each([
	{ stage: { ...generating, type: "evaluate", tasks: ["ner"] }, files: ["generations/ner.jsonl", "scores.json"] },
	{
		stage: { ...generating, type: "synthesize", task: "ner", limit: 2, samples: 2, ...readable },
		files: ["generations/ner.jsonl", "rows.jsonl"],
	},
])("an interrupted $stage.type stage", ({ stage, files }) => {
	async function generation(out: string, crashAt?: number): Promise<string[]> {
		const messages: string[] = [];
		const progress = {
			update({ step }: { step: number }) {
				if (step === crashAt) throw crash;
			},
			message: (line: string) => void messages.push(line),
			end() {},
		};
		const all = { name: "small", model: "model", device: "cpu", dtype: "f32", threads: 1, data_dir: "data", stages: [stage] };
		await runPipeline(parsePipeline(stringify(all), join(dir, "p.yaml")), { out, progress });
		return messages;
	}
	const results = (out: string) => files.map((name) => readFileSync(join(out, "stages", "one", name), "utf8"));

	it("keeps the answers it has, and ends with the same bytes", async () => {
		const undisturbed = newFolder();
		await generation(undisturbed);
		const out = newFolder();
		await expect(generation(out, 2)).rejects.toThrow();
		expect((await generation(out)).join("\n")).toMatch(/ner: 2 of 4 answers are there already/);
		expect(results(out)).toEqual(results(undisturbed));
		expect(readdirSync(join(out, "stages", "one", "generations"))).toEqual(["ner.jsonl"]);
	});

	it("trusts none of them once a file of the finished stage is damaged", async () => {
		const out = newFolder();
		await generation(out);
		const whole = results(out);
		truncateSync(join(out, "stages", "one", "generations", "ner.jsonl"), 10);
		const told = (await generation(out)).join("\n");
		expect(told).toContain("one: runs again, because a file of it is damaged");
		expect(told).not.toContain("there already");
		expect(results(out)).toEqual(whole);
	});
});

describe("what a checkpoint holds", () => {
	it("the best validation: its parameters, and the patience that is left", async () => {
		const change = {
			max_steps: 40,
			save_steps: 1,
			validation: { path: "other.jsonl", every_steps: 1, patience: 2 },
			warmup_steps: 0,
		};
		const undisturbed = newFolder();
		await run(undisturbed, "sft", { change });
		const whole = left(undisturbed) as { metrics: unknown[]; told: { metrics: { kept_step: number } } };
		expect(whole.told.metrics.kept_step).toBeLessThan(whole.metrics.length);
		expect(whole.metrics.length).toBeLessThan(40);
		for (let at = 2; at <= whole.metrics.length; at++) {
			const out = newFolder();
			await expect(run(out, "sft", { change, crashAt: at })).rejects.toThrow();
			await run(out, "sft", { change });
			expect(left(out), `crash at ${at}`).toEqual(whole);
		}
	});

	it("a step whose validation was cut short: it is validated, not trained again", async () => {
		const undisturbed = newFolder();
		await run(undisturbed, "sft");
		const out = newFolder();
		const controller = new AbortController();
		const { evaluate } = Trainer.prototype;
		const spy = vi.spyOn(Trainer.prototype, "evaluate").mockImplementation(function (this: Trainer, ...args) {
			controller.abort();
			return evaluate.apply(this, args);
		});
		await expect(run(out, "sft", { signal: controller.signal })).rejects.toMatchObject({ code: "E_ABORTED" });
		spy.mockRestore();
		const stored = readJson(out, "stages", "one", "checkpoints", "checkpoint-2", "trainer_state.json");
		expect(stored.state).toMatchObject({ step: 2, pending: { step: 2 }, rows: [{ step: 1 }] });
		await run(out, "sft");
		expect(left(out)).toEqual(left(undisturbed));
	});

	it("the last save_total_limit of them stay", async () => {
		const out = newFolder();
		await run(out, "sft", { change: { save_steps: 1, save_total_limit: 3 } });
		expect(checkpointsOf(out)).toEqual(["checkpoint-4", "checkpoint-5", "checkpoint-6"]);
		const one = newFolder();
		await run(one, "sft", { change: { save_total_limit: 1 } });
		expect(checkpointsOf(one)).toEqual(["checkpoint-6"]);
	});

	it("by the clock: none in ten minutes that have not passed, one a step where any time has", async () => {
		const none = newFolder();
		await run(none, "sft", { change: { save_steps: undefined } });
		expect(checkpointsOf(none)).toEqual([]);
		const each = newFolder();
		await run(each, "sft", { change: { save_steps: undefined, save_minutes: 1e-9, save_total_limit: 9 } });
		expect(checkpointsOf(each)).toHaveLength(6);
	});
});

describe("a damaged checkpoint", () => {
	let whole: unknown;
	let out: string;
	const newest = () => join(out, "stages", "one", "checkpoints", "checkpoint-6");
	beforeAll(async () => {
		const undisturbed = newFolder();
		await run(undisturbed, "sft");
		whole = left(undisturbed);
	});
	beforeEach(async () => {
		out = newFolder();
		await expect(run(out, "sft", { crashAt: 7 })).rejects.toThrow();
		expect(checkpointsOf(out)).toEqual(["checkpoint-4", "checkpoint-6"]);
	});

	it.each(["parameters.safetensors", "optimizer.safetensors", "best.safetensors", "trainer_state.json", "manifest.json"])(
		"with a flipped bit in %s is not used: the one before is, with a warning",
		async (file) => {
			const path = join(newest(), file);
			const bytes = readFileSync(path);
			bytes[bytes.length >> 1]! ^= 4;
			writeFileSync(path, bytes);
			const told = (await run(out, "sft")).join("\n");
			expect(told).toContain(`one: checkpoint-6 is damaged and not used: ${path}: `);
			expect(told).toContain("one: goes on after step 4, from checkpoint-4");
			expect(left(out)).toEqual(whole);
		},
	);

	it("that is truncated or incomplete is not used; with none left the stage begins anew", async () => {
		truncateSync(join(newest(), "optimizer.safetensors"), 100);
		rmSync(join(out, "stages", "one", "checkpoints", "checkpoint-4", "manifest.json"));
		const told = (await run(out, "sft")).join("\n");
		expect(told).toMatch(/checkpoint-6 is damaged and not used: .*optimizer\.safetensors: expected \d+ bytes, found 100/);
		expect(told).toMatch(/checkpoint-4 is damaged and not used: .*manifest\.json: it is missing/);
		expect(told).not.toContain("goes on after");
		expect(left(out)).toEqual(whole);
	});

	it("leaves the event files to go on with; without a usable one they begin anew", async () => {
		const eventFiles = () => readdirSync(join(out, "stages", "one", "tensorboard"));
		const [before] = eventFiles();
		await run(out, "sft");
		expect(eventFiles()).toHaveLength(2);
		expect(eventFiles()).toContain(before);
		out = newFolder();
		await expect(run(out, "sft", { crashAt: 2 })).rejects.toThrow();
		await run(out, "sft");
		expect(eventFiles()).toHaveLength(1);
	});

	it("aside, a finished stage is mended from its last good one", async () => {
		await run(out, "sft");
		truncateSync(join(out, "stages", "one", "adapter", "adapter_model.safetensors"), 100);
		const told = (await run(out, "sft")).join("\n");
		expect(told).toMatch(/one: runs again, because a file of it is damaged: .*adapter_model\.safetensors: expected/);
		expect(told).toContain("goes on after step 6");
		expect(left(out)).toEqual(whole);
	});

	it("or a half-written one that a crash left is cleared away", async () => {
		const half = join(out, "stages", "one", "checkpoints", ".checkpoint-8.17.0a1b2c3d.tmp");
		put(join(half, "parameters.safetensors"), "half");
		await run(out, "sft");
		expect(existsSync(half)).toBe(false);
		expect(left(out)).toEqual(whole);
	});

	it("is none where another build made it: the run goes on, and says that bits may differ", async () => {
		const path = join(newest(), "trainer_state.json");
		const stored = readJson(path);
		stored.environment.addon = "0".repeat(64);
		stored.environment.instruction_set = "another";
		writeFileSync(path, JSON.stringify(stored));
		await writeManifest(newest());
		const told = (await run(out, "sft")).join("\n");
		expect(told).toMatch(
			/checkpoint-6 was made with addon 0+ \(here \w+\), instruction_set another \(here \w+\): bits may differ/,
		);
		expect(told).toContain("goes on after step 6");
		expect(left(out)).toEqual(whole);
	});

	it("of other work is never taken up", async () => {
		const told = (await run(out, "sft", { change: { learning_rate: 0.02 } })).join("\n");
		expect(told).not.toMatch(/goes on after|damaged/);
		const fresh = newFolder();
		await run(fresh, "sft", { change: { learning_rate: 0.02 } });
		expect(left(out)).toEqual(left(fresh));
	});
});
