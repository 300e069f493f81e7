import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PhiloxStream } from "../../src/philox.js";
import { manifestName } from "../../src/stages/manifest.js";
import { fintune } from "../cli/cli.js";
import { everyStage } from "../pipeline/every_stage.js";
import { artifacts, faultsOf, filesBelow } from "../pipeline/interrupted.js";
import { faultsAfterPowerCut, type Truth } from "./check.js";
import { Disk, type Fate } from "./disk.js";
import { type Call, hasCompiler, preloadable, readCalls, recorded } from "./record.js";

/** The soak tier (test/soak/power_loss.mjs) asks for more. */
const points = Number(process.env.FINTUNE_SOAK_POINTS ?? 40);
const reruns = Number(process.env.FINTUNE_SOAK_RERUNS ?? 3);
const seed = Number(process.env.FINTUNE_SOAK_SEED ?? 1);
const summary: Record<string, unknown> = { points, reruns, seed };

let dir: string;
let pipeline: string;
let library: string;
/** The folder that is recorded; the run lies in it. */
let place: string;
let calls: Call[];
let whole: Record<string, string>;
let wholeFiles: Map<string, Buffer>;

const run = (out: string, ...args: string[]): string[] => ["run", pipeline, "--out", out, "--device", "cpu", ...args];
/** A run that is recorded, up to its end or to where it is killed. */
async function record(kill: string | undefined, ...args: string[]): Promise<Call[]> {
	const to = join(dir, "calls");
	rmSync(to, { force: true });
	const { status, signal, stderr } = await fintune(run(join(place, "run"), ...args), {
		env: recorded(library, place, to, kill),
	});
	expect(kill === undefined ? status : signal, stderr).toBe(kill === undefined ? 0 : "SIGKILL");
	return readCalls(to);
}

beforeAll(async () => {
	if (!hasCompiler) return;
	// In memory, where there is such a place: what is synced counts here, not the time that it takes.
	dir = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "fintune-power-"));
	pipeline = await everyStage(dir);
	library = preloadable("record_calls.c", dir);
	const undisturbed = join(dir, "whole");
	const { status, stderr } = await fintune(run(undisturbed));
	expect(status, stderr).toBe(0);
	whole = artifacts(undisturbed);
	wholeFiles = new Map(filesBelow(undisturbed).map((name) => [name, readFileSync(join(undisturbed, name))]));

	place = join(dir, "place");
	// A run that was killed as soon as it had made this folder.
	mkdirSync(join(place, "run", "stages", "base"), { recursive: true });
	const made = ["run", "run/stages", "run/stages/base"].map((name): Call => ({ name: "mkdir", path: join(place, name) }));
	calls = [
		...made,
		...(await record("sft/checkpoints/checkpoint-20:5")),
		...(await record("synth/checkpoints/ner.answers.jsonl:3")),
		...(await record("final/checkpoints/ner.answers.jsonl:3")),
		...(await record(undefined)),
		...(await record("dpo/checkpoints/checkpoint-2:2", "--from", "probe")),
		...(await record(undefined)),
		...(await record(undefined)),
	];
	summary.calls = calls.length;
}, 600_000);
afterAll(() => {
	if (dir) rmSync(dir, { recursive: true, force: true });
	const file = process.env.FINTUNE_SOAK_SUMMARY;
	if (file) writeFileSync(file, `${JSON.stringify(summary, null, "\t")}\n`);
});

/** Half of them where something becomes or ceases to be durable, half anywhere. */
function chosenPoints(count: number, random: PhiloxStream): Set<number> {
	const turning = calls.flatMap(({ name }, i) => (name === "write" || name === "open" ? [] : [i, i + 1]));
	const chosen = new Set<number>();
	while (chosen.size < Math.min(count, calls.length)) {
		const from = chosen.size % 2 === 0 ? turning[random.nextBelow(turning.length)]! : random.nextBelow(calls.length + 1);
		chosen.add(from);
	}
	return chosen;
}

/** How bad a power cut is: nothing that was not synced is left; changes of folders up to some moment; any of them; all. */
const fates = {
	lost: (): Fate => ({ change: () => false, file: () => "synced", below: () => 0 }),
	ordered(random: PhiloxStream, changes: number): Fate {
		const until = changes - random.nextBelow(12);
		const kinds = ["synced", "part", "all"] as const;
		return {
			change: (number) => number <= until,
			file: () => kinds[random.nextBelow(3)]!,
			below: (limit) => random.nextBelow(limit),
		};
	},
	any(random: PhiloxStream): Fate {
		const kinds = ["synced", "part", "part", "all"] as const;
		return {
			change: () => random.nextBelow(2) === 1,
			file: () => kinds[random.nextBelow(4)]!,
			below: (limit) => random.nextBelow(limit),
		};
	},
	kept: (): Fate => ({ change: () => true, file: () => "all", below: () => 0 }),
};
type FateName = keyof typeof fates;
const fateNames = Object.keys(fates) as FateName[];

/** Every manifest of every folder when it was written. */
function manifestsOf(all: readonly Call[]): Truth["manifests"] {
	const disk = new Disk(place);
	const manifests = new Map<string, Set<string>>();
	const add = (folder: string, from: string): void => {
		const texts = manifests.get(folder) ?? new Set();
		texts.add(disk.files(dirname(from)).get(manifestName)!.toString());
		manifests.set(folder, texts);
	};
	for (const call of all) {
		disk.do(call);
		if (call.name !== "rename") continue;
		const to = relative(join(place, "run"), call.to);
		if (/^stages\/[^/]+\/manifest\.json$/.test(to)) add(dirname(to), call.to);
		if (/\/checkpoint-\d+$/.test(to)) add(to, join(call.to, manifestName));
	}
	return manifests;
}

/** Every answer that a stage kept, without the hash that its line ends with. */
function answersOf(all: readonly Call[]): Truth["answers"] {
	const opened = new Map<number, string>();
	const answers = new Map<string, Set<string>>();
	for (const call of all) {
		if (call.name === "open") opened.set(call.fd, call.path);
		if (call.name !== "write") continue;
		const stage = /\/stages\/([^/]+)\/checkpoints\/\w+\.answers\.jsonl/.exec(opened.get(call.fd)!)?.[1];
		if (stage === undefined) continue;
		const { sha256: _, ...answer } = JSON.parse(call.bytes.toString());
		answers.set(stage, (answers.get(stage) ?? new Set()).add(JSON.stringify(answer)));
	}
	return answers;
}

interface Cut {
	at: number;
	fate: FateName;
	/** Of the run folder. */
	folder: string;
	faults: string[];
}

/** Cuts the power at these points in every way, and looks at what is left. */
async function cutAt(
	chosen: ReadonlySet<number>,
	happened: readonly Call[],
	random: PhiloxStream,
	seen: (cut: Cut) => Promise<void>,
): Promise<void> {
	const manifests = manifestsOf(calls);
	const answers = answersOf(calls);
	const disk = new Disk(place);
	const isThere = (): boolean => disk.files(place).has("run/journal.jsonl");
	for (let at = 0; at <= happened.length; at++) {
		if (chosen.has(at)) {
			const journal = isThere() ? disk.files(place).get("run/journal.jsonl")!.toString() : "";
			for (const fate of fateNames) {
				const left = join(dir, "left");
				rmSync(left, { recursive: true, force: true });
				disk.powerCut(fates[fate](random, disk.changes), left);
				const folder = join(left, "run");
				const faults = await faultsAfterPowerCut(folder, { manifests, answers, journal, files: wholeFiles });
				await seen({ at, fate, folder, faults });
			}
		}
		if (at < happened.length) disk.do(happened[at]!);
	}
}

describe.skipIf(!hasCompiler)(`a power cut${hasCompiler ? "" : " (skipped: needs Linux and cc)"}`, () => {
	it("is played from a record of all that the runs did: with nothing lost, the folder is as it is", () => {
		const disk = new Disk(place);
		for (const call of calls) disk.do(call);
		const files = disk.files(place);
		expect([...files.keys()].sort()).toEqual(filesBelow(place));
		for (const [name, bytes] of files) expect(bytes.equals(readFileSync(join(place, name))), name).toBe(true);
		expect(artifacts(join(place, "run"))).toEqual(whole);
		expect(calls.filter((call) => call.name === "sync").length).toBeGreaterThan(100);
	});

	it(`at ${points} points: nothing half-done counts, nothing that was told of is gone, and ${reruns} runs go on to the same bytes`, {
		timeout: 24 * 3600_000,
	}, async () => {
		const random = new PhiloxStream(seed, [0, 0]);
		const chosen = chosenPoints(points, random);
		const every = Math.max(1, Math.floor((chosen.size * fateNames.length) / reruns));
		const counts: Record<string, number> = Object.fromEntries(fateNames.map((name) => [name, 0]));
		let cuts = 0;
		let again = 0;
		await cutAt(chosen, calls, random, async ({ at, fate, folder, faults }) => {
			const what = `seed ${seed}, before call ${at} of ${calls.length}, ${fate}`;
			expect(faults, what).toEqual([]);
			counts[fate]! += 1;
			cuts += 1;
			// An odd number of steps, so that every fate has its turn.
			if (cuts % (every | 1) !== 0) return;
			again += 1;
			const { status, stderr } = await fintune(run(folder));
			expect(status, `${what}\n${stderr}`).toBe(0);
			expect(artifacts(folder), what).toEqual(whole);
			expect(await faultsOf(folder), what).toEqual([]);
		});
		Object.assign(summary, { cuts: counts, ranAgain: again });
		expect(cuts).toBe(chosen.size * fateNames.length);
	});

	it.each([
		["files", (path: string) => path.includes(".")],
		["folders", (path: string) => !path.includes(".")],
	])("would show if %s were not synced", { timeout: 600_000 }, async (what, without) => {
		const opened = new Map<number, string>();
		const happened = calls.filter((call) => {
			if (call.name === "open") opened.set(call.fd, call.path);
			return call.name !== "sync" || !without(opened.get(call.fd)!.slice(place.length));
		});
		expect(happened.length).toBeLessThan(calls.length);
		const random = new PhiloxStream(seed, [1, 0]);
		const found = new Map<string, number>();
		await cutAt(chosenPoints(12, random), happened, random, async ({ fate, faults }) => {
			if (faults.length > 0) found.set(fate, (found.get(fate) ?? 0) + 1);
			if (fate === "kept") expect(faults, `seed ${seed}`).toEqual([]);
		});
		summary[`cutsWithFaultsWithoutSyncOf_${what}`] = Object.fromEntries(found);
		expect([...found.keys()]).toEqual(expect.arrayContaining(["lost", "any"]));
	});
});
