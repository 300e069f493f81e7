/** `fintune status`, `watch`, `runs` and `compare` on runs that go on, have ended, were killed or are damaged. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Heartbeat } from "../../src/pipeline/heartbeat.js";
import { lockRunFolder } from "../../src/pipeline/lock.js";
import { processStart } from "../../src/pipeline/process_alive.js";
import { readRunState } from "../../src/pipeline/runs/state.js";
import { RunLog } from "../../src/pipeline/telling/run_log.js";
import { pipelineText, smallSft, tinyModel, tinyTaskData } from "../pipeline/tiny.js";
import { type Finished, fintune, lines, main, put } from "./cli.js";

let dir: string;
const at = (...parts: string[]): string => join(dir, ...parts);
const json = (...parts: string[]) => JSON.parse(readFileSync(at(...parts), "utf8"));
const evaluate = (name: string) => ({ name, type: "evaluate", tasks: ["ner"], max_new_tokens: 4 });
const children: ChildProcess[] = [];

beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-runs-"));
	await tinyModel(at("model"));
	tinyTaskData(at("data"));
	put(at("rows.jsonl"), lines([{ prompt: "Row 1:", completion: " yes" }]));
	put(at("p.yaml"), pipelineText([evaluate("before"), smallSft(), evaluate("after")]));
	put(at("long.yaml"), pipelineText([evaluate("before"), smallSft({ max_steps: 1_000_000 }), evaluate("after")]));
	const done = await fintune(["run", at("p.yaml"), "--out", at("runs", "a")]);
	expect(done.status, done.stderr).toBe(0);
	const other = ["run", at("p.yaml"), "--out", at("runs", "b"), "--set", "stages.sft.learning_rate=0.05", "--set", "seed=7"];
	expect((await fintune(other)).status).toBe(0);
});
afterAll(() => {
	for (const child of children) child.kill("SIGKILL");
	rmSync(dir, { recursive: true, force: true });
});

/** Starts a run that does not end by itself, and waits for a heartbeat that tells of its training. */
async function running(name: string): Promise<{ out: string; run: ChildProcess; ended: Promise<number | null> }> {
	const out = at("runs", name);
	const run = spawn(process.execPath, [main, "run", at("long.yaml"), "--out", out], { stdio: "ignore" });
	children.push(run);
	const ended = new Promise<number | null>((done) => run.on("exit", done));
	while (!existsSync(join(out, "status.json")) || json("runs", name, "status.json").progress?.stage !== "sft") await sleep(50);
	return { out, run, ended };
}
/** Follows a run; `output` grows. */
function watch(out: string): { child: ChildProcess; output: () => string; ended: Promise<Finished> } {
	let child!: ChildProcess;
	let text = "";
	const ended = fintune(["watch", out], {
		started(process) {
			child = process;
			process.stdout!.on("data", (chunk: string) => {
				text += chunk;
			});
		},
	});
	return { child, output: () => text, ended };
}

describe("status", () => {
	it("of a run that is over: 0, its stages and how it ended", async () => {
		const { status, stdout, stderr } = await fintune(["status", at("runs", "a")]);
		expect(status, stderr).toBe(0);
		expect(stdout).toMatch(/a: done \(exit status 0\), \d{4}-\d\d-\d\d/);
		expect(stdout).toMatch(/^before +evaluate +done/m);
		const document = JSON.parse((await fintune(["status", at("runs", "a"), "--json"])).stdout);
		expect(document).toMatchObject({ name: "small", state: "done", exit_status: 0, host: hostname() });
		expect(document.stages.map((s: { name: string; status: string }) => `${s.name} ${s.status}`)).toEqual([
			"before done",
			"sft done",
			"after done",
		]);
	});

	it("of a run that failed: 0 as well, with the error", async () => {
		const stages = [smallSft(), smallSft({ name: "second", data: [{ path: "gone.jsonl" }] }), evaluate("e")];
		const file = put(at("fails.yaml"), pipelineText(stages));
		expect((await fintune(["run", file, "--out", at("runs", "failed")])).status).toBe(66);
		const { status, stdout } = await fintune(["status", at("runs", "failed")]);
		expect(status).toBe(0);
		expect(stdout).toMatch(/failed \(exit status 66\)/);
		expect(stdout).toMatch(/^second +sft +failed/m);
		expect(stdout).toMatch(/^e +evaluate$/m);
		expect(stdout).toMatch(/gone\.jsonl.*no such file[\s\S]*\(E_NOT_FOUND\)\n$/);
	});

	it("of no run: 66", async () => {
		for (const path of [dir, at("nothing")]) {
			const { status, stderr } = await fintune(["status", path]);
			expect(status).toBe(66);
			expect(stderr).toMatch(/is no run folder/);
		}
	});

	it("tells a run that goes on from one that was killed, and watch ends with it", async () => {
		const { out, run, ended } = await running("killed");
		const watching = watch(out);
		const now = JSON.parse((await fintune(["status", out, "--json"])).stdout);
		expect(now).toMatchObject({ state: "running", pid: run.pid, progress: { stage: "sft", total: 1_000_000, unit: "step" } });
		expect(now.progress.loss).toBeGreaterThan(0);
		expect(now.age).toBeLessThan(60);
		expect(now.stages.map((s: { name: string; status: string }) => `${s.name} ${s.status}`)).toEqual([
			"before done",
			"sft running",
			"after open",
		]);
		const people = await fintune(["status", out]);
		expect(people.stdout).toMatch(new RegExp(`running on ${hostname()}, pid ${run.pid}, since .*; heartbeat`));
		expect(people.stdout).toMatch(/^sft {2}step \d+\/1000000 {2}loss/m);
		while (!/sft {2}step/.test(watching.output())) await sleep(50);
		run.kill("SIGKILL");
		await ended;
		const watched = await watching.ended;
		expect(watched.status).toBe(75);
		expect(watched.stdout).toMatch(/killed: died on .*there is no process/);
		expect(watched.stdout).not.toContain("\u001b");
		const { status, stdout } = await fintune(["status", out]);
		expect(status).toBe(0);
		expect(stdout).toMatch(/died on .*last heartbeat .*there is no process \d+\n {2}the same fintune run goes on/);
		expect(stdout).toMatch(/^sft +sft +died/m);
	});

	it("goes by pid and start of the process, on another host by the heartbeat's age", async () => {
		const folder = at("made");
		mkdirSync(folder);
		const status = (more: object): void =>
			writeFileSync(
				join(folder, "status.json"),
				JSON.stringify({
					status: "running",
					stages: [],
					pid: process.pid,
					host: hostname(),
					started: "2026-01-01T00:00:00Z",
					updated: new Date().toISOString(),
					...more,
				}),
			);
		const state = async (): Promise<string> => (await readRunState(folder)).state;
		const old = { updated: new Date(Date.now() - 600_000).toISOString() };
		status({ process: processStart(process.pid), ...old });
		expect(await state()).toBe(processStart(process.pid) === undefined ? "silent" : "running");
		if (processStart(process.pid) !== undefined) {
			status({ process: processStart(1) ?? "another" });
			expect(await state()).toBe("died");
		}
		status({ host: "elsewhere", pid: 1 });
		expect(await state()).toBe("running");
		status({ host: "elsewhere", pid: 1, ...old });
		expect(await readRunState(folder)).toMatchObject({ state: "silent", why: expect.stringContaining("no heartbeat for 600 s") });
		// What was written before heartbeats.
		writeFileSync(
			join(folder, "status.json"),
			JSON.stringify({ status: "done", stages: [], pid: 1, updated: "2026-01-01T00:00:00Z" }),
		);
		expect(await state()).toBe("done");
	});

	it("never stands in the way of a run that starts", async () => {
		let reading = true;
		const reader = (async () => {
			let times = 0;
			for (; reading; times++) {
				await readRunState(at("runs", "a"));
				await sleep(0);
			}
			return times;
		})();
		for (let i = 0; i < 200; i++) {
			(await lockRunFolder(at("runs", "a"))).release();
			await sleep(1);
		}
		reading = false;
		expect(await reader).toBeGreaterThan(10);
	});
});

describe("watch", () => {
	it("of a run that is over ends at once, with its status", async () => {
		expect(await fintune(["watch", at("runs", "a")])).toMatchObject({
			status: 0,
			stdout: expect.stringMatching(/^\S*a: done \(exit status 0\)/),
		});
		expect((await fintune(["watch", at("nothing")])).status).toBe(66);
	});

	it("ends with 75 where the run is stopped, and with 130 where it is interrupted itself", async () => {
		const { out, run, ended } = await running("stopped");
		const [one, two] = [watch(out), watch(out)];
		while (!/sft {2}step/.test(one.output()) || !/sft {2}step/.test(two.output())) await sleep(50);
		one.child.kill("SIGINT");
		expect((await one.ended).status).toBe(130);
		run.kill("SIGTERM");
		expect(await ended).toBe(75);
		const watched = await two.ended;
		expect(watched.status, watched.stderr).toBe(75);
		expect(watched.stdout).toMatch(/^sft: checkpoint$/m);
		expect(watched.stdout).toMatch(/stopped \(exit status 75\)[\s\S]*stopped by SIGTERM[\s\S]*\(E_ABORTED\)\n$/);
	});

	it.skipIf(spawnSync("script", ["--version"]).error !== undefined)(
		"on a terminal has one live line, of a stage that is at work",
		async () => {
			const out = at("terminal");
			mkdirSync(out);
			const heartbeat = new Heartbeat(join(out, "status.json"), 0.05);
			const log = await RunLog.open(join(out, "log.jsonl"));
			const working = { status: "running", stage: "sft", iteration: 1, stages: [] } as const;
			await heartbeat.write(working);
			heartbeat.progress.update({ stage: "sft", step: 3, total: 9 });
			let text = "";
			const command = `stty cols 80; '${process.execPath}' '${main}' watch '${out}'`;
			const terminal = spawn("script", ["-qefc", command, "/dev/null"], { env: { ...process.env, TERM: "xterm" } });
			children.push(terminal);
			terminal.stdout.on("data", (chunk: Buffer) => {
				text += chunk;
			});
			const ended = new Promise<number | null>((done) => terminal.on("exit", done));
			const shown = async (part: string) => {
				while (!text.includes(part)) await sleep(20);
			};
			await shown("step 3/9");
			log.event({ event: "done", stage: "sft" });
			log.progress.message("ner: 4 rows");
			await shown("ner: 4 rows");
			await sleep(700);
			const [before, after] = text.split("sft: done") as [string, string];
			expect(before).toContain("\u001b[1msft\u001b[22m");
			expect(before.endsWith("\r\u001b[2K")).toBe(true);
			expect(after).not.toContain("step 3/9");
			await heartbeat.write({ ...working, status: "done", exit_status: 0 });
			expect(await ended).toBe(0);
			expect(text.trimEnd()).toMatch(/terminal: done \(exit status 0\), [-0-9]+ [:0-9]+$/);
			log.close();
		},
	);
});

describe("runs", () => {
	it("lists the newest first with state, stages and metrics, damaged ones too, and nothing else", async () => {
		const list = at("list");
		for (const name of ["a", "b"]) cpSync(at("runs", name), join(list, name), { recursive: true });
		cpSync(at("runs", "a"), join(list, "broken"), { recursive: true });
		writeFileSync(join(list, "broken", "status.json"), '{"status": "do');
		put(join(list, "notes", "readme.txt"), "not a run");
		put(join(list, "file"), "nor this");
		cpSync(at("runs", "a"), join(list, "nightly", "2026-08-21"), { recursive: true });
		symlinkSync("2026-08-21", join(list, "nightly", "newest"));
		// What a retention that was killed leaves of a run.
		cpSync(at("runs", "a"), join(list, ".c.123.0123abcd.tmp"), { recursive: true });
		const { status, stdout, stderr } = await fintune(["runs", list, "--json"]);
		expect(status, stderr).toBe(0);
		const runs = JSON.parse(stdout);
		expect(runs.map((run: { folder: string; state: string }) => `${run.folder} ${run.state}`)).toEqual([
			`${join(list, "b")} done`,
			`${join(list, "a")} done`,
			`${join(list, "nightly", "2026-08-21")} done`,
			`${join(list, "broken")} damaged`,
		]);
		expect(runs[0].seconds).toBeGreaterThan(0);
		expect(runs[0].main).toEqual({ "after.ner.entity_f1": expect.any(Number) });
		expect(runs[3].why).toMatch(/status\.json: is not JSON/);
		const people = await fintune(["runs"], { cwd: dir });
		expect(people.status).toBe(0);
		expect(people.stdout).toMatch(/^a +done +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +[\d.]+ s +3\/3 +ner\.entity_f1 [\d.]+$/m);
		expect((await fintune(["runs", at("nothing")])).status).toBe(66);
		expect((await fintune(["runs", at("model")])).stdout).toMatch(/no runs/);
	});
});

describe("compare", () => {
	it("shows what differs in the configs, the metrics, and a paired test of the same documents", async () => {
		const { status, stdout, stderr } = await fintune(["compare", at("runs", "a"), at("runs", "b"), "--json"]);
		expect(status, stderr).toBe(0);
		const { config, metrics, tests } = JSON.parse(stdout);
		expect(config).toEqual([
			{ path: "seed", a: 42, b: 7 },
			{ path: "stages.sft.learning_rate", a: expect.any(Number), b: 0.05 },
		]);
		const loss = metrics.find((m: { stage: string; metric: string }) => m.stage === "sft" && m.metric === "loss");
		expect(loss.difference).toBeCloseTo(loss.b - loss.a, 12);
		expect(tests.map((t: { stage: string; task: string; n: number }) => [t.stage, t.task, t.n])).toEqual([
			["before", "ner", 4],
			["after", "ner", 4],
		]);
		expect(tests[0].leaderboard.difference).toBe(0);
		const people = await fintune(["compare", at("runs", "a"), at("runs", "b")]);
		expect(people.stdout).toMatch(/^stages\.sft\.learning_rate +\S+ +0\.05$/m);
		expect(people.stdout).toMatch(/^before: ner \(entity_f1, n = 4\)$/m);
		expect(people.stdout).toMatch(/^sft +loss +\S+ +\S+ +[+−]?[\d.e-]+$/m);
		const same = await fintune(["compare", at("runs", "a"), at("runs", "a")]);
		expect(same.stdout).toMatch(/The configs are the same\.\n\n\d+ metrics are the same\./);
		expect((await fintune(["compare", at("runs", "a"), dir])).status).toBe(66);
	});

	it("says where answers are not to the same documents", async () => {
		const out = at("runs", "fewer");
		const args = ["run", at("p.yaml"), "--out", out, "--set", "stages.after.limit=2"];
		expect((await fintune(args)).status).toBe(0);
		const { status, stdout } = await fintune(["compare", at("runs", "a"), out]);
		expect(status).toBe(0);
		expect(stdout).toMatch(/^stages\.after\.limit +– +2$/m);
		expect(stdout).toMatch(/^after: ner: not tested: .*not of the same documents/m);
	});
});
