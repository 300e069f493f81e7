/** What is found before a run begins: in what is in order, and in what is not. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { stringify } from "yaml";
import { parsePipeline } from "../../src/pipeline/config.js";
import { type Finding, preflight, refuseFindings } from "../../src/pipeline/preflight.js";
import { fintune, lines, put } from "../cli/cli.js";
import { root } from "../repository.js";
import { smallSft, tinyModel } from "./tiny.js";

let free = 1e12;
let memory = 1e12;
vi.mock("../../src/stages/memory.js", async (original) => ({
	...(await original<typeof import("../../src/stages/memory.js")>()),
	availableMemory: () => memory,
}));
vi.mock("../../src/stages/disk.js", async (original) => ({
	...(await original<typeof import("../../src/stages/disk.js")>()),
	freeBytes: async () => free,
}));

let dir: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-preflight-"));
	await tinyModel(join(dir, "model"));
	put(join(dir, "rows.jsonl"), lines([{ prompt: "Net income rose:", completion: " yes" }]));
	const eos = 3069;
	put(join(dir, "endless.jsonl"), lines([{ input_ids: [5, 6, 7, eos], completion_mask: [0, 0, 1, 0] }]));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const tiny = join(root, "models", "tiny");
const textOf = (stage: object, model = tiny): string =>
	stringify({
		name: "small",
		model,
		device: "cpu",
		dtype: "f32",
		threads: 1,
		stages: [smallSft(stage)],
	});
const look = (stage: object = {}, model?: string): Promise<Finding[]> =>
	preflight(parsePipeline(textOf(stage, model), join(dir, "p.yaml")));
const about = (findings: readonly Finding[], what: string) => findings.find((finding) => finding.about === what);
const bad = (findings: readonly Finding[]) => findings.filter(({ level }) => level !== "ok");

test("a run that is in order: everything is looked at, a row is shown with what it teaches", async () => {
	const findings = await look();
	expect(bad(findings)).toEqual([]);
	expect(findings.map((finding) => finding.about)).toEqual([
		"device",
		"model",
		"sft: memory",
		"sft: data",
		"disk",
		"sft: a row",
		"sft: loss",
	]);
	expect(about(findings, "sft: a row")?.message).toBe("Net income rose:« yes<|endoftext|>»");
	expect(about(findings, "sft: loss")?.message).toMatch(/^\d\.\d{3} a token before the first step; by chance 8\.\d+$/);
	expect(() => refuseFindings(findings)).not.toThrow();
});

test("rows that never end, and weights that know nothing, are warnings", async () => {
	const findings = await look({ data: [{ path: "endless.jsonl" }] }, join(dir, "model"));
	expect(bad(findings)).toMatchObject([
		{ level: "warning", about: "sft: rows", message: expect.stringMatching(/no row ends with a supervised end token/) },
		{ level: "warning", about: "sft: loss", message: expect.stringMatching(/do weights and tokenizer belong together/) },
	]);
	expect(() => refuseFindings(findings)).toThrowError(/--strict: 2 things are not in order/);
});

test("want of memory, disk, rows or a model is an error with the status that a run would end with", async () => {
	memory = 1e6;
	expect(bad(await look({ micro_batch_tokens: 4096 }))).toMatchObject([{ level: "error", about: "sft: memory" }]);
	// Not even one row fits: auto has nothing smaller to take.
	expect(bad(await look())).toMatchObject([{ level: "error", about: "sft: memory" }]);
	memory = 1e12;
	free = 1000;
	expect(bad(await look())).toMatchObject([{ level: "error", about: "disk", message: expect.stringMatching(/1000 B free/) }]);
	free = 1e12;
	expect(bad(await look({ data: [{ path: "gone.jsonl" }] }))).toMatchObject([{ level: "error", about: "data", exitStatus: 66 }]);
	expect(bad(await look({}, "nowhere/model"))).toMatchObject([{ level: "error", about: "model", exitStatus: 66 }]);
});

test("doctor shows it with a status, and run --strict writes nothing", async () => {
	const sound = put(join(dir, "sound.yaml"), textOf({}));
	const odd = put(join(dir, "odd.yaml"), textOf({ data: [{ path: "endless.jsonl" }] }));
	const shown = await fintune(["doctor", sound], { cwd: dir });
	expect(shown.status).toBe(0);
	expect(shown.stdout).toMatch(/^ok {7}sft: a row: Net income rose:« yes<\|endoftext\|>»$/m);
	expect((await fintune(["doctor", odd], { cwd: dir })).status).toBe(0);
	expect((await fintune(["doctor", odd, "--strict"], { cwd: dir })).status).toBe(78);
	const json = await fintune(["doctor", odd, "--json", "--no-loss"], { cwd: dir });
	const { findings } = JSON.parse(json.stdout) as { findings: Finding[] };
	expect(findings.map(({ level }) => level)).toContain("warning");
	const refused = await fintune(["run", odd, "--strict"], { cwd: dir });
	expect(refused).toMatchObject({ status: 78, stderr: expect.stringMatching(/no row ends with a supervised end token/) });
	expect(existsSync(join(dir, "runs"))).toBe(false);
});
