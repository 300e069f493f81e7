import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fintune } from "../cli/cli.js";
import { everyStage, stagesOfEvery } from "../pipeline/every_stage.js";
import { artifacts, faultsOf, filesBelow, wholeLines } from "../pipeline/interrupted.js";
import { hasCompiler, preloadable, recorded } from "./record.js";

let dir: string;
let pipeline: string;
let recorder: string;
let clock: string;
let whole: Record<string, string>;
beforeAll(async () => {
	if (!hasCompiler) return;
	dir = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "fintune-clock-"));
	pipeline = await everyStage(dir);
	recorder = preloadable("record_calls.c", dir);
	clock = preloadable("shift_clock.c", dir);
	const { status, stderr } = await run(join(dir, "whole"));
	expect(status, stderr).toBe(0);
	whole = artifacts(join(dir, "whole"));
}, 300_000);
afterAll(() => {
	if (dir) rmSync(dir, { recursive: true, force: true });
});

const run = (out: string, env: Record<string, string> = {}) =>
	fintune(["run", pipeline, "--out", out, "--device", "cpu", "--json"], { env });
/** Killed in training, with two checkpoints. */
async function killed(name: string): Promise<string> {
	const out = join(dir, name);
	const { signal, stderr } = await run(out, recorded(recorder, out, join(dir, `${name}.calls`), "checkpoints/checkpoint-20:5"));
	expect(signal, stderr).toBe("SIGKILL");
	return out;
}
const statuses = (stdout: string): string[] => JSON.parse(stdout).stages.map((s: { status: string }) => s.status);
const changes = (out: string) =>
	filesBelow(join(out, "stages")).map((name) => [name, statSync(join(out, "stages", name)).mtimeMs]);

describe.skipIf(!hasCompiler)(`a run goes on${hasCompiler ? "" : " (skipped: needs Linux and cc)"}`, () => {
	it.each([
		["an hour back", -3600],
		["a year back", -365 * 24 * 3600],
		["to before there were such files", -55 * 365 * 24 * 3600],
		["a year ahead", 365 * 24 * 3600],
	])("where somebody has set the clock %s, and ends with the same bytes", { timeout: 300_000 }, async (_, seconds) => {
		const out = await killed(`clock${seconds}`);
		// The older of two checkpoints looks like the newer one.
		utimesSync(join(out, "stages", "sft", "checkpoints", "checkpoint-15"), new Date(), new Date(Date.now() + 3600_000));
		const env = { LD_PRELOAD: clock, FINTUNE_CLOCK_SHIFT: `${seconds}` };
		const again = await run(out, env);
		expect(again.status, again.stderr).toBe(0);
		expect(again.stderr).toContain("sft: goes on after step 20, from checkpoint-20");
		const ended = Date.parse(wholeLines(join(out, "journal.jsonl")).at(-1)!.time as string);
		expect(Math.abs(ended - Date.now() - 1000 * seconds)).toBeLessThan(60_000);
		expect(artifacts(out)).toEqual(whole);
		expect(await faultsOf(out)).toEqual([]);
		const before = changes(out);
		const reused = await run(out, env);
		expect(statuses(reused.stdout)).toEqual(stagesOfEvery.map(() => "reused"));
		expect(changes(out)).toEqual(before);
	});

	it("in another place, where its folder was moved to", { timeout: 300_000 }, async () => {
		const out = await killed("here");
		mkdirSync(join(dir, "over", "there"), { recursive: true });
		const moved = join(dir, "over", "there", "run");
		renameSync(out, moved);
		const again = await run(moved);
		expect(again.status, again.stderr).toBe(0);
		expect(again.stderr).toContain("sft: goes on after step 20, from checkpoint-20");
		expect(artifacts(moved)).toEqual(whole);
		expect(await faultsOf(moved)).toEqual([]);
		expect(existsSync(out)).toBe(false);
		renameSync(moved, out);
		expect(statuses((await run(out)).stdout)).toEqual(stagesOfEvery.map(() => "reused"));
	});
});
