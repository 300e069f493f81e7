/** A run on a machine that is short of memory: what it says, what it records, and that the record repeats it. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { parsePipeline } from "../../src/pipeline/config.js";
import { runPipeline } from "../../src/pipeline/runner.js";
import { lines, put } from "../cli/cli.js";
import { smallSft, tinyModel } from "./tiny.js";

/** Micro-batches of so many tokens fit the memory there is. */
let room = Number.POSITIVE_INFINITY;
vi.mock("../../src/stages/memory.js", async (original) => {
	const real = await original<typeof import("../../src/stages/memory.js")>();
	const choose: typeof real.chooseMicroBatchTokens = (model, options, lengths, given) => {
		const plan = model.planTraining(options, { lengths: [Math.min(room, 4000)] });
		const bytes = Object.values(plan).reduce((a, b) => a + b, 0);
		return real.chooseMicroBatchTokens(model, options, lengths, given, bytes / real.usableShare);
	};
	return { ...real, chooseMicroBatchTokens: choose };
});

/** How often the host's memory is looked at before there is none left. */
let looks = Number.POSITIVE_INFINITY;
vi.mock("../../src/engine/host_memory.js", async (original) => {
	const real = await original<typeof import("../../src/engine/host_memory.js")>();
	return { ...real, hostMemory: () => ({ ...real.hostMemory(), ...(looks-- > 0 ? {} : { available: 0 }) }) };
});

let dir: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-memory-"));
	await tinyModel(join(dir, "model"));
	const row = (i: number) => ({ input_ids: Array.from({ length: 100 }, (_, t) => (i * 31 + t * 7) % 3000) });
	put(join(dir, "rows.jsonl"), lines(Array.from({ length: 20 }, (_, i) => row(i))));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function run(name: string, more: Record<string, unknown> = {}) {
	const sft = smallSft({ batch_size: 20, max_steps: 2, ...more });
	const text = stringify({ name, model: "model", device: "cpu", dtype: "f32", threads: 1, stages: [sft] });
	const messages: string[] = [];
	const progress = { update() {}, message: (line: string) => void messages.push(line), end() {} };
	const { stages } = await runPipeline(parsePipeline(text, join(dir, "p.yaml")), { out: join(dir, name), progress });
	const record = JSON.parse(readFileSync(join(dir, name, "stages", "sft", "stage.json"), "utf8"));
	return {
		said: messages.filter((line) => line.includes("micro_batch_tokens")),
		note: stages[0]!.note,
		recorded: record.outcome.training.microBatchTokens as number,
		adapter: readFileSync(join(dir, name, "adapter", "adapter_model.safetensors")).toString("base64"),
	};
}

it("says that memory decided the packing, and the recorded value repeats the run to the bit elsewhere", async () => {
	room = Number.POSITIVE_INFINITY;
	const wide = await run("wide");
	expect(wide.recorded).toBe(2000);
	expect(wide.said).toEqual(["sft: micro_batch_tokens auto: 2000"]);
	expect(wide.note).not.toMatch(/micro_batch_tokens/);

	room = 600;
	const short = await run("short");
	expect(short.recorded).toBe(500);
	const sentence = /micro_batch_tokens auto: 500 instead of 2000 for want of memory; set it to get the same rounding/;
	expect(short.said).toEqual([expect.stringMatching(sentence)]);
	expect(short.note).toMatch(sentence);
	expect(short.adapter).not.toBe(wide.adapter);

	room = Number.POSITIVE_INFINITY;
	const repeated = await run("repeated", { micro_batch_tokens: short.recorded });
	expect(repeated.said).toEqual([]);
	expect(repeated.recorded).toBe(500);
	expect(repeated.adapter).toBe(short.adapter);
});

it("stops before the host's memory is gone, with a checkpoint, and goes on from it; its limits are no part of the work", async () => {
	const out = join(dir, "low");
	let clock = 0;
	const start = async (more: object) => {
		const sft = smallSft({ batch_size: 4, max_steps: 12, micro_batch_tokens: 400, ...more });
		const text = stringify({ name: "low", model: "model", device: "cpu", dtype: "f32", threads: 1, stages: [sft] });
		const progress = { update() {}, message() {}, end() {} };
		const pipeline = parsePipeline(text, join(dir, "p.yaml"));
		return runPipeline(pipeline, { out, progress, now: () => ++clock }).catch((error: unknown) => error);
	};
	const json = (name: string) => JSON.parse(readFileSync(join(out, name), "utf8"));
	const events = () =>
		readFileSync(join(out, "journal.jsonl"), "utf8")
			.trimEnd()
			.split("\n")
			.map((line) => JSON.parse(line) as { event: string; step?: number });

	looks = 5;
	expect(await start({ guards: { low_memory_megabytes: 1 } })).toMatchObject({ code: "E_MEMORY_SHORT", exitStatus: 75 });
	expect(json("result.json")).toMatchObject({ status: "stopped", stages: [{ name: "sft", status: "stopped" }] });
	expect(json("status.json")).toMatchObject({ status: "stopped", exit_status: 75, error: { code: "E_MEMORY_SHORT" } });
	const told = events().map(({ event }) => event);
	expect(told.filter((event) => event === "memory short")).toHaveLength(2);
	expect(told).toContain("checkpoint");

	looks = Number.POSITIVE_INFINITY;
	expect(await start({})).toMatchObject({ status: "done" });
	const resumed = events().find(({ event }) => event === "resumed")!;
	expect(resumed.step).toBeGreaterThan(0);
	expect(json("stages/sft/stage.json").outcome.training.rows).toHaveLength(12);
});
