/** status.json and log.jsonl of a run, and its log lines on stderr. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parsePipeline } from "../../src/pipeline/config.js";
import { Heartbeat, type StatusDocument } from "../../src/pipeline/heartbeat.js";
import { runPipeline } from "../../src/pipeline/runner.js";
import { RunLog, readLog } from "../../src/pipeline/telling/run_log.js";
import { fintune, lines, main, put } from "../cli/cli.js";
import { wholeLines } from "./interrupted.js";
import { pipelineText, smallSft, tinyModel } from "./tiny.js";

let dir: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-telling-"));
	await tinyModel(join(dir, "model"));
	put(join(dir, "rows.jsonl"), lines([{ prompt: "Row 1:", completion: " yes" }]));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const json = (...parts: string[]) => JSON.parse(readFileSync(join(...parts), "utf8"));
const silent = { update() {}, message() {}, end() {} };

describe("the heartbeat", () => {
	it("renews status.json with the newest progress, whole at every moment, until the run is over", async () => {
		const path = join(dir, "status.json");
		const heartbeat = new Heartbeat(path, 0.01);
		await heartbeat.write({ status: "running", stage: "sft", iteration: 1, stages: [] });
		const first = json(path) as StatusDocument;
		expect(first).toMatchObject({ status: "running", stage: "sft", pid: process.pid, host: hostname() });
		expect(Math.abs(Date.parse(first.updated) - Date.parse(first.started))).toBeLessThan(5000);
		const seen = new Set<number | undefined>();
		for (let step = 1; seen.size < 5; step++) {
			heartbeat.progress.update({ stage: "sft", step, total: 1e6, loss: 1 / step, tokensPerSecond: 99.6 });
			seen.add((json(path) as StatusDocument).progress?.step);
			await sleep(2);
		}
		const later = json(path) as StatusDocument;
		expect(later.progress).toMatchObject({ stage: "sft", total: 1e6, unit: "step", tokens_per_second: 100 });
		expect(later.progress!.seconds_left).toBeGreaterThan(0);
		expect(Date.parse(later.updated)).toBeGreaterThan(Date.parse(first.updated));
		expect(later.started).toBe(first.started);
		await heartbeat.write({ status: "done", exit_status: 0, stages: [] });
		const last = readFileSync(path, "utf8");
		expect(JSON.parse(last)).toMatchObject({ status: "done", exit_status: 0 });
		expect(JSON.parse(last)).not.toHaveProperty("progress");
		await sleep(50);
		expect(readFileSync(path, "utf8")).toBe(last);
		expect(readdirSync(dir).filter((name) => name.endsWith(".tmp"))).toEqual([]);
	});

	it("that cannot be written disturbs nothing", async () => {
		const folder = join(dir, "gone");
		mkdirSync(folder);
		const heartbeat = new Heartbeat(join(folder, "status.json"), 0.01);
		await heartbeat.write({ status: "running", stages: [] });
		rmSync(folder, { recursive: true });
		await sleep(60);
		heartbeat.stop();
		await expect(heartbeat.write({ status: "done", stages: [] })).resolves.toBeUndefined();
	});

	it("does not keep a process alive", () => {
		const script = `
			import { Heartbeat } from ${JSON.stringify(join(main, "..", "..", "pipeline", "heartbeat.js"))};
			await new Heartbeat(${JSON.stringify(join(dir, "child.json"))}, 0.1).write({ status: "running", stages: [] });
			throw new Error("on purpose");`;
		const begun = performance.now();
		const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { timeout: 60_000 });
		expect(status, String(stderr)).toBe(1);
		expect(String(stderr)).toContain("on purpose");
		expect(performance.now() - begun).toBeLessThan(30_000);
		expect(json(dir, "child.json").status).toBe("running");
	});
});

describe("log.jsonl", () => {
	it("holds messages, stages and progress of every process that worked in the folder", async () => {
		const out = join(dir, "logged");
		const pipeline = parsePipeline(pipelineText([smallSft()]), join(dir, "p.yaml"));
		await runPipeline(pipeline, { out, progress: silent });
		const first = wholeLines(join(out, "log.jsonl"));
		for (const line of first) {
			expect(line).toMatchObject({
				level: expect.stringMatching(/^(info|warn|error)$/),
				pid: process.pid,
				msg: expect.any(String),
			});
			expect(Math.abs(Date.parse(line.time as string) - Date.now())).toBeLessThan(600_000);
		}
		expect(first.flatMap((line) => (line.event ? [`${line.event} ${line.stage ?? ""}`] : []))).toEqual([
			"run ",
			"started sft",
			"done sft",
			"ended ",
		]);
		expect(first.find((line) => line.step === 3)).toMatchObject({
			stage: "sft",
			total: 3,
			unit: "step",
			loss: expect.any(Number),
		});
		expect(first.some((line) => /^sft: .* tokens min/.test(line.msg as string))).toBe(true);
		await runPipeline(pipeline, { out, progress: silent });
		const both = wholeLines(join(out, "log.jsonl"));
		expect(both.slice(0, first.length)).toEqual(first);
		expect(both.slice(first.length).map((line) => line.event)).toEqual(["run", "reused", "ended"]);
		expect(json(out, "status.json")).toMatchObject({ status: "done", exit_status: 0 });
	});

	it("names what stopped a run, and so does status.json", async () => {
		const out = join(dir, "failed");
		const pipeline = parsePipeline(pipelineText([smallSft({ data: [{ path: "gone.jsonl" }] })]), join(dir, "p.yaml"));
		await expect(runPipeline(pipeline, { out, progress: silent })).rejects.toMatchObject({ code: "E_NOT_FOUND" });
		expect(wholeLines(join(out, "log.jsonl")).at(-1)).toMatchObject({
			level: "error",
			event: "ended",
			status: "failed",
			exit_status: 66,
			code: "E_NOT_FOUND",
			msg: expect.stringContaining("gone.jsonl"),
		});
		expect(json(out, "status.json")).toMatchObject({ status: "failed", exit_status: 66, error: { code: "E_NOT_FOUND" } });
	});

	it("goes on behind a line that a power cut left in part, and is read in whole lines", async () => {
		const path = put(join(dir, "torn.jsonl"), `${JSON.stringify({ level: "info", msg: "one" })}\n{"level":"in`);
		expect(readLog(path, 0).lines.map((line) => line.msg)).toEqual(["one"]);
		const log = await RunLog.open(path);
		log.progress.message("two");
		const { lines: read, end } = readLog(path, 0);
		expect(read.map((line) => line.msg)).toEqual(["one", "two"]);
		log.progress.message("drei\n€");
		expect(readLog(path, end).lines.map((line) => line.msg)).toEqual(["drei\n€"]);
		log.close();
		writeFileSync(path, "");
		expect(readLog(path, end)).toEqual({ lines: [], end: 0 });
	});

	it("begins a new file where one is full, keeps so many older ones, and says which lines are gone; a reader misses none", async () => {
		const path = join(dir, "rotated", "log.jsonl");
		mkdirSync(join(dir, "rotated"));
		const log = await RunLog.open(path, { mostBytes: 2000, olderFiles: 2 });
		const told: string[] = [];
		let at = 0;
		for (let i = 0; i < 100; i++) {
			log.progress.message(`line ${i}`);
			if (i % 3 > 0) continue;
			const { lines: read, end } = readLog(path, at);
			at = end;
			told.push(...read.map(({ msg }) => msg));
		}
		told.push(...readLog(path, at).lines.map(({ msg }) => msg));
		log.close();
		expect(told.filter((msg) => msg.startsWith("line"))).toEqual(Array.from({ length: 100 }, (_, i) => `line ${i}`));
		expect(readdirSync(join(dir, "rotated")).sort()).toEqual(["log.1.jsonl", "log.2.jsonl", "log.jsonl"]);
		const kept = ["log.2.jsonl", "log.1.jsonl", "log.jsonl"].map((name) => wholeLines(join(dir, "rotated", name)));
		for (const name of ["log.1.jsonl", "log.2.jsonl"])
			expect(statSync(join(dir, "rotated", name)).size).toBeLessThanOrEqual(2000);
		const numbers = kept.flat().flatMap(({ msg }) => (String(msg).startsWith("line") ? [Number(String(msg).slice(5))] : []));
		expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, i) => 100 - numbers.length + i));
		expect(kept[2]![0]).toMatchObject({
			event: "log rotated",
			before: "log.1.jsonl",
			deleted: "log.2.jsonl",
			msg: "log: the lines before are in log.1.jsonl; what was in log.2.jsonl is deleted",
		});
		expect(told[told.indexOf("log: the lines before are in log.1.jsonl") - 1]).toMatch(/^line \d+$/);
	});

	it("that cannot be opened disturbs nothing", async () => {
		mkdirSync(join(dir, "unlogged", "log.jsonl"), { recursive: true });
		const pipeline = parsePipeline(pipelineText([smallSft()]), join(dir, "p.yaml"));
		const messages: string[] = [];
		const progress = { ...silent, message: (line: string) => void messages.push(line) };
		const result = await runPipeline(pipeline, { out: join(dir, "unlogged"), progress });
		expect(result.exitStatus).toBe(0);
		expect(messages.at(-1)).toMatch(/log\.jsonl: lines are missing: /);
	});

	it.skipIf(spawnSync("prlimit", ["--version"]).error !== undefined)(
		"that has no room for more stops no run, and ends with a whole line",
		async () => {
			const most = 4_000_000;
			const line = `${JSON.stringify({ level: "info", msg: "x".repeat(1000) })}\n`;
			const full = line.repeat(Math.floor(most / line.length));
			const out = join(dir, "full");
			put(join(out, "log.jsonl"), full);
			const file = put(join(dir, "full.yaml"), pipelineText([smallSft()]));
			const prefix = ["prlimit", `--fsize=${most}`];
			const { status, stdout, stderr } = await fintune(["run", file, "--out", out], { prefix });
			expect(status, stderr).toBe(0);
			expect(stdout).toMatch(/^done: /);
			expect(stderr).toMatch(/log\.jsonl: lines are missing: EFBIG/);
			const text = readFileSync(join(out, "log.jsonl"), "utf8");
			expect(text.startsWith(full)).toBe(true);
			for (const added of text.slice(full.length).trimEnd().split("\n").filter(Boolean)) JSON.parse(added);
			expect(text.endsWith("\n")).toBe(true);
		},
	);

	it("keeps its newest lines, whole and of 10 kB at most", async () => {
		const log = await RunLog.open(join(dir, "tail.jsonl"));
		for (let i = 0; i < 300; i++) log.progress.message(`${i} ${"€".repeat(30)}`);
		const tail = log.tail.trimEnd().split("\n");
		expect(Buffer.byteLength(log.tail)).toBeGreaterThan(9000);
		expect(Buffer.byteLength(log.tail)).toBeLessThanOrEqual(10_000);
		expect(tail.map((line) => JSON.parse(line).msg.split(" ")[0])).toEqual(tail.map((_, i) => `${300 - tail.length + i}`));
		log.close();
	});
});

describe("fintune run without a terminal", () => {
	it("writes one JSON document a line to stderr, no escape sequence, and the result alone to stdout", async () => {
		const file = put(join(dir, "cron.yaml"), pipelineText([smallSft()]));
		const args = ["run", file, "--out", join(dir, "cron")];
		const { status, stdout, stderr } = await fintune(args, { env: { NO_COLOR: "", FINTUNE_LOG: "" } });
		expect(status, stderr).toBe(0);
		const said = stderr
			.trimEnd()
			.split("\n")
			.map((line) => JSON.parse(line));
		expect(said.find((line) => line.step === 1)).toMatchObject({
			level: "info",
			stage: "sft",
			total: 3,
			msg: expect.stringMatching(/^sft {2}step 1\/3/),
		});
		expect(stdout).toBe(`done: ${join(dir, "cron")}/report.html\n`);
		const text = await fintune([...args, "--force"], { env: { NO_COLOR: "", FINTUNE_LOG: "text" } });
		expect(text.stderr).toMatch(/^sft {2}step 1\/3/m);
		expect(`${stderr}${stdout}${text.stderr}${text.stdout}`).not.toContain("\u001b");
	});

	it("ends with a line of text where it fails: for the person who has to act", async () => {
		const file = put(
			join(dir, "fails.yaml"),
			pipelineText([smallSft(), smallSft({ name: "second", data: [{ path: "gone.jsonl" }] })]),
		);
		const args = ["run", file, "--out", join(dir, "fails")];
		const { status, stderr } = await fintune(args, { env: { FINTUNE_LOG: "" } });
		expect(status).toBe(66);
		const [first, ...rest] = stderr.split(/^fintune: /m);
		for (const line of first!.trimEnd().split("\n")) JSON.parse(line);
		expect(rest.join()).toMatch(/gone\.jsonl.*no such file[\s\S]*\(E_NOT_FOUND\)\n$/);
		const log = await fintune(args, { env: { FINTUNE_LOG: "json" } });
		expect(JSON.parse(log.stderr.trimEnd().split("\n").at(-1)!)).toMatchObject({ level: "error", code: "E_NOT_FOUND" });
	});
});
