import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fintune, main } from "../cli/cli.js";
import { everyStage, stagesOfEvery } from "./every_stage.js";
import { artifacts, faultsOf, filesBelow, wholeLines } from "./interrupted.js";

const works = (...flags: string[]): boolean =>
	spawnSync("unshare", [...flags, "sh", "-c", "mount -t tmpfs tmpfs /mnt && mount -o remount,size=1m /mnt"]).status === 0;
/** Root may mount for itself; others may where the kernel lets them be root of a namespace of their own. */
const unshare = [["-m"], ["-rm"]].find((flags) => works(...flags));

/** The soak tier (test/soak/disk.mjs) asks for more. */
const sizes = Number(process.env.FINTUNE_SOAK_SIZES ?? 6);
const summary: Record<string, unknown> = { sizes };

let dir: string;
let pipeline: string;
let whole: Record<string, string>;
/** Bytes that a disk needs up to the end of each stage, without checkpoints; first those before the first. */
let needed: number[];
beforeAll(async () => {
	if (!unshare) return;
	dir = mkdtempSync(join(tmpdir(), "fintune-disk-"));
	mkdirSync(join(dir, "disk"));
	pipeline = await everyStage(dir);
	const out = join(dir, "whole");
	const { status, stderr } = await fintune(["run", pipeline, "--out", out, "--device", "cpu"]);
	expect(status, stderr).toBe(0);
	whole = artifacts(out);
	const onPages = (names: readonly string[]): number =>
		names.reduce((sum, name) => sum + 4096 * Math.ceil(statSync(join(out, name)).size / 4096), 0);
	needed = [onPages(["config.resolved.yaml", "journal.jsonl", "status.json", ".lock"])];
	for (const stage of stagesOfEvery) {
		const names = filesBelow(join(out, "stages", stage)).filter((name) => !name.startsWith("checkpoints/"));
		needed.push(needed.at(-1)! + onPages(names.map((name) => join("stages", stage, name))));
	}
}, 300_000);
afterAll(() => {
	if (dir) rmSync(dir, { recursive: true, force: true });
	const file = process.env.FINTUNE_SOAK_SUMMARY;
	if (file) writeFileSync(file, `${JSON.stringify(summary, null, "\t")}\n`);
});

interface Step {
	/** Options of the mount from now on. */
	mount: string;
	status: number | null;
	stderr: string;
	/** A copy of the run folder after it. */
	kept: string;
}

/** Runs once after every change of a small file system that only this process sees. */
function onDisk(mounts: readonly string[], args: readonly string[] = []): Step[] {
	const kept = mkdtempSync(join(dir, "kept-"));
	const script = `
		disk=$1 kept=$2; shift 2
		step=0
		for options in ${mounts.join(" ")}; do
			step=$((step + 1))
			if [ $step = 1 ]; then mount -t tmpfs -o $options tmpfs $disk; else mount -o remount,$options $disk; fi || exit 99
			"$@" >$kept/stdout-$step 2>$kept/stderr-$step; echo $? >$kept/status-$step
			cp -a $disk/run $kept/run-$step || exit 98
		done`;
	const disk = join(dir, "disk");
	const command = [process.execPath, main, "run", pipeline, "--out", join(disk, "run"), "--device", "cpu", ...args];
	const { status, stderr } = spawnSync("unshare", [...unshare!, "sh", "-c", script, "sh", disk, kept, ...command], {
		encoding: "utf8",
		env: { ...process.env, NO_COLOR: "1" },
	});
	expect(status, stderr).toBe(0);
	return mounts.map((mount, i) => ({
		mount,
		status: Number(readFileSync(join(kept, `status-${i + 1}`), "utf8")),
		stderr: readFileSync(join(kept, `stderr-${i + 1}`), "utf8"),
		kept: join(kept, `run-${i + 1}`),
	}));
}

const isFinished = (out: string, stage: string): boolean => existsSync(join(out, "stages", stage, "manifest.json"));
/** Files of finished stages with the time of their last change. */
const finishedFiles = (out: string): Record<string, number> =>
	Object.fromEntries(
		stagesOfEvery
			.filter((stage) => isFinished(out, stage))
			.flatMap((stage) => filesBelow(join(out, "stages", stage)).map((name) => join("stages", stage, name)))
			.map((name) => [name, statSync(join(out, name)).mtimeMs]),
	);

describe.skipIf(!unshare)(`a small disk${unshare ? "" : " (skipped: needs unshare and a mount of its own)"}`, () => {
	it(`that is full in one of ${sizes} places: status 74, what was finished is kept, and with room again the same bytes`, {
		timeout: 3600_000,
	}, () => {
		const stoppedIn: Record<string, number> = {};
		// Without checkpoints a full disk is met by the writing itself, with them mostly by the look at the room for one.
		const never = ["base", "sft", "dpo"].flatMap((stage) => ["--set", `stages.${stage}.save_steps=1000`]);
		for (let i = 0; i < sizes; i++) {
			// Each stage in turn, at another place of it every time.
			const stage = i % stagesOfEvery.length;
			const share = 0.2 + (0.7 * ((i * 5) % sizes)) / sizes;
			const inStage = needed[stage]! + share * (needed[stage + 1]! - needed[stage]!);
			for (const [how, size, args] of [
				["without checkpoints", inStage / 1024, never],
				["with checkpoints", 900 + (1200 * i) / sizes, []],
			] as const) {
				const what = `${how}, ${Math.round(size)} KiB`;
				const [full, roomy] = onDisk([`size=${Math.round(size)}k`, "size=256m"], args) as [Step, Step];
				expect(full.status, `${what}\n${full.stderr}`).toBe(74);
				expect(full.stderr, what).toMatch(/\/disk\/run[^\n]*(no space left on the device|the disk is nearly full)/);
				expect(full.stderr, what).toMatch(/free some space and run[^\n]*\(E_IO\)\n$/);
				if (existsSync(join(full.kept, "journal.jsonl"))) wholeLines(join(full.kept, "journal.jsonl"));
				const before = finishedFiles(full.kept);
				const place = stagesOfEvery.find((stage) => !isFinished(full.kept, stage)) ?? "the end";
				stoppedIn[`${place} ${how}`] = (stoppedIn[`${place} ${how}`] ?? 0) + 1;

				expect(roomy.status, `${what}\n${roomy.stderr}`).toBe(0);
				// How often it saves stands in the file, and changes nothing else.
				const there = { ...artifacts(roomy.kept), "config.resolved.yaml": whole["config.resolved.yaml"] };
				expect(there, what).toEqual(whole);
				expect(finishedFiles(roomy.kept), what).toMatchObject(before);
			}
		}
		summary.stoppedIn = stoppedIn;
		expect(Object.keys(stoppedIn).length).toBeGreaterThan(3);
	});

	it("that becomes read-only: status 73, and nothing is touched", { timeout: 300_000 }, async () => {
		const [done, readOnly, again] = onDisk(["size=64m", "ro", "rw"]) as [Step, Step, Step];
		expect(done.status, done.stderr).toBe(0);
		expect(readOnly.status, readOnly.stderr).toBe(73);
		expect(readOnly.stderr).toMatch(/^fintune: [^\n]*\/disk\/run\/[^\n]*read-only[^\n]*\(E_CANNOT_CREATE\)\n$/);
		expect(artifacts(readOnly.kept)).toEqual(whole);
		expect(await faultsOf(readOnly.kept)).toEqual([]);
		expect(again.status, again.stderr).toBe(0);
		expect(finishedFiles(again.kept)).toEqual(finishedFiles(done.kept));
	});

	it("that was read-only from the start: status 73", () => {
		const disk = join(dir, "disk");
		const prefix = [...unshare!, "sh", "-c", `mount -t tmpfs -o ro tmpfs ${disk} && exec "$@"`, "sh"];
		const { status, stderr } = spawnSync(
			"unshare",
			[...prefix, process.execPath, main, "run", pipeline, "--out", `${disk}/run`],
			{
				encoding: "utf8",
			},
		);
		expect(status, stderr).toBe(73);
		expect(stderr).toContain("read-only");
	});
});
