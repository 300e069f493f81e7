/** A run that has to be over at a moment stops before it, saves, and ends with the same bytes when it goes on. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { FintuneError } from "../../src/errors.js";
import { parsePipeline } from "../../src/pipeline/config.js";
import { runPipeline } from "../../src/pipeline/runner.js";
import { maxRuntime, parseDeadline, type StopTime, stopSignalAt } from "../../src/pipeline/stop_time.js";
import { TimeLimit } from "../../src/stages/time_limit.js";
import { lines, put } from "../cli/cli.js";
import { tinyModel } from "./tiny.js";

describe("when a run has to be over", () => {
	const now = new Date(2026, 10, 26, 23, 10, 30);
	test("a clock time is the next such time", () => {
		expect(new Date(parseDeadline("23:11", now).at)).toEqual(new Date(2026, 10, 26, 23, 11));
		expect(new Date(parseDeadline("06:30", now).at)).toEqual(new Date(2026, 10, 27, 6, 30));
		expect(new Date(parseDeadline("23:10", now).at)).toEqual(new Date(2026, 10, 27, 23, 10));
	});
	test("a date with a time is that moment, past or not", () => {
		expect(parseDeadline("2026-11-26T20:00:00Z", now).at).toBe(Date.UTC(2026, 10, 26, 20));
	});
	test("anything else is refused", () => {
		for (const wrong of ["24:00", "6", "06:60", "noon", "2026-11-26"]) {
			expect(() => parseDeadline(wrong, now)).toThrowError(/--deadline .* is no time.*HH:MM/s);
		}
	});
	test("the signal fires at the moment, or with the given one", async () => {
		const soon = stopSignalAt(maxRuntime(0.02));
		await new Promise((resolve) => soon.signal!.addEventListener("abort", resolve));
		expect(soon.signal!.reason).toMatchObject({ code: "E_ABORTED", message: expect.stringContaining("--max-runtime 0.02s") });
		const given = new AbortController();
		const later = stopSignalAt(maxRuntime(1e9), given.signal);
		expect(later.signal!.aborted).toBe(false);
		given.abort("asked");
		expect(later.signal!.reason).toBe("asked");
		later.clear();
	});
});

test("the next step is begun only where the slowest step and a checkpoint fit", () => {
	let clock = 0;
	const told: string[] = [];
	const error = new FintuneError("E_ABORTED", "over");
	const limit = new TimeLimit(
		{ name: "one", now: () => clock, log: (line) => told.push(line), stopTime: { by: 100, error } },
		500e6,
	);
	limit.check(); // 5 s for a checkpoint of 500 MB
	for (const seconds of [10, 20, 10, 10, 10]) limit.stepTook(seconds, 40);
	expect(told).toEqual([expect.stringContaining("about 7 of the 40 steps left")]);
	clock = 75;
	limit.check();
	clock = 75.1;
	expect(() => limit.check()).toThrowError(error);
	clock = 70;
	limit.saveTook(12);
	expect(() => limit.check()).toThrowError(error);
});

let dir: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-stop-"));
	await tinyModel(join(dir, "model"));
	put(join(dir, "rows.jsonl"), lines(Array.from({ length: 12 }, (_, i) => ({ prompt: `Row ${i}:`, completion: " yes" }))));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const stage = { name: "one", type: "sft", data: [{ path: "rows.jsonl" }], lora: { r: 2 }, batch_size: 2, max_steps: 6 };
const text = stringify({ name: "small", model: "model", device: "cpu", dtype: "f32", threads: 1, stages: [stage] });
const progress = { update() {}, message() {}, end() {} };
/** A run whose every look at the clock takes a second. */
function run(out: string, stopTime?: StopTime) {
	let clock = 0;
	const now = (): number => ++clock;
	return runPipeline(parsePipeline(text, join(dir, "p.yaml")), { out, progress, now, ...(stopTime ? { stopTime } : {}) });
}
const adapter = (out: string) => readFileSync(join(out, "adapter", "adapter_model.safetensors"));
const journal = (out: string) =>
	readFileSync(join(out, "journal.jsonl"), "utf8")
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line) as Record<string, unknown>);

test("a run stops before its time is over and goes on from the checkpoint of that step", async () => {
	const [whole, parts] = [join(dir, "whole"), join(dir, "parts")];
	await run(whole);
	const outOfTime = { code: "E_ABORTED", message: expect.stringContaining("--max-runtime") };
	await expect(run(parts, maxRuntime(25))).rejects.toMatchObject(outOfTime);
	const saved = journal(parts).find(({ event }) => event === "checkpoint");
	expect(saved).toMatchObject({ reason: "stopped" });
	expect(saved!.step).toBeGreaterThan(0);
	expect(saved!.step).toBeLessThan(6);
	expect((await run(parts)).status).toBe("done");
	expect(journal(parts)).toContainEqual(expect.objectContaining({ event: "resumed", step: saved!.step }));
	expect(adapter(parts).equals(adapter(whole))).toBe(true);
});

test("where the time is over before the start, nothing is written", async () => {
	const out = join(dir, "late");
	await expect(run(out, parseDeadline("2020-01-01T00:00:00Z"))).rejects.toMatchObject({ code: "E_ABORTED" });
	expect(() => readFileSync(join(out, "journal.jsonl"))).toThrowError(/ENOENT/);
});
