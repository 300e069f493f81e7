/** The plan of a pipeline on a machine that is short of memory: which micro-batch fits, and what a run would do. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { planTraining, totalBytes } from "../../src/engine/model.js";
import { parsePipeline } from "../../src/pipeline/config.js";
import { planPipeline } from "../../src/pipeline/plan.js";
import { preflight } from "../../src/pipeline/preflight.js";
import { usableShare } from "../../src/stages/memory.js";
import { lines, put } from "../cli/cli.js";
import { smallSft, tinyModel } from "./tiny.js";

let available = Number.POSITIVE_INFINITY;
vi.mock("../../src/engine/host_memory.js", async (original) => {
	const real = await original<typeof import("../../src/engine/host_memory.js")>();
	return { ...real, hostMemory: () => ({ ...real.hostMemory(), available }) };
});

let dir: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-plan-memory-"));
	await tinyModel(join(dir, "model"));
	const row = (i: number) => ({ input_ids: Array.from({ length: 100 }, (_, t) => (i * 31 + t * 7) % 3000) });
	put(join(dir, "rows.jsonl"), lines(Array.from({ length: 60 }, (_, i) => row(i))));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const pipeline = (more: object) => {
	const text = stringify({ name: "p", model: "model", device: "cpu", dtype: "f32", threads: 1, stages: [smallSft(more)] });
	return parsePipeline(text, join(dir, "p.yaml"));
};
const stage = async (more: object) => (await planPipeline(pipeline(more))).stages[0]!;
/** What it says of memory. */
const said = ({ notes }: { notes: string[] }) => notes.filter((note) => note.includes("memory"));
/** What a micro-batch of so many tokens takes, by the plan that it is planned in. */
async function bytes(tokens: number): Promise<number> {
	available = Number.POSITIVE_INFINITY;
	return totalBytes((await stage({ micro_batch_tokens: tokens })).memory!);
}

it("says nothing where there is enough", async () => {
	const needed = await bytes(3000);
	available = needed;
	const plan = await stage({ micro_batch_tokens: 3000 });
	expect(plan.microBatchTokens).toBe(3000);
	expect(said(plan)).toEqual([]);
	expect(plan.short).toBeUndefined();
});

it("names the largest micro-batch that fits where the configured one does not", async () => {
	const room = await bytes(1700);
	available = room;
	const plan = await stage({ micro_batch_tokens: 3000 });
	expect(plan).toMatchObject({ short: "refused", microBatchTokens: 3000 });
	const largest = plan.fittingMicroBatchTokens!;
	expect(largest).toBeGreaterThan(1650);
	expect(said(plan)).toEqual([
		`a micro-batch of 3000 tokens does not fit the memory that is available, and a run would refuse it: set micro_batch_tokens: ${largest} or auto`,
	]);
	// It does fit, and a hundredth more does not.
	expect(await bytes(largest)).toBeLessThanOrEqual(room);
	expect(await bytes(Math.ceil(largest * 1.02))).toBeGreaterThan(room);
	// The run's own check before the start says no.
	available = room;
	const findings = await preflight(pipeline({ micro_batch_tokens: 3000 }), { loss: false });
	expect(findings.find(({ about }) => about === "sft: memory")).toMatchObject({ level: "error" });
	expect(findings.map(({ message }) => message)).toContain(said(plan)[0]);
});

it("says what auto comes to", async () => {
	available = (await bytes(1700)) / usableShare;
	const plan = await stage({ micro_batch_tokens: "auto" });
	expect(plan).toMatchObject({ short: "smaller", microBatchTokens: 4096, fittingMicroBatchTokens: 1024 });
	expect(said(plan)).toEqual([
		"micro_batch_tokens auto: memory is short, so a run would take 1024 instead of 4096 and round otherwise",
	]);
	const findings = await preflight(pipeline({ micro_batch_tokens: "auto" }), { loss: false });
	expect(findings.find(({ about }) => about === "sft: memory")).toMatchObject({ level: "warning" });
});

it("says where not even the longest example fits, for auto too", async () => {
	const least = await planTraining(join(dir, "model"), {
		device: "cpu",
		dtype: "f32",
		threads: 1,
		adapters: [{ r: 8 }],
		shape: { lengths: [10] },
	});
	available = totalBytes(least) / 2;
	for (const tokens of ["auto", 3000]) {
		const plan = await stage({ micro_batch_tokens: tokens });
		expect(plan.short).toBe("refused");
		expect(plan.fittingMicroBatchTokens).toBeUndefined();
		expect(said(plan)).toEqual([
			expect.stringMatching(/longest example \(100 tokens\) does not fit.*lower max_length or lora\.r/),
		]);
	}
});
