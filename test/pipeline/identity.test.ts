import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parsePipeline } from "../../src/pipeline/config.js";
import { hashFolder, hashJson, InputHasher, stageIdentity } from "../../src/pipeline/identity.js";
import type { StageConfig } from "../../src/stages/schema.js";

let dir: string;
beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-identity-"));
	writeFileSync(join(dir, "a.jsonl"), '{"text":"one"}\n');
	writeFileSync(join(dir, "b.jsonl"), '{"text":"two"}\n');
	mkdirSync(join(dir, "adapter"));
	writeFileSync(join(dir, "adapter", "adapter_config.json"), "{}");
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A stage as the file would give it. */
function stage(yaml: string): StageConfig {
	const text = `name: p\nmodel: tiny\nstages:\n  - {name: check, type: evaluate, tasks: [ner], split: valid}\n  - ${yaml}\n`;
	return parsePipeline(text, "p.yaml").config.stages[1]!;
}
const sft = (rest = ""): StageConfig =>
	stage(`{name: s, type: sft, data: [{path: a.jsonl}], learning_rate: 1e-4, lora: {r: 4}${rest}}`);
const dpo = (rest = ""): StageConfig => stage(`{name: s, type: dpo, data: [{path: a.jsonl}], lora: {r: 4}${rest}}`);

const noFolder = (): string => "";
const hasher = (): InputHasher => new InputHasher([], (path) => join(dir, path));
const base = { seed: 1, dtype: "f32", device: "cpu", addon: "a", model: "m", stack: ["x"], inputs: [], from: [] };
async function identity(config: StageConfig, other: Partial<typeof base> = {}): Promise<string> {
	return stageIdentity({ ...base, stage: config, inputs: await hasher().inputs(config, noFolder), ...other });
}

describe("identity of a stage", () => {
	it("is the same for the same work, however it is written", async () => {
		expect(await identity(sft())).toMatch(/^[0-9a-f]{64}$/);
		expect(await identity(sft(", batch_size: 16, shuffle: true"))).toBe(await identity(sft()));
		const turned = stage("{lora: {r: 4}, learning_rate: 0.0001, data: [{path: a.jsonl}], type: sft, name: s}");
		expect(await identity(turned)).toBe(await identity(sft()));
	});

	it("does not depend on when, until, gate and max_iterations", async () => {
		expect(await identity(sft(", when: check.overlong > 0.5"))).toBe(await identity(sft()));
		expect(await identity(dpo(", until: check.overlong < 0.1, max_iterations: 3"))).toBe(await identity(dpo()));
		const evaluate = (rest = "") => stage(`{name: e, type: evaluate, tasks: [german], limit: 2${rest}}`);
		const parts = { ...base, inputs: [] };
		expect(stageIdentity({ ...parts, stage: evaluate(", gate: e.overlong < 1") })).toBe(
			stageIdentity({ ...parts, stage: evaluate() }),
		);
	});

	it.each([
		["the stage's seed", ", seed: 2"],
		["the learning rate", ", learning_rate: 1e-3"],
		["the batch size", ", batch_size: 3"],
		["the schedule", ", warmup_steps: 3"],
		["the micro-batch, which moves the rounding", ", micro_batch_tokens: 128"],
	])("changes with %s", async (_, rest) => {
		const text = rest.includes("learning_rate")
			? stage("{name: s, type: sft, data: [{path: a.jsonl}], learning_rate: 1e-3, lora: {r: 4}}")
			: sft(rest);
		expect(await identity(text)).not.toBe(await identity(sft()));
	});

	it("changes with lora", async () => {
		const other = stage("{name: s, type: sft, data: [{path: a.jsonl}], learning_rate: 1e-4, lora: {r: 8}}");
		expect(await identity(other)).not.toBe(await identity(sft()));
	});

	it.each([
		["the run's seed", { seed: 2 }],
		["dtype", { dtype: "bf16" }],
		["device", { device: "cuda" }],
		["the addon", { addon: "b" }],
		["the base model", { model: "n" }],
		["an earlier adapter", { stack: ["y"] }],
		["one adapter more", { stack: ["x", "x"] }],
	])("changes with %s", async (_, change) => {
		expect(await identity(sft(), change)).not.toBe(await identity(sft()));
	});

	it("changes with the stage its rows come from", () => {
		const parts = { ...base, stage: sft(), inputs: [] };
		expect(stageIdentity({ ...parts, from: ["1"] as never[] })).not.toBe(stageIdentity({ ...parts, from: ["2"] as never[] }));
	});

	it("changes with the bytes of a data file and of a stored adapter, not with their times", async () => {
		const withInit = stage(
			"{name: s, type: sft, data: [{path: a.jsonl}], learning_rate: 1e-4, lora: {r: 4, init: adapter}, validation: {path: b.jsonl}}",
		);
		const before = await identity(withInit);
		for (const name of ["a.jsonl", "b.jsonl", "adapter/adapter_config.json"]) utimesSync(join(dir, name), 1, 1);
		expect(await identity(withInit)).toBe(before);
		const seen = new Set([before]);
		for (const name of ["a.jsonl", "b.jsonl", "adapter/adapter_config.json"]) {
			writeFileSync(join(dir, name), '{"text":"changed"}\n');
			seen.add(await identity(withInit));
		}
		expect(seen.size).toBe(4);
	});

	it("changes when a pattern finds one file more", async () => {
		const all = stage("{name: s, type: sft, data: [{path: '*.jsonl'}], learning_rate: 1e-4, lora: {r: 4}}");
		const before = await identity(all);
		writeFileSync(join(dir, "c.jsonl"), '{"text":"three"}\n');
		expect(await identity(all)).not.toBe(before);
	});

	it("names a file that is not there", async () => {
		const gone = stage("{name: s, type: sft, data: [{path: gone.jsonl}], learning_rate: 1e-4}");
		await expect(identity(gone)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
	});
});

describe("hashes", () => {
	it("hashJson ignores the order of keys and absent values, not the order of lists", () => {
		expect(hashJson({ a: 1, b: [1, 2], c: undefined })).toBe(hashJson({ b: [1, 2], a: 1 }));
		expect(hashJson({ b: [2, 1] })).not.toBe(hashJson({ b: [1, 2] }));
		expect(hashJson({ a: null })).not.toBe(hashJson({}));
	});

	it("hashFolder sees names and bytes of model files and nothing else", async () => {
		const folder = mkdtempSync(join(dir, "model-"));
		writeFileSync(join(folder, "config.json"), "{}");
		const before = await hashFolder(folder);
		writeFileSync(join(folder, "notes.md"), "hello");
		expect(await hashFolder(folder)).toBe(before);
		writeFileSync(join(folder, "tokenizer.json"), "{}");
		expect(await hashFolder(folder)).not.toBe(before);
		await expect(hashFolder(join(dir, "gone"))).rejects.toMatchObject({ code: "E_NOT_FOUND" });
	});
});
