import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Champion } from "../../src/pipeline/champion/champion.js";
import { beyond, type KnownRun, prune, runsIn } from "../../src/pipeline/champion/retention.js";
import { rollBack, setChampion } from "../../src/pipeline/champion/rollback.js";
import { lockRunFolder } from "../../src/pipeline/lock.js";
import type { KeepConfig } from "../../src/pipeline/schema.js";
import { fintune, put } from "../cli/cli.js";
import { finishedRun } from "./finished_runs.js";

let base: string;
let dir: string;
let count = 0;
beforeAll(() => {
	base = mkdtempSync(join(tmpdir(), "fintune-retention-"));
});
beforeEach(() => {
	dir = join(base, `runs-${++count}`);
	mkdirSync(dir);
	told = [];
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

let told: string[] = [];
const tell = (line: string) => void told.push(line);
const daysAgo = (days: number): Date => new Date(Date.now() - days * 86_400_000);
/** Runs d0 (today), d1, ... */
async function days(howMany: number, more: object = {}): Promise<void> {
	for (let day = 0; day < howMany; day++)
		await finishedRun(join(dir, `d${day}`), day + 1, { docs: 12, ended: daysAgo(day), ...more });
}
const names = (): string[] =>
	readdirSync(dir)
		.filter((name) => /^[a-z]/.test(name) && !name.includes("."))
		.sort();
const keep = async (limits: KeepConfig, stay: string[] = []) =>
	prune(dir, await runsIn(dir, "nightly"), limits, { champions: [new Champion(join(dir, "champion"))], stay, tell });

describe("the runs beyond a limit", () => {
	const known = (day: number, bytes: number): KnownRun => ({ path: `d${day}`, name: "n", time: daysAgo(day), bytes, links: [] });
	const runs = [known(0, 4e9), known(1, 1e9), known(2, 1e9), known(3, 1e9)];
	const doomed = (limits: KeepConfig, safe: string[] = []) =>
		beyond(runs, limits, (run) => safe.includes(run.path), new Date()).map(({ run }) => run.path);

	it("are the oldest, by count, age or size, whichever is met first", () => {
		expect(doomed({})).toEqual([]);
		expect(doomed({ runs: 4, days: 5, gigabytes: 8 })).toEqual([]);
		expect(doomed({ runs: 2 })).toEqual(["d3", "d2"]);
		expect(doomed({ days: 1.5 })).toEqual(["d3", "d2"]);
		expect(doomed({ gigabytes: 5.5 })).toEqual(["d3", "d2"]);
		expect(doomed({ runs: 3, days: 1.5, gigabytes: 100 })).toEqual(["d3", "d2"]);
	});

	it("never hold the newest, nor a protected one, which takes room all the same", () => {
		expect(doomed({ runs: 1, days: 0.0001, gigabytes: 0.1 })).toEqual(["d3", "d2", "d1"]);
		expect(doomed({ runs: 2 }, ["d3"])).toEqual(["d2"]);
		expect(doomed({ gigabytes: 6 }, ["d3"])).toEqual(["d2"]);
	});
});

describe("retention", () => {
	it("deletes whole runs, tells and writes down each", async () => {
		await days(4);
		const { deleted, left } = await keep({ runs: 2 });
		expect(deleted.map(({ run }) => run.path)).toEqual([join(dir, "d3"), join(dir, "d2")]);
		expect(left).toEqual([]);
		expect(names()).toEqual(["d0", "d1"]);
		expect(told).toEqual([
			expect.stringMatching(/^deleted .*d3 \(.*\): 3 runs are newer, keep\.runs is 2$/),
			expect.stringMatching(/^deleted .*d2 \(.*\): 2 runs are newer, keep\.runs is 2$/),
		]);
		const written = readFileSync(join(dir, "pruned.jsonl"), "utf8").trimEnd().split("\n");
		expect(written.map((line) => JSON.parse(line))).toMatchObject([
			{ event: "deleted", run: "d3", bytes: expect.any(Number), why: "3 runs are newer, keep.runs is 2" },
			{ event: "deleted", run: "d2" },
		]);
	});

	it("spares champion, the one before it, a run that goes on, and the present one", async () => {
		await days(6);
		const champion = new Champion(join(dir, "champion"));
		for (const name of ["d5", "d4", "d3"]) await setChampion(champion, join(dir, name), tell);
		const lock = await lockRunFolder(join(dir, "d2"));
		const { left } = await keep({ runs: 1 }, [join(dir, "d1")]);
		lock.release();
		// d5 was champion twice ago: a second rollback is not promised.
		expect(names()).toEqual(["champion", "d0", "d1", "d2", "d3", "d4"]);
		expect(left).toMatchObject([{ run: { path: join(dir, "d2") }, because: "a run goes on in it" }]);
		expect(told).toContainEqual(expect.stringMatching(/^warning: .*d2 stays, although .*: a run goes on in it$/));
		await rollBack(champion, tell);
	});

	it("spares the champion of a link elsewhere, which the run's journal tells of", async () => {
		await days(3);
		await setChampion(new Champion(join(base, `live-${count}`)), join(dir, "d2"), tell);
		await keep({ runs: 1 });
		expect(names()).toEqual(["d0", "d2"]);
	});

	it("spares a run that becomes the champion while others are deleted", async () => {
		await days(4);
		const { left } = await prune(
			dir,
			await runsIn(dir),
			{ runs: 1 },
			{
				champions: [new Champion(join(dir, "champion"))],
				tell: (line) => {
					if (/^deleted .*d3/.test(line)) symlinkSync("d2", join(dir, "champion"));
				},
			},
		);
		expect(names()).toEqual(["champion", "d0", "d2"]);
		expect(left).toMatchObject([{ run: { path: join(dir, "d2") }, because: "it has become a champion" }]);
	});

	it("deletes nothing where a champion cannot be read", async () => {
		await days(3);
		mkdirSync(join(dir, "champion"));
		await expect(keep({ runs: 1 })).rejects.toMatchObject({ code: "E_CANNOT_CREATE" });
		expect(names()).toEqual(["champion", "d0", "d1", "d2"]);
	});

	it("passes over what is no run of this pipeline", async () => {
		await days(2);
		await finishedRun(join(dir, "other"), 1, { name: "weekly", ended: daysAgo(90) });
		put(join(dir, "notes", "config.resolved.yaml"), "name: nightly\n"); // no journal
		put(join(dir, "mine", "journal.jsonl"), "{}\n");
		symlinkSync(join(dir, "d1"), join(dir, "latest"));
		await keep({ runs: 1 });
		expect(names()).toEqual(["d0", "latest", "mine", "notes", "other"]);
	});

	it("clears away what a killed deletion has left", async () => {
		await days(1);
		put(join(dir, ".d9.4242.0123abcd.tmp", "stages", "x"), "rest");
		await keep({ runs: 5 });
		expect(readdirSync(dir).filter((name) => name.endsWith(".tmp"))).toEqual([]);
		expect(told).toEqual([expect.stringContaining("the rest of a deletion that was interrupted")]);
	});

	it("dates a run by the last event of its journal", async () => {
		await days(1);
		await finishedRun(join(dir, "old"), 1, { ended: daysAgo(40) });
		writeFileSync(join(dir, "old", "result.json"), "{}"); // touched today
		expect((await keep({ days: 30 })).deleted).toHaveLength(1);
	});
});

describe("fintune prune", () => {
	it("takes the limits of the newest run, and only says what it would do with --dry-run", async () => {
		await days(3, { keep: { runs: 2 } });
		const before = readdirSync(dir);
		const dry = await fintune(["prune", dir, "--dry-run"]);
		expect(dry).toMatchObject({ status: 0, stderr: "" });
		expect(dry.stdout).toMatch(/^would delete .*d2: 2 runs are newer, keep\.runs is 2\nwould free .* of 1 runs in /);
		expect(readdirSync(dir)).toEqual(before);
		const done = await fintune(["prune", dir, "--json"]);
		expect(JSON.parse(done.stdout)).toMatchObject({ dry_run: false, deleted: [{ run: join(dir, "d2") }], left: [] });
		expect(existsSync(join(dir, "d2"))).toBe(false);
	});

	it("asks for limits where there are none", async () => {
		await days(2);
		expect((await fintune(["prune", dir])).status).toBe(64);
		const done = await fintune(["prune", dir, "--days", "0.5"]);
		expect(done.status).toBe(0);
		expect(names()).toEqual(["d0"]);
		expect((await fintune(["prune", join(dir, "nowhere")])).status).toBe(66);
	});
});
