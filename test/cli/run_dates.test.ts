/** `fintune run` as a scheduler starts it: one run per date, missed dates, an end set beforehand, a low priority. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { tinyModel } from "../pipeline/tiny.js";
import { fintune, lines, put } from "./cli.js";

let dir: string;
let pipeline: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-run-dates-"));
	await tinyModel(join(dir, "model"));
	for (const date of ["2026-03-01", "2026-03-02", "2026-03-04"]) {
		put(join(dir, `rows-${date}.jsonl`), lines([{ prompt: `On ${date}:`, completion: " yes" }]));
	}
	const stage = { name: "sft", type: "sft", data: [{ path: "rows-${as_of}.jsonl" }], lora: { r: 2 }, max_steps: 2 };
	pipeline = put(
		join(dir, "p.yaml"),
		stringify({ name: "small", model: "model", device: "cpu", dtype: "f32", threads: 1, stages: [stage] }),
	);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const env = { FINTUNE_LOG: "text" };
const run = (...args: string[]) => fintune(["run", pipeline, ...args], { cwd: dir, env });
const documents = (stdout: string) => JSON.parse(stdout) as { folder: string; status: string; stages: { status: string }[] };

test("each date has a run of its own, and the second start of a date has nothing to do", async () => {
	const first = await run("--as-of", "2026-03-01", "--json");
	expect(first.status).toBe(0);
	expect(documents(first.stdout)).toMatchObject({ folder: join("runs", "small", "2026-03-01"), status: "done" });
	const again = await run("--as-of", "2026-03-01", "--json");
	expect(documents(again.stdout).stages).toMatchObject([{ status: "reused" }]);
	const journal = readFileSync(join(dir, "runs", "small", "2026-03-01", "journal.jsonl"), "utf8");
	expect(journal).toContain('"as_of":"2026-03-01"');
});

test("missed dates are run first; one that fails is told and does not keep the others from running", async () => {
	const late = await run("--as-of", "2026-03-04", "--catch-up", "all", "--json");
	expect(late.status).toBe(66);
	expect(late.stderr).toMatch(
		/the run of 2026-03-02\n.*the run of 2026-03-03\n.*rows-2026-03-03\.jsonl.*the run of 2026-03-04\n/s,
	);
	const { runs } = JSON.parse(late.stdout);
	expect(runs).toMatchObject([
		{ folder: join("runs", "small", "2026-03-02"), status: "done" },
		{ folder: join("runs", "small", "2026-03-04"), status: "done" },
	]);
	expect(readdirSync(join(dir, "runs", "small")).sort()).toEqual(["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]);
});

test("a date, a deadline and a priority that are none are refused with status 64, and without a date the file's is", async () => {
	const out = join(dir, "refused");
	for (const [wrong, message] of [
		[["--as-of", "yesterday-ish"], /YYYY-MM-DD/],
		[["--catch-up", "all"], /--catch-up needs --as-of/],
		[["--as-of", "today", "--catch-up", "some"], /none, last, all/],
		[["--deadline", "25:00"], /HH:MM/],
		[["--max-runtime", "long"], /such as 90s/],
		[["--nice", "20"], /1 to 19/],
	] as const) {
		const refused = await run(...wrong, "--out", out);
		expect(refused).toMatchObject({ status: 64, stderr: expect.stringMatching(message) });
	}
	const undated = await run("--out", out);
	expect(undated).toMatchObject({ status: 78, stderr: expect.stringMatching(/p\.yaml:\d+:\d+.*--as-of today/s) });
	expect(existsSync(out)).toBe(false);
	const plan = await fintune(["plan", pipeline, "--as-of", "2026-03-01"], { cwd: dir });
	expect(plan.status).toBe(0);
});

test("every thread that computes has the low priority, and a run ends by status 75 when its time is over", async () => {
	const levels = new Set<number>();
	const args = [
		"--as-of",
		"2026-03-01",
		"--out",
		"long",
		"--set",
		"stages.sft.max_steps=100000",
		"--nice",
		"7",
		"--max-runtime",
		"3s",
	];
	const ended = await fintune(["run", pipeline, ...args], {
		cwd: dir,
		env,
		onStderr(text, child) {
			if (!text.includes("micro_batch_tokens") || levels.size > 0) return;
			// setpriority works on a thread: Node's own were there before.
			for (const thread of readdirSync(`/proc/${child.pid}/task`)) {
				const stat = readFileSync(`/proc/${child.pid}/task/${thread}/stat`, "utf8");
				if (/fintune|libuv/.test(stat) || thread === String(child.pid)) levels.add(Number(stat.split(") ")[1]!.split(" ")[16]));
			}
		},
	});
	expect([...levels]).toEqual([7]);
	expect(ended).toMatchObject({ status: 75, stderr: expect.stringMatching(/stopped by --max-runtime 3s.*goes on/s) });
	const result = JSON.parse(readFileSync(join(dir, "long", "2026-03-01", "result.json"), "utf8"));
	expect(result).toMatchObject({ status: "stopped", stages: [{ name: "sft", status: "stopped" }] });
});
