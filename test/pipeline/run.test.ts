import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { parsePipeline } from "../../src/pipeline/config.js";
import { runPipeline } from "../../src/pipeline/runner.js";
import type { RunOptions, RunResult } from "../../src/pipeline/types.js";
import { fintune, lines, put } from "../cli/cli.js";
import { pipelineText, tinyModel, tinyTaskData } from "./tiny.js";

let dir: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-run-"));
	await tinyModel(join(dir, "model"));
	tinyTaskData(join(dir, "data"));
	const prompts = ["Row 1:", "Row 2:", "Inc .\nAnswer:", "Corvid Inc .\nAnswer:", "the answer.\nReasoning:", "What?\nReasoning:"];
	const rows = prompts.map((prompt) => ({ prompt, completion: " yes" }));
	put(join(dir, "rows.jsonl"), lines(rows));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

type Stage = Record<string, unknown>;
const evaluate = (name: string, split: string, more: Stage = {}): Stage => ({
	name,
	type: "evaluate",
	tasks: ["ner"],
	split,
	max_new_tokens: 4,
	...more,
});
/** Learns by heart to answer " yes" and to stop. */
const sft = (more: Stage = {}): Stage => ({
	name: "sft",
	type: "sft",
	data: [{ path: "rows.jsonl" }],
	lora: { r: 8, alpha: 32 },
	learning_rate: 0.02,
	lr_scheduler_type: "linear",
	batch_size: 6,
	max_steps: 60,
	...more,
});
const dpo = (more: Stage = {}): Stage => ({
	name: "dpo",
	type: "dpo",
	data: [{ from: "probe", rejected: "overlong" }],
	lora: { r: 2 },
	learning_rate: 1e-3,
	beta: 1,
	batch_size: 4,
	max_steps: 2,
	...more,
});

interface Ran {
	result: RunResult;
	messages: string[];
	out: string;
}
let count = 0;
/** Runs stages in this process. */
async function run(stages: Stage[], options: Partial<RunOptions> & { more?: Stage } = {}): Promise<Ran> {
	const { more, ...rest } = options;
	const out = rest.out ?? join(dir, `run-${++count}`);
	const messages: string[] = [];
	const progress = { update() {}, message: (line: string) => void messages.push(line), end() {} };
	const pipeline = parsePipeline(pipelineText(stages, more), join(dir, "p.yaml"));
	return { result: await runPipeline(pipeline, { progress, ...rest, out }), messages, out };
}
/** name[.iteration]: status, in order. */
const told = ({ result }: Ran): string[] =>
	result.stages.map((s) => `${s.name}${s.iteration > 1 ? `.${s.iteration}` : ""} ${s.status}`);
const json = (...parts: string[]) => JSON.parse(readFileSync(join(...parts), "utf8"));
const jsonLines = (...parts: string[]) =>
	readFileSync(join(...parts), "utf8")
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line));
/** Every file below a folder with its bytes, apart from those that hold times. */
function contents(folder: string): Record<string, string> {
	const files = (readdirSync(folder, { recursive: true }) as string[]).filter((name) =>
		/(adapter_model\.safetensors|adapter_config\.json|README\.md|generations.*\.jsonl|scores\.json|rows\.jsonl)$/.test(name),
	);
	return Object.fromEntries(files.sort().map((name) => [name, readFileSync(join(folder, name)).toString("base64")]));
}

const whole = [
	evaluate("before", "test"),
	sft({ validation: { path: "rows.jsonl", every_steps: 25 } }),
	evaluate("check", "valid"),
	{ ...evaluate("probe", "train"), limit: 4 },
	dpo({ when: "check.overlong > 0.5" }),
	{
		name: "synth",
		type: "synthesize",
		task: "ner",
		limit: 3,
		samples: 2,
		temperature: 0,
		max_new_tokens: 6,
		answer_pattern: "(?s)^\\s*(\\S.*)$",
	},
	{ name: "rl", type: "sft", data: [{ from: "synth" }], lora: { r: 2 }, learning_rate: 1e-3, batch_size: 2, max_steps: 2 },
	evaluate("final", "test", { gate: "final.overlong < before.overlong" }),
];

describe("a run from start to end", () => {
	let first: Ran;
	beforeAll(async () => {
		first = await run(whole);
	});

	it("does every stage, and shows those that a condition leaves out", () => {
		expect(told(first)).toEqual([
			"before done",
			"sft done",
			"check done",
			"probe done",
			"dpo skipped",
			"synth done",
			"rl done",
			"final done",
		]);
		expect(first.result).toMatchObject({ status: "done", exitStatus: 0, folder: first.out });
		const by = Object.fromEntries(first.result.stages.map((s) => [s.name, s]));
		expect(by.before!.metrics.overlong).toBe(1);
		expect(by.final!.metrics.overlong).toBe(0);
		expect(by.sft!.metrics).toMatchObject({ steps: 60 });
		expect(by.sft!.metrics.eval_loss).toBeLessThan(1);
		expect(by.dpo!.note).toMatch(/when does not hold: check\.overlong = 0 > 0\.5/);
		expect(by.synth!.metrics).toMatchObject({ texts: 3, kept: 3, agreement: 1, unread: 0 });
		expect(by.final!.note).toMatch(/^gate passed: final\.overlong = 0 < before\.overlong = 1/);
		expect(first.messages.join("\n")).toMatch(/synth: 3 rows, tokens min/);
	});

	it("leaves the folder of the contract", () => {
		const { out } = first;
		for (const name of ["config.resolved.yaml", "journal.jsonl", "status.json", "result.json", "report.html"]) {
			expect(existsSync(join(out, name)), name).toBe(true);
		}
		for (const name of ["adapter", "stages/sft/adapter", "stages/rl/adapter"]) {
			expect(readdirSync(join(out, name)).sort()).toEqual(["README.md", "adapter_config.json", "adapter_model.safetensors"]);
		}
		const rows = jsonLines(out, "stages", "sft", "metrics.jsonl");
		expect(rows).toHaveLength(60);
		for (const key of ["step", "epoch", "loss", "grad_norm", "learning_rate", "tokens_per_second"]) {
			expect(typeof rows[0][key], key).toBe("number");
		}
		expect(rows.filter((r) => "eval_loss" in r).map((r) => r.step)).toEqual([25, 50, 60]);
		expect(rows.at(-1).loss).toBeLessThan(rows[0].loss / 4);
		const [generation] = jsonLines(out, "stages", "final", "generations", "ner.jsonl");
		expect(Object.keys(generation).sort()).toEqual([
			"answer",
			"correct",
			"doc",
			"finish_reason",
			"index",
			"output",
			"output_ids",
			"query",
		]);
		expect(json(out, "stages", "final", "scores.json").ner).toMatchObject({ split: "test", n: 4, overlong: 0 });
		expect(json(out, "status.json")).toMatchObject({ status: "done" });
		const result = json(out, "result.json");
		expect(result.status).toBe("done");
		expect(result.stages.map((s: { name: string }) => s.name)).toEqual(whole.map((s) => s.name));
		for (const stage of result.stages) {
			expect(stage).toMatchObject({ type: expect.any(String), metrics: expect.any(Object), seconds: expect.any(Number) });
		}
		const config = parse(readFileSync(join(out, "config.resolved.yaml"), "utf8"));
		expect(config).toMatchObject({ name: "small", seed: 42, device: "cpu", dtype: "f32" });
		expect(config.stages[1]).toMatchObject({ weight_decay: 0, max_grad_norm: 1, shuffle: true, max_length: 1024 });
		expect(parsePipeline(stringify(config), "again.yaml").config).toEqual(config);
		const events = jsonLines(out, "journal.jsonl").map((e) => e.event);
		expect(events[0]).toBe("run");
		expect(events.at(-1)).toBe("finished");
		expect(events.filter((e) => e === "started")).toHaveLength(7);
		expect(readFileSync(join(out, "report.html"), "utf8")).toContain("final");
	});

	it("says nothing of time or place in adapters, generations and scores", () => {
		for (const [name, bytes] of Object.entries(contents(first.out))) {
			const text = Buffer.from(bytes, "base64").toString("latin1");
			expect(text.includes(dir), name).toBe(false);
			expect(/20\d\d-\d\d-\d\d/.test(text), name).toBe(false);
		}
	});

	it("a second run does nothing again and says so", async () => {
		const before = contents(first.out);
		const second = await run(whole, { out: first.out });
		expect(told(second).filter((s) => !s.endsWith("reused"))).toEqual(["dpo skipped"]);
		expect(second.result).toMatchObject({ status: "done", exitStatus: 0 });
		expect(contents(first.out)).toEqual(before);
		const events = jsonLines(first.out, "journal.jsonl");
		const last = events.slice(events.findLastIndex((e) => e.event === "run"));
		expect(last.filter((e) => e.event === "reused").map((e) => e.stage)).toEqual([
			"before",
			"sft",
			"check",
			"probe",
			"synth",
			"rl",
			"final",
		]);
		expect(last.some((e) => e.event === "started")).toBe(false);
		const metrics = (r: Ran) => r.result.stages.map((s) => s.metrics);
		expect(metrics(second)).toEqual(metrics(first));
	});

	it("a change repeats what it touches and what stands on it, and nothing else", async () => {
		const stages = whole.map((s) => (s.name === "rl" ? { ...s, learning_rate: 2e-3 } : s));
		const changed = await run(stages, { out: first.out });
		expect(told(changed)).toEqual([
			"before reused",
			"sft reused",
			"check reused",
			"probe reused",
			"dpo skipped",
			"synth reused",
			"rl done",
			"final done",
		]);
	});

	it("--from repeats a stage and those after it, --force everything", async () => {
		const from = await run(whole, { out: first.out, from: "synth" });
		expect(told(from).slice(-3)).toEqual(["synth done", "rl done", "final done"]);
		expect(told(from).slice(0, 4)).toEqual(["before reused", "sft reused", "check reused", "probe reused"]);
		const forced = await run(whole.slice(0, 2), { out: first.out, force: true });
		expect(told(forced)).toEqual(["before done", "sft done"]);
		await expect(run(whole, { out: first.out, from: "syn" })).rejects.toMatchObject({ code: "E_USAGE" });
	});

	it("trains again where the adapter of a finished stage is gone", async () => {
		rmSync(join(first.out, "stages", "sft", "adapter"), { recursive: true });
		expect(told(await run(whole.slice(0, 2), { out: first.out }))).toEqual(["before reused", "sft done"]);
	});
});

describe("determinism", () => {
	it("two runs, and runs with one and two threads, leave the same bytes", async () => {
		const stages = [sft({ max_steps: 3 }), evaluate("after", "test", { temperature: 0.8 })];
		const one = await run(stages);
		const again = await run(stages);
		const two = await run(stages, { threads: 2 });
		expect(Object.keys(contents(one.out)).length).toBeGreaterThan(5);
		expect(contents(again.out)).toEqual(contents(one.out));
		expect(contents(two.out)).toEqual(contents(one.out));
		const other = await run(stages, { more: { seed: 7 } });
		expect(contents(other.out)).not.toEqual(contents(one.out));
	});

	it("any recompute gives the same adapter", async () => {
		const adapters = await Promise.all(
			["none", "selective", "full"].map(async (recompute) => {
				const { out } = await run([sft({ max_steps: 2, recompute })]);
				return readFileSync(join(out, "adapter", "adapter_model.safetensors")).toString("base64");
			}),
		);
		expect(new Set(adapters).size).toBe(1);
	});
});

describe("dpo against overlong answers", () => {
	const sources = [evaluate("check", "valid"), evaluate("probe", "train", { limit: 4 })];

	it("repeats its sources and the measured stage each time, at most max_iterations", async () => {
		const ran = await run([...sources, dpo({ until: "check.overlong < 0", max_iterations: 2 }), evaluate("final", "test")]);
		expect(told(ran)).toEqual([
			"check done",
			"probe done",
			"dpo done",
			"check.2 done",
			"probe.2 done",
			"dpo.2 done",
			"check.3 done",
			"final done",
		]);
		const [row] = jsonLines(ran.out, "stages", "dpo", "metrics.jsonl");
		expect(Math.abs(row.loss - Math.LN2)).toBeLessThan(1e-5);
		for (const key of ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"]) {
			expect(typeof row[key], key).toBe("number");
		}
		// Both adapters are in the folded one: their ranks add up.
		expect(json(ran.out, "adapter", "adapter_config.json").r).toBe(4);
		expect(ran.messages.join("\n")).toMatch(/dpo: after 2 iterations, until check\.overlong = \d.* < 0: does not hold/);
		const again = await run([...sources, dpo({ until: "check.overlong < 0", max_iterations: 2 }), evaluate("final", "test")], {
			out: ran.out,
		});
		expect(told(again).every((s) => s.endsWith("reused"))).toBe(true);
	});

	it("does nothing where until holds already", async () => {
		const ran = await run([...sources, dpo({ until: "check.overlong <= 1", max_iterations: 2 })]);
		expect(told(ran)).toEqual(["check done", "probe done", "dpo skipped"]);
		expect(ran.result.exitStatus).toBe(0);
		expect(existsSync(join(ran.out, "adapter"))).toBe(false);
	});

	it("skips a stage whose source yields nothing, visibly and with status 0", async () => {
		const synth = { name: "synth", type: "synthesize", task: "ner", limit: 2, samples: 2, max_new_tokens: 2 };
		const rl = { name: "rl", type: "sft", data: [{ from: "synth" }], lora: { r: 2 } };
		const ran = await run([...sources, dpo({ data: [{ from: "probe", rejected: "wrong" }] }), synth, rl]);
		expect(told(ran)).toEqual(["check done", "probe done", "dpo skipped", "synth skipped", "rl skipped"]);
		expect(ran.result).toMatchObject({ status: "done", exitStatus: 0 });
		const notes = Object.fromEntries(ran.result.stages.map((s) => [s.name, s.note]));
		expect(notes.dpo).toMatch(/no pair: probe: 0 pairs from 4 generations \(rejected: wrong/);
		expect(notes.synth).toMatch(/0 of 2 texts kept \(4 of 4 samples without a readable answer\)/);
		expect(notes.rl).toMatch(/"synth" was skipped, so it has no rows/);
		expect(json(ran.out, "result.json").stages.map((s: { status: string }) => s.status)).toContain("skipped");
	});

	it.each(["ipo", "hinge", "robust", "sigmoid_norm", "simpo", "orpo"])("trains with loss_type %s", async (loss_type) => {
		const rows = [{ prompt: "Is it?", chosen: " yes", rejected: " no no no", rejected_finish_reason: "length" }];
		put(join(dir, "pairs.jsonl"), lines(rows));
		const ran = await run([dpo({ data: [{ path: "pairs.jsonl" }], loss_type })]);
		const [first, second] = jsonLines(ran.out, "stages", "dpo", "metrics.jsonl");
		expect(second.loss).toBeLessThan(first.loss);
	});

	it("trains kto on labelled rows, with validation, and refuses a row without a label", async () => {
		const row = (i: number, label?: boolean) => ({ input_ids: [5 + i, 6, 7, 8 + i], completion_mask: [0, 0, 1, 1], label });
		put(join(dir, "kto.jsonl"), lines([row(1, true), row(2, false), row(3, true), row(4, false)]));
		const stage = dpo({ data: [{ path: "kto.jsonl" }], loss_type: "kto", validation: { path: "kto.jsonl", every_steps: 1 } });
		const ran = await run([stage]);
		const rows = jsonLines(ran.out, "stages", "dpo", "metrics.jsonl");
		expect(rows[0].loss).toBeCloseTo(0.5, 5);
		expect(rows[1].eval_loss).toBeLessThan(0.5);
		put(join(dir, "kto-bad.jsonl"), lines([row(1, true), row(2)]));
		await expect(run([dpo({ data: [{ path: "kto-bad.jsonl" }], loss_type: "kto" })])).rejects.toMatchObject({
			code: "E_DATA_ROW",
			message: expect.stringContaining("kto-bad.jsonl:2"),
		});
	});
});

describe("training", () => {
	it("keeps the best parameters and stops early", async () => {
		// Validation on other answers than those learned: it gets worse soon.
		put(join(dir, "other.jsonl"), lines([{ prompt: "Row 1:", completion: " never, not at all" }]));
		const validation = { path: "other.jsonl", every_steps: 1, patience: 2 };
		const ran = await run([sft({ validation, max_steps: 40 })]);
		const rows = jsonLines(ran.out, "stages", "sft", "metrics.jsonl");
		const { metrics } = ran.result.stages[0]!;
		expect(rows.length).toBeLessThan(40);
		const losses = rows.map((r) => r.eval_loss);
		expect(metrics.eval_loss).toBe(Math.min(...losses));
		expect(metrics.kept_step).toBe(1 + losses.indexOf(Math.min(...losses)));
		expect(metrics.kept_step).toBeLessThan(rows.length);
		expect(ran.messages.join("\n")).toMatch(/stopped at step \d+ of 40: no better validation loss since step/);
	});

	it("shows every step in metrics.jsonl as soon as it is done, and the same rows at the end", async () => {
		const out = join(dir, "growing");
		const file = join(out, "stages", "sft", "metrics.jsonl");
		const seen: string[] = [];
		const progress = { update: () => void seen.push(readFileSync(file, "utf8")), message() {}, end() {} };
		await run([sft({ max_steps: 5, validation: { path: "rows.jsonl", every_steps: 2 } })], { out, progress });
		expect(seen).toHaveLength(5);
		const whole = readFileSync(file, "utf8");
		const all = whole.split(/(?<=\n)/);
		seen.forEach((text, i) => {
			expect(text).toBe(all.slice(0, i + 1).join(""));
		});
		expect(whole).toBe(lines(json(out, "stages", "sft", "stage.json").outcome.training.rows));
	});

	it("trains all parameters from random weights where the folder has none, then an adapter on the result", async () => {
		const bare = await tinyModel(join(dir, "bare"));
		rmSync(join(bare, "model.safetensors"));
		put(join(dir, "text.jsonl"), lines([{ text: "The firm grew. ".repeat(30) }, { text: "Sales fell." }]));
		const pretrain = {
			name: "base",
			type: "pretrain",
			data: [{ path: "text.jsonl" }],
			learning_rate: 0.01,
			max_steps: 4,
			max_length: 16,
		};
		const ran = await run([pretrain, sft({ max_steps: 2 }), evaluate("after", "test")], { more: { model: "bare" } });
		expect(told(ran)).toEqual(["base done", "sft done", "after done"]);
		expect(ran.result.stages[0]!.note).toMatch(/split into \d+ windows of at most 16/);
		expect(existsSync(join(ran.out, "stages", "base", "model", "model.safetensors"))).toBe(true);
		expect(
			told(await run([pretrain, sft({ max_steps: 2 }), evaluate("after", "test")], { more: { model: "bare" }, out: ran.out })),
		).toEqual(["base reused", "sft reused", "after reused"]);
	});

	it("draws by weight, limits rows, and mixes sources", async () => {
		put(join(dir, "more.jsonl"), lines(Array.from({ length: 8 }, (_, i) => ({ prompt: `M ${i}:`, completion: " no" }))));
		const data = [
			{ path: "rows.jsonl", limit: 3 },
			{ path: "more.jsonl", weight: 0.5 },
			{ task: "ner", split: "train", limit: 2, weight: 1 },
		];
		const ran = await run([sft({ data, max_steps: undefined, num_train_epochs: 1, batch_size: 2 })]);
		// 3 + 4 + 2 rows in batches of 2
		expect(jsonLines(ran.out, "stages", "sft", "metrics.jsonl")).toHaveLength(5);
		expect(ran.result.stages[0]!.note).toMatch(/rows\.jsonl: 3 rows.*more\.jsonl: 8 rows.*ner train: 2 rows/s);
	});

	it("drops long rows only when told to, and counts them", async () => {
		put(
			join(dir, "long.jsonl"),
			lines([
				{ prompt: "a", completion: " b" },
				{ prompt: "a ".repeat(60), completion: " b" },
			]),
		);
		const stage = sft({ data: [{ path: "long.jsonl" }], max_length: 20, max_steps: 1 });
		await expect(run([stage])).rejects.toMatchObject({
			code: "E_DATA_TOO_LONG",
			message: expect.stringContaining("long.jsonl:2"),
		});
		const ran = await run([{ ...stage, max_length_policy: "drop" }]);
		expect(ran.result.stages[0]!.note).toMatch(/1 dropped as longer than 20/);
	});

	it("does not take more tokens than the model has positions", async () => {
		put(join(dir, "huge.jsonl"), lines([{ input_ids: Array(300).fill(5) }]));
		await expect(run([sft({ data: [{ path: "huge.jsonl" }] })])).rejects.toMatchObject({
			code: "E_DATA_TOO_LONG",
			message: expect.stringContaining("256"),
		});
	});
});

describe("what stops a run", () => {
	it("a gate that is not passed: status 3, everything kept", async () => {
		const ran = await run([evaluate("final", "test", { gate: "final.ner.entity_f1 > 1" })]);
		expect(ran.result).toMatchObject({ status: "gate_not_passed", exitStatus: 3 });
		expect(json(ran.out, "result.json").stages[0].note).toMatch(/^gate not passed: final\.ner\.entity_f1 = /);
		// Reused, it is not passed either.
		expect(
			(await run([evaluate("final", "test", { gate: "final.ner.entity_f1 > 1" })], { out: ran.out })).result.exitStatus,
		).toBe(3);
	});

	it("an error in a stage: result.json says so, no adapter lies there, and the finished stages are reused", async () => {
		const out = join(dir, "failing");
		const stages = [sft({ max_steps: 2 }), sft({ name: "second", data: [{ path: "gone.jsonl" }], max_steps: 1 })];
		await run([stages[0]!], { out });
		expect(existsSync(join(out, "adapter"))).toBe(true);
		await expect(run(stages, { out })).rejects.toMatchObject({ code: "E_NOT_FOUND" });
		expect(json(out, "result.json")).toMatchObject({ status: "failed", error: { code: "E_NOT_FOUND" } });
		expect(json(out, "status.json").status).toBe("failed");
		expect(existsSync(join(out, "adapter"))).toBe(false);
		put(join(dir, "gone.jsonl"), readFileSync(join(dir, "rows.jsonl")));
		expect(told(await run(stages, { out }))).toEqual(["sft reused", "second done"]);
		rmSync(join(dir, "gone.jsonl"));
	});

	it("an abort signal: E_ABORTED within a step, and a later run finishes", async () => {
		const controller = new AbortController();
		const out = join(dir, "aborted");
		const stages = [sft({ max_steps: 200, learning_rate: 1e-3 })];
		let steps = 0;
		const progress = {
			update() {
				if (++steps === 3) controller.abort();
			},
			message() {},
			end() {},
		};
		const stopped = run(stages, { out, signal: controller.signal, progress });
		await expect(stopped).rejects.toMatchObject({ code: "E_ABORTED", exitStatus: 75 });
		expect(steps).toBeLessThan(10);
		expect(json(out, "result.json")).toMatchObject({ status: "stopped", stages: [{ name: "sft", status: "stopped" }] });
		expect(existsSync(join(out, "stages", "sft", "stage.json"))).toBe(false);
		expect(existsSync(join(out, "adapter"))).toBe(false);
		expect(told(await run([sft({ max_steps: 200, learning_rate: 1e-3 })], { out }))).toEqual(["sft done"]);
	});
});

describe("by the command line", () => {
	it("--json puts exactly one document on stdout, and what is going on goes to stderr", async () => {
		const file = put(join(dir, "cli.yaml"), pipelineText([sft({ max_steps: 2 }), evaluate("after", "test")]));
		const args = ["run", file, "--out", join(dir, "cli"), "--set", "stages.sft.max_steps=3"];
		const { status, stdout, stderr } = await fintune([...args, "--json"]);
		expect(status, stderr).toBe(0);
		const document = JSON.parse(stdout);
		expect(document).toMatchObject({ status: "done", stages: [{ name: "sft", metrics: { steps: 3 } }, { name: "after" }] });
		expect(stderr).toMatch(/sft/);
		const people = await fintune(args);
		expect(people.status).toBe(0);
		expect(people.stdout).toMatch(/done: .*report\.html/);
		const report = await fintune(["report", join(dir, "cli"), "--json"]);
		expect(JSON.parse(report.stdout).status).toBe("done");
	});

	it("plan tells rows, tokens, steps and bytes, and writes nothing", async () => {
		const file = put(join(dir, "planned.yaml"), pipelineText([sft(), evaluate("after", "test")], { name: "planned" }));
		const { status, stdout, stderr } = await fintune(["plan", file, "--json"], { cwd: dir });
		expect(status, stderr).toBe(0);
		const plan = JSON.parse(stdout);
		expect(plan.stages[0]).toMatchObject({ name: "sft", rows: 6, steps: 60 });
		expect(plan.stages[0].tokens).toBeGreaterThan(20);
		expect(plan.stages[0].memory.weights).toBeGreaterThan(1000);
		expect(plan.stages[1]).toMatchObject({ name: "after", rows: 4 });
		expect(existsSync(join(dir, "runs"))).toBe(false);
		expect((await fintune(["plan", file])).stdout).toMatch(/sft .*6/);
		const weighted = sft({ data: [{ path: "rows.jsonl", weight: 0.5 }, { path: "rows.jsonl" }] });
		put(file, pipelineText([weighted], { name: "planned" }));
		const { stages: drawn } = JSON.parse((await fintune(["plan", file, "--json"], { cwd: dir })).stdout);
		expect(drawn[0]).toMatchObject({ rows: 9, notes: expect.arrayContaining(["weights draw 9 rows an epoch, of 12"]) });
		expect(drawn[0].tokens).toBeGreaterThan(plan.stages[0].tokens);
		expect(drawn[0].tokens).toBeLessThan(2 * plan.stages[0].tokens);
		const schema = JSON.parse((await fintune(["plan", "--schema"])).stdout);
		expect(schema.properties.stages).toBeDefined();
	});

	it("SIGTERM in training: status 75 and one line; the same command then finishes", async () => {
		const file = put(join(dir, "term.yaml"), pipelineText([sft({ max_steps: 3000, learning_rate: 1e-3 })]));
		const out = join(dir, "term");
		let sent = false;
		const { status, stderr, stdout } = await fintune(["run", file, "--out", out, "--json"], {
			onStderr(text, child) {
				if (sent || !/step/.test(text)) return;
				sent = true;
				child.kill("SIGTERM");
			},
			env: { FINTUNE_LOG: "" },
		});
		expect(sent).toBe(true);
		expect(status, stderr).toBe(75);
		expect(stdout).toBe("");
		expect(stderr).toMatch(/E_ABORTED/);
		expect(json(out, "status.json").status).toBe("stopped");
		const again = await fintune(["run", file, "--out", out, "--set", "stages.sft.max_steps=5"]);
		expect(again.status, again.stderr).toBe(0);
		expect(json(out, "result.json").status).toBe("done");
	});

	it("is killed in training: nothing looks finished, and the same command then finishes", async () => {
		const file = put(join(dir, "kill.yaml"), pipelineText([sft({ max_steps: 3000, learning_rate: 1e-3 })]));
		const out = join(dir, "killed");
		const { signal } = await fintune(["run", file, "--out", out], {
			onStderr(text, child) {
				if (/step/.test(text)) child.kill("SIGKILL");
			},
		});
		expect(signal).toBe("SIGKILL");
		expect(existsSync(join(out, "result.json"))).toBe(false);
		expect(existsSync(join(out, "adapter"))).toBe(false);
		expect(existsSync(join(out, "stages", "sft", "stage.json"))).toBe(false);
		expect(json(out, "status.json").status).toBe("running");
		// The steps that were done can be read, though nobody closed the file.
		const steps = jsonLines(out, "stages", "sft", "metrics.jsonl").map((row) => row.step);
		expect(steps.length).toBeGreaterThan(0);
		expect(steps).toEqual(steps.map((_, i) => i + 1));
		const again = await fintune(["run", file, "--out", out, "--set", "stages.sft.max_steps=5"]);
		expect(again.status, again.stderr).toBe(0);
		expect(json(out, "result.json").status).toBe("done");
		expect(jsonLines(out, "stages", "sft", "metrics.jsonl").map((row) => row.step)).toEqual([1, 2, 3, 4, 5]);
	});
});
