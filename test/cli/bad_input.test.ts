/**
 * What people get wrong, through the real command line: the right exit status, one clear message without a stack trace,
 * nothing on stdout, and nothing half-written that looks finished. A run that is killed or stopped by a signal is tested
 * in test/pipeline/run.test.ts.
 */
import { spawnSync } from "node:child_process";
import {
	chmodSync,
	closeSync,
	copyFileSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	openSync,
	readdirSync,
	readFileSync,
	rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { writeSafetensors } from "../../src/engine/safetensors.js";
import { golden } from "../engine/golden.js";
import { tinyConfig, tinyModel, tinyTaskData, tinyWeights } from "../pipeline/tiny.js";
import { type CliOptions, type Finished, fintune, lines, main, put } from "./cli.js";

let dir: string;
const at = (...parts: string[]): string => join(dir, ...parts);
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-bad-"));
	await tinyModel(at("model"));
	tinyTaskData(at("data"));
	put(
		at("rows.jsonl"),
		lines([
			{ prompt: "a", completion: " b" },
			{ prompt: "c", completion: " d" },
		]),
	);
	put(at("good.yaml"), pipeline());
});
afterAll(() => {
	spawnSync("chmod", ["-R", "u+rwx", dir]);
	rmSync(dir, { recursive: true, force: true });
});

type Stage = Record<string, unknown>;
const sft = (more: Stage = {}): Stage => ({
	name: "sft",
	type: "sft",
	data: [{ path: "rows.jsonl" }],
	lora: { r: 2 },
	batch_size: 2,
	max_steps: 1,
	...more,
});
/** A pipeline file that is right but for what is changed. */
function pipeline(stages: unknown = [sft()], more: Stage = {}): string {
	return stringify({ name: "p", model: "model", device: "cpu", dtype: "f32", threads: 1, data_dir: "data", ...more, stages });
}
let made = 0;
const yaml = (text: string): string => put(at(`p${++made}.yaml`), text);

/** What every refusal has in common. */
function expectRefusal({ status, stdout, stderr }: Finished, wanted: number, words: readonly (string | RegExp)[]): void {
	expect(status, stderr).toBe(wanted);
	for (const word of words) expect(stderr).toMatch(typeof word === "string" ? new RegExp(literal(word), "i") : word);
	expect(stdout).toBe("");
	expect(stderr).not.toMatch(/^\s+at .*[:(]\d+/m);
	expect(stderr).not.toContain("internal error");
	expect(stderr).not.toContain("UnhandledPromise");
	expect(stderr.match(/\(E_[A-Z_]+\)|^error: /gm) ?? [], stderr).toHaveLength(1);
}
const literal = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** No result that says done, no folded adapter, no stage that claims to be finished without being so. */
function expectNothingFinished(out: string): void {
	if (!existsSync(out)) return;
	expect(existsSync(join(out, "adapter"))).toBe(false);
	const result = join(out, "result.json");
	if (existsSync(result)) expect(JSON.parse(readFileSync(result, "utf8")).status).not.toBe("done");
	const stages = join(out, "stages");
	for (const name of existsSync(stages) ? readdirSync(stages) : []) {
		expect(existsSync(join(stages, name, "stage.json")), name).toBe(false);
	}
	const left = (readdirSync(out, { recursive: true }) as string[]).filter((name) => name.endsWith(".tmp"));
	expect(left).toEqual([]);
}

interface Case {
	what: string;
	/** Prepares files; gives the arguments. */
	args(): string[] | Promise<string[]>;
	status: number;
	words: (string | RegExp)[];
	options?(): CliOptions;
}
/** Each case runs by itself; two at a time are enough for two cores. */
function refuses(cases: Case[]): void {
	it.each(cases.map((c) => [c.what, c] as const))("%s", async (_, { args, status, words, options }) => {
		const given = await args();
		const out = given[0] === "run" && !given.includes("--out") ? at(`out${++made}`) : undefined;
		const finished = await fintune(out ? [...given, "--out", out] : given, { cwd: dir, ...options?.() });
		expectRefusal(finished, status, words);
		if (out) expectNothingFinished(out);
	});
}

describe("usage", () => {
	const run =
		(...more: string[]) =>
		() => ["run", "good.yaml", ...more];
	const generate =
		(...more: string[]) =>
		() => ["generate", "--model", "model", "--dtype", "f32", ...more];
	refuses([
		{ what: "an unknown command", args: () => ["trian"], status: 64, words: ["unknown command 'trian'"] },
		{ what: "an unknown option", args: run("--outt", "x"), status: 64, words: ["unknown option '--outt'", "Did you mean --out"] },
		{ what: "a missing argument", args: () => ["run"], status: 64, words: ["missing required argument 'pipeline'"] },
		{ what: "an argument too many", args: run("other.yaml"), status: 64, words: ["too many arguments"] },
		{ what: "threads that are no number", args: run("--threads", "many"), status: 64, words: ["--threads", "whole number"] },
		{ what: "a device that there cannot be", args: run("--device", "gpu"), status: 64, words: ["cpu, cuda or cuda:N"] },
		{ what: "an unknown dtype", args: run("--dtype", "f64"), status: 64, words: ["f32, bf16"] },
		{ what: "a missing --input", args: () => ["score", "--model", "model"], status: 64, words: ["--input"] },
		{ what: "neither prompt nor input", args: generate(), status: 64, words: ["either a PROMPT or --input", "neither"] },
		{ what: "both prompt and input", args: generate("a", "--input", "rows.jsonl"), status: 64, words: ["both"] },
		{
			what: "a probability above 1",
			args: generate("a", "--max-new-tokens", "4", "--top-p", "2"),
			status: 64,
			words: ["topP", "found 2"],
		},
		{
			what: "an evaluation of nothing",
			args: () => ["evaluate", "--task", "ner"],
			status: 64,
			words: ["--model DIR or --generations FILE"],
		},
		{
			what: "an unknown task",
			args: () => ["evaluate", "--model", "model", "--task", "nerr"],
			status: 64,
			words: ['no task is called "nerr"', 'did you mean "ner"'],
		},
		{ what: "a --set without a value", args: run("--set", "seed"), status: 64, words: ["cannot read --set seed"] },
		{ what: "a --from that is no stage", args: run("--from", "stf"), status: 64, words: ["--from stf", "one of sft"] },
		{ what: "a plan of nothing", args: () => ["plan"], status: 64, words: ["plan needs a pipeline file"] },
	]);
});

describe("configuration", () => {
	const run = (text: string | (() => string)) => () => ["run", yaml(typeof text === "string" ? text : text())];
	const evaluate = { name: "e", type: "evaluate", tasks: ["ner"] };
	refuses([
		{
			what: "an unknown key",
			args: run(pipeline([sft({ learning_rat: 1 })])),
			status: 78,
			words: [/p\d+\.yaml:\d+:\d+/, 'unknown key "learning_rat"', 'did you mean "learning_rate"'],
		},
		{
			what: "a wrong type",
			args: run(pipeline([sft({ batch_size: "big" })])),
			status: 78,
			words: ["stages.sft.batch_size", '"big"'],
		},
		{ what: "no stages", args: run(pipeline([])), status: 78, words: ["stages"] },
		{ what: "two stages of one name", args: run(pipeline([sft(), sft()])), status: 78, words: ['two stages are called "sft"'] },
		{
			what: "a bad condition",
			args: run(pipeline([sft({ when: "much too long" })])),
			status: 78,
			words: ["cannot read the condition"],
		},
		{
			what: "a from that is not there",
			args: run(pipeline([sft({ data: [{ from: "synth" }] })])),
			status: 78,
			words: ['no earlier stage is called "synth"'],
		},
		{
			what: "training on a test split",
			args: run(pipeline([sft({ data: [{ task: "ner", split: "test" }] })])),
			status: 78,
			words: ["training on a test split is refused"],
		},
		{
			what: "a condition on a test split",
			args: run(pipeline([evaluate, sft({ when: "e.overlong > 0" })])),
			status: 78,
			words: ["saw a test split"],
		},
		{
			what: "an unknown task",
			args: run(pipeline([{ ...evaluate, tasks: ["fomcc"] }])),
			status: 78,
			words: ['no task is called "fomcc"', 'did you mean "fomc"'],
		},
		{
			what: "both max_steps and epochs",
			args: run(pipeline([sft({ num_train_epochs: 1 })])),
			status: 78,
			words: ["both max_steps and num_train_epochs"],
		},
		{ what: "broken YAML", args: run("name: [p\nmodel: x\n"), status: 78, words: [/p\d+\.yaml:\d+:\d+/, "is not YAML"] },
		{ what: "a key that occurs twice", args: run("name: p\nname: q\n"), status: 78, words: [":2:1", "occurs twice"] },
		{ what: "an empty file", args: run(""), status: 78, words: ["is no pipeline", "an empty file"] },
		{
			what: "a file that is not text",
			args: () => ["run", put(at("binary.yaml"), Buffer.from([0xff, 0xfe, 0]))],
			status: 78,
			words: ["is not valid UTF-8"],
		},
		{
			what: "a --set of a stage that is not there",
			args: () => ["run", "good.yaml", "--set", "stages.dpo.beta=1"],
			status: 78,
			words: ['no stage is called "dpo"'],
		},
		{
			what: "three mistakes, told together",
			args: run(pipeline([sft({ lora: { r: 0 }, shufle: true })], { sead: 1 })),
			status: 78,
			words: ["3 errors", "lora.r", '"shuffle"', '"seed"'],
		},
		{ what: "a file that is not there", args: () => ["run", "gone.yaml"], status: 66, words: ["gone.yaml", "no such file"] },
		{ what: "a folder in place of a file", args: () => ["run", "model"], status: 66, words: ["is a folder"] },
	]);
});

describe("data", () => {
	const training =
		(name: string, content: string | Uint8Array, more: Stage = {}, top: Stage = {}) =>
		() => {
			put(at(name), content);
			return ["run", yaml(pipeline([sft({ data: [{ path: name }], ...more })], top))];
		};
	const ids = { model: golden("qwen2-tiny", "model") };
	refuses([
		{
			what: "a file that is not there",
			args: () => ["run", yaml(pipeline([sft({ data: [{ path: "gone.jsonl" }] })]))],
			status: 66,
			words: ["gone.jsonl", "no such file"],
		},
		{
			what: "a pattern that matches nothing",
			args: () => ["run", yaml(pipeline([sft({ data: [{ path: "gone/*.jsonl" }] })]))],
			status: 66,
			words: ["no file matches"],
		},
		{
			what: "a folder in place of a file",
			args: () => ["run", yaml(pipeline([sft({ data: [{ path: "model" }] })]))],
			status: 66,
			words: ["is a folder"],
		},
		{ what: "an empty file", args: training("empty.jsonl", ""), status: 65, words: ["no row"] },
		{
			what: "lines that are not JSON, all of them told",
			args: training("broken.jsonl", '{"prompt": "a"\n{"prompt": "a", "completion": "b"}\nhello\n'),
			status: 65,
			words: ["broken.jsonl:1", "broken.jsonl:3", "is not valid JSON"],
		},
		{
			what: "a line that is not UTF-8",
			args: training("latin.jsonl", Buffer.from('{"text": "caf\xe9"}\n', "latin1")),
			status: 65,
			words: ["latin.jsonl:1", "UTF-8"],
		},
		{
			what: "a row of an unknown shape",
			args: training("shape.jsonl", lines([{ question: "a", answer: "b" }])),
			status: 65,
			words: ["shape.jsonl:1", "no known shape", "question, answer"],
		},
		{
			what: "a row of the wrong kind",
			args: training("pair.jsonl", lines([{ prompt: "a", chosen: "b", rejected: "c" }])),
			status: 65,
			words: ["pair.jsonl:1", "preference cannot be used here"],
		},
		{
			what: "a row without a target",
			args: training("none.jsonl", lines([{ input_ids: [1, 2, 3], completion_mask: [1, 0, 0] }]), {}, ids),
			status: 65,
			words: ["none.jsonl:1", "no token is supervised"],
		},
		{
			what: "a mask of another length",
			args: training("mask.jsonl", lines([{ input_ids: [1, 2, 3], completion_mask: [0, 1] }]), {}, ids),
			status: 65,
			words: ["mask.jsonl:1", "differ in length"],
		},
		{
			what: "rows that are too long",
			args: training("long.jsonl", lines([{ prompt: "a", completion: "word ".repeat(50) }]), { max_length: 16 }),
			status: 65,
			words: ["long.jsonl:1", "longer than max_length", "at most 16 tokens"],
		},
		{
			what: "nothing left under max_length_policy drop",
			args: training("alllong.jsonl", lines([{ prompt: "a", completion: "word ".repeat(50) }]), {
				max_length: 16,
				max_length_policy: "drop",
			}),
			status: 65,
			words: ["all 1 examples are longer"],
		},
		{
			what: "an id beyond the vocabulary",
			args: training("ids.jsonl", lines([{ input_ids: [1, 384, 3] }]), {}, ids),
			status: 65,
			words: ["ids.jsonl:1", "beyond the model's vocabulary", "ids below 384"],
		},
		{
			what: "text for a model without a tokenizer",
			args: training("text.jsonl", lines([{ text: "hello" }]), {}, ids),
			status: 66,
			words: ["text.jsonl:1", "tokenizer.json"],
		},
		{ what: "bad CSV", args: training("bad.csv", 'prompt,completion\n"a,b\nc,d\n'), status: 65, words: ["bad.csv", "CSV"] },
		{
			what: "a CSV row with a field too many",
			args: training("wide.csv", "prompt,completion\na,b\nc,d,e\n"),
			status: 65,
			words: ["wide.csv:3", "wrong number of fields"],
		},
		{
			what: "a gzip file that was cut",
			args: training("cut.jsonl.gz", gzipSync(lines(Array(2000).fill({ text: Math.PI.toString() }))).subarray(0, 60)),
			status: 65,
			words: ["cut.jsonl.gz", "gzip"],
		},
		{
			what: "a gzip file that is none",
			args: training("plain.jsonl.gz", '{"text": "a"}\n'),
			status: 65,
			words: ["plain.jsonl.gz"],
		},
		{
			what: "bad parquet",
			args: training("bad.parquet", "PAR1 and then nothing of the kind"),
			status: 65,
			words: ["bad.parquet", "parquet"],
		},
		{
			what: "a kto row without a label",
			args: training("kto.jsonl", lines([{ input_ids: [1, 2, 3] }]), { type: "dpo", loss_type: "kto" }, ids),
			status: 65,
			words: ["kto.jsonl:1", "no label"],
		},
		{
			what: "task data that are not installed",
			args: () => ["run", yaml(pipeline([sft({ data: [{ task: "fpb" }] })]))],
			status: 66,
			words: ['"fpb" are installed', "data_dir:, --data or FINTUNE_DATA"],
			options: () => ({ env: { FINTUNE_DATA: "" } }),
		},
		{
			what: "a prompt that leaves no room for the answer",
			args: () => ["run", yaml(pipeline([{ name: "e", type: "evaluate", tasks: ["ner"], max_new_tokens: 250 }]))],
			status: 65,
			words: ["leaves no room for 250 new tokens", /FIN3\.txt:\d+/],
		},
		{
			what: "score: an id beyond the vocabulary",
			args: () => [
				"score",
				"--model",
				ids.model,
				"--input",
				put(at("s.jsonl"), lines([{ input_ids: [1, 2] }, { input_ids: [1, 999] }])),
			],
			status: 65,
			words: ["s.jsonl:2", "ids below 384"],
		},
		{
			what: "score: an empty file",
			args: () => ["score", "--model", ids.model, "--input", put(at("e.jsonl"), "")],
			status: 65,
			words: ["no row"],
		},
		{
			what: "generate: a prompt longer than the model",
			args: () => [
				"generate",
				"--model",
				"model",
				"--input",
				put(at("g.jsonl"), lines([{ input_ids: Array(250).fill(7) }])),
				"--max-new-tokens",
				"10",
			],
			status: 65,
			words: ["g.jsonl:1", "at most 256 tokens"],
		},
	]);
});

/** A copy of the tiny model with some files replaced; undefined removes one. */
function variant(name: string, files: Record<string, string | Uint8Array | undefined>): string {
	const folder = at("variants", name);
	mkdirSync(folder, { recursive: true });
	for (const file of readdirSync(at("model"))) if (!(file in files)) copyFileSync(at("model", file), join(folder, file));
	for (const [file, content] of Object.entries(files)) if (content !== undefined) put(join(folder, file), content);
	return folder;
}
const scoring = (model: string): string[] => ["score", "--model", model, "--dtype", "f32", "--input", at("rows.jsonl")];

describe("weights", () => {
	const config = (name: string, change: object) => () =>
		scoring(variant(name, { "config.json": JSON.stringify({ ...tinyConfig, ...change }) }));
	/** The model's weights with a change, written anew. */
	const weights = (name: string, change: (w: Awaited<ReturnType<typeof tinyWeights>>) => void) => async () => {
		const folder = variant(name, { "model.safetensors": undefined });
		const all = await tinyWeights(folder);
		change(all);
		await writeSafetensors(join(folder, "model.safetensors"), all);
		return scoring(folder);
	};
	/** The model's file with its header rewritten. */
	const header =
		(name: string, change: (entries: Record<string, { dtype: string; data_offsets: number[]; shape: number[] }>) => void) =>
		() => {
			const bytes = readFileSync(at("model", "model.safetensors"));
			const length = Number(bytes.readBigUInt64LE(0));
			const entries = JSON.parse(bytes.subarray(8, 8 + length).toString());
			change(entries);
			const text = Buffer.from(JSON.stringify(entries));
			const size = Buffer.alloc(8);
			size.writeBigUInt64LE(BigInt(text.length));
			return scoring(variant(name, { "model.safetensors": Buffer.concat([size, text, bytes.subarray(8 + length)]) }));
		};
	const norm = "model.norm.weight";
	refuses([
		{
			what: "a folder that is not there",
			args: () => scoring("./gone"),
			status: 66,
			words: ["no such model", "nothing at this path"],
		},
		{
			what: "a hub id that is not in the cache",
			args: () => scoring("nobody/nothing-1b"),
			status: 66,
			words: ["nobody/nothing-1b is not on this machine", "downloads no model"],
		},
		{
			what: "a file in place of a folder",
			args: () => scoring(at("rows.jsonl")),
			status: 66,
			words: ["no such model", "a file"],
		},
		{
			what: "no config.json",
			args: () => scoring(variant("noconfig", { "config.json": undefined })),
			status: 66,
			words: ["config.json"],
		},
		{
			what: "no weights",
			args: () => scoring(variant("noweights", { "model.safetensors": undefined })),
			status: 66,
			words: ["has no weights"],
		},
		{
			what: "a malformed config.json",
			args: () => scoring(variant("badconfig", { "config.json": '{"model_type": ' })),
			status: 65,
			words: ["config.json", "not valid JSON"],
		},
		{
			what: "a config.json without a size",
			args: config("nosize", { hidden_size: undefined }),
			status: 65,
			words: ["config.json", "hidden_size"],
		},
		{
			what: "an unsupported architecture",
			args: config("arch", { model_type: "gpt_neox", architectures: ["GPTNeoXForCausalLM"] }),
			status: 65,
			words: ["architecture GPTNeoXForCausalLM is not supported"],
		},
		{
			what: "a sliding window in use",
			args: config("window", { model_type: "mistral", architectures: ["MistralForCausalLM"], sliding_window: 64 }),
			status: 65,
			words: ["sliding"],
		},
		{
			what: "a mixture of experts",
			args: config("moe", { model_type: "qwen2_moe", architectures: ["Qwen2MoeForCausalLM"], num_experts: 8 }),
			status: 65,
			words: [/moe|experts/i],
		},
		{
			what: "an unknown rope type",
			args: config("rope", { rope_scaling: { rope_type: "longrope", factor: 4 } }),
			status: 65,
			words: ["longrope"],
		},
		{
			what: "a truncated file",
			args: () =>
				scoring(variant("cut", { "model.safetensors": readFileSync(at("model", "model.safetensors")).subarray(0, 5000) })),
			status: 65,
			words: ["model.safetensors", "truncated"],
		},
		{
			what: "a file of a few bytes",
			args: () => scoring(variant("few", { "model.safetensors": "abc" })),
			status: 65,
			words: ["model.safetensors", "too short"],
		},
		{
			what: "overlapping tensors",
			args: header("overlap", (e) => {
				e[norm]!.data_offsets = e["model.layers.0.input_layernorm.weight"]!.data_offsets;
			}),
			status: 65,
			words: ["overlaps", "tensor"],
		},
		{
			what: "a dtype of integers",
			args: header("dtype", (e) => {
				e[norm]!.dtype = "I32";
			}),
			status: 65,
			words: [norm, "I32"],
		},
		{
			what: "a wrong shape",
			args: header("shape", (e) => {
				e[norm]!.shape = [4, 4];
			}),
			status: 65,
			words: [norm, "[4, 4]"],
		},
		{ what: "a missing tensor", args: weights("missing", (w) => w.delete(norm)), status: 65, words: [norm, "missing"] },
		{
			what: "a surplus tensor",
			args: weights("surplus", (w) => w.set("model.layers.7.mlp.up_proj.weight", { shape: [1], data: new Float32Array(1) })),
			status: 65,
			words: ["model.layers.7.mlp.up_proj.weight"],
		},
		{
			what: "a NaN",
			args: weights("nan", (w) => {
				w.get("model.layers.0.mlp.up_proj.weight")!.data[3] = Number.NaN;
			}),
			status: 65,
			words: ["model.layers.0.mlp.up_proj.weight", /nan|finite/i],
		},
		{
			what: "a shard that is not there",
			args: () =>
				scoring(
					variant("shard", {
						"model.safetensors": undefined,
						"model.safetensors.index.json": JSON.stringify({ weight_map: { [norm]: "model-00001-of-00002.safetensors" } }),
					}),
				),
			status: 66,
			words: ["model-00001-of-00002.safetensors"],
		},
	]);
});

describe("adapters", () => {
	const withAdapter = (adapter: string): string[] => [
		"score",
		"--model",
		golden("qwen2-tiny", "model"),
		"--dtype",
		"f32",
		"--adapter",
		adapter,
		"--input",
		put(at("ids-ok.jsonl"), lines([{ input_ids: [1, 2, 3] }])),
	];
	const adapter =
		(name: string, change: object, weights: string | undefined = "adapter_model.safetensors") =>
		() => {
			const source = golden("qwen2-tiny", "lora", "adapter");
			const folder = at("adapters", name);
			const config = JSON.parse(readFileSync(join(source, "adapter_config.json"), "utf8"));
			put(join(folder, "adapter_config.json"), JSON.stringify({ ...config, ...change }));
			if (weights) copyFileSync(join(source, weights), join(folder, weights));
			return withAdapter(folder);
		};
	refuses([
		{
			what: "a folder that is not there",
			args: () => withAdapter("gone"),
			status: 66,
			words: ["not an adapter folder", "no such folder"],
		},
		{
			what: "a folder that is a model",
			args: () => withAdapter("model"),
			status: 66,
			words: ["not an adapter folder", "no adapter_config.json"],
		},
		{
			what: "another rank than the tensors have",
			args: adapter("rank", { r: 4 }),
			status: 65,
			words: ["another shape", "lora_A", /expected \[4, \d+\], found \[8, \d+\]/],
		},
		{ what: "DoRA", args: adapter("dora", { use_dora: true }), status: 65, words: ["DoRA"] },
		{ what: "no weights", args: adapter("empty", {}, ""), status: 66, words: ["adapter_model.safetensors"] },
		{
			what: "another model's adapter",
			args: () => withAdapter(golden("llama-tiny", "lora", "adapter")),
			status: 65,
			words: ["adapter_model.safetensors", /shape|another model/],
		},
		{
			what: "lora.init of another model, in a run",
			args: () => ["run", yaml(pipeline([sft({ lora: { init: golden("llama-tiny", "lora", "adapter") } })]))],
			status: 65,
			words: [/shape|another model/],
		},
	]);
});

describe("tokenizer", () => {
	const chat = (): string =>
		put(
			at("chat.jsonl"),
			lines([
				{
					messages: [
						{ role: "user", content: "hi" },
						{ role: "assistant", content: "ho" },
					],
				},
			]),
		);
	refuses([
		{
			what: "a malformed tokenizer.json",
			args: () => scoring(variant("badtok", { "tokenizer.json": '{"model": 3' })),
			status: 65,
			words: ["tokenizer.json", "(E_TOKENIZER)"],
		},
		{
			what: "a tokenizer.json of another kind",
			args: () => scoring(variant("oddtok", { "tokenizer.json": '{"hello": 1}' })),
			status: 65,
			words: ["tokenizer.json", "(E_TOKENIZER)"],
		},
		{
			what: "messages without a chat template",
			args: () => {
				const given = JSON.parse(readFileSync(at("model", "tokenizer_config.json"), "utf8"));
				const model = variant("nochat", { "tokenizer_config.json": JSON.stringify({ ...given, chat_template: undefined }) });
				return ["score", "--model", model, "--dtype", "f32", "--input", chat()];
			},
			status: 65,
			words: ["chat template", "chat.jsonl:1"],
		},
		{
			what: "a chat template that refuses",
			args: () => {
				const given = JSON.parse(readFileSync(at("model", "tokenizer_config.json"), "utf8"));
				const chat_template = "{{ raise_exception('only haiku') }}";
				const model = variant("haiku", { "tokenizer_config.json": JSON.stringify({ ...given, chat_template }) });
				return ["score", "--model", model, "--dtype", "f32", "--input", chat()];
			},
			status: 65,
			words: ["only haiku", "chat.jsonl:1"],
		},
		{
			what: "a PROMPT for a model without a tokenizer",
			args: () => ["generate", "--model", golden("qwen2-tiny", "model"), "hello"],
			status: 66,
			words: ["tokenizer.json"],
		},
		{
			what: "an evaluation by a model without a tokenizer",
			args: () => [
				"run",
				yaml(pipeline([{ name: "e", type: "evaluate", tasks: ["ner"] }], { model: golden("qwen2-tiny", "model") })),
			],
			status: 66,
			words: ["tokenizer.json"],
		},
	]);
});

describe("device", () => {
	refuses([
		{
			what: "a GPU that is not there",
			args: () => ["run", "good.yaml", "--device", "cuda:99"],
			status: 69,
			words: ["cuda:99", "(E_DEVICE)"],
		},
		{
			what: "a GPU that is not there, by FINTUNE_DEVICE",
			args: () => ["run", "good.yaml"],
			status: 69,
			words: ["cuda:99", "(E_DEVICE)"],
			options: () => ({ env: { FINTUNE_DEVICE: "cuda:99" } }),
		},
		{
			what: "a FINTUNE_DEVICE that is no device",
			args: () => ["run", "good.yaml"],
			status: 64,
			words: ["FINTUNE_DEVICE", "gpu"],
			options: () => ({ env: { FINTUNE_DEVICE: "gpu" } }),
		},
		{ what: "fp16 on the CPU", args: () => ["run", "good.yaml", "--dtype", "fp16"], status: 69, words: ["fp16"] },
		{
			what: "an addon that does not load",
			args: () => scoring("model"),
			status: 69,
			words: ["native addon does not load", "npm run build"],
			options: () => ({ env: { FINTUNE_NATIVE: at("gone.node") } }),
		},
	]);
});

describe("stored generations", () => {
	const of = (content: string) => () => ["evaluate", "--task", "ner", "--generations", put(at(`gen${++made}.jsonl`), content)];
	refuses([
		{ what: "a row without a doc", args: of(lines([{ output: "a" }])), status: 65, words: [/gen\d+\.jsonl:1/, "doc"] },
		{
			what: "a doc without the columns that scoring reads",
			args: of(lines([{ doc: { text: "a" }, output: "a" }])),
			status: 65,
			words: ["label"],
		},
		{ what: "a line that is not JSON", args: of("{\n"), status: 65, words: [/gen\d+\.jsonl:1/] },
		{ what: "an empty file", args: of(""), status: 65, words: [/no (row|generation)/i] },
		{
			what: "a file that is not there",
			args: () => ["evaluate", "--task", "ner", "--generations", "gone.jsonl"],
			status: 66,
			words: ["gone.jsonl"],
		},
		{
			what: "two tasks for one file",
			args: () => ["evaluate", "--task", "ner", "sc", "--generations", "gone.jsonl"],
			status: 64,
			words: ["one --task"],
		},
	]);
});

const isRoot = process.getuid?.() === 0;
const works = (program: string, ...args: string[]): boolean => spawnSync(program, args).status === 0;
/** Another user who may read the program but is not the owner of our files. */
const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
const canBeNobody = isRoot && works(nobody[0]!, ...nobody.slice(1), process.execPath, main, "--version");
const canMount = isRoot && works("unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt");
const whyNot = (can: boolean, needs: string): string => (can ? "" : ` (skipped: needs ${needs})`);

describe("files", () => {
	refuses([
		{
			what: "an --out that is a file",
			args: () => ["run", "good.yaml", "--out", at("rows.jsonl")],
			status: 73,
			words: ["rows.jsonl", "a file"],
		},
		{
			what: "an --out below a file",
			args: () => ["run", "good.yaml", "--out", at("rows.jsonl", "run")],
			status: 73,
			words: ["rows.jsonl", "a file"],
		},
		{ what: "a report on a folder that is no run", args: () => ["report", "model"], status: 66, words: ["no run folder"] },
		{
			what: "a run folder whose result.json is broken",
			args: () => ["report", join(put(at("brokenrun", "result.json"), "{"), "..")],
			status: 65,
			words: ["result.json", "is not JSON"],
		},
	]);

	describe.skipIf(!canBeNobody)(`as another user${whyNot(canBeNobody, "root and setpriv")}`, () => {
		beforeAll(() => chmodSync(dir, 0o755));
		const options = () => ({ prefix: nobody });
		refuses([
			{
				what: "a folder that may not be written",
				args: () => ["run", "good.yaml", "--out", at("forbidden")],
				status: 77,
				words: ["forbidden", "permission denied"],
				options,
			},
			{
				what: "a model that may not be read",
				args: () => {
					const model = variant("secret", {});
					chmodSync(join(model, "model.safetensors"), 0);
					return scoring(model);
				},
				status: 77,
				words: ["model.safetensors", "permission denied"],
				options,
			},
			{
				what: "data that may not be read",
				args: () => {
					chmodSync(put(at("secret.jsonl"), lines([{ text: "a" }])), 0);
					return ["score", "--model", "model", "--input", "secret.jsonl"];
				},
				status: 77,
				words: ["secret.jsonl", "permission denied"],
				options,
			},
			{
				what: "a run folder that may not be written any more",
				args: () => {
					mkdirSync(at("locked", "stages"), { recursive: true });
					return ["run", "good.yaml", "--out", at("locked")];
				},
				status: 77,
				words: ["locked", "permission denied"],
				options,
			},
		]);
	});

	describe.skipIf(!canMount)(`on a file system of its own${whyNot(canMount, "root and unshare")}`, () => {
		/** Runs with a small file system mounted at a folder, seen by this process only; what is left there comes to `kept`. */
		const mounted = (folder: string, options: string, kept: string): string[] => [
			"unshare",
			"-m",
			"sh",
			"-c",
			`mount -t tmpfs -o ${options} tmpfs "$1" && shift && { "$@"; status=$?; cp -r ${folder} ${kept}; exit $status; }`,
			"sh",
			folder,
		];
		it("a disk that is full: status 74, one message, nothing that looks finished", async () => {
			const folder = at("small");
			mkdirSync(folder);
			const file = yaml(pipeline([sft({ lora: { r: 64 } })]));
			const kept = at("small-kept");
			const prefix = mounted(folder, "size=64k", kept);
			expectRefusal(await fintune(["run", file, "--out", join(folder, "run")], { cwd: dir, prefix }), 74, ["no space left"]);
			expect(existsSync(join(kept, "run"))).toBe(true);
			expectNothingFinished(join(kept, "run"));
		});

		it("a file system that is read-only: status 73", async () => {
			const folder = at("readonly");
			mkdirSync(folder);
			const prefix = mounted(folder, "ro", at("readonly-kept"));
			expectRefusal(await fintune(["run", "good.yaml", "--out", join(folder, "run")], { cwd: dir, prefix }), 73, ["read-only"]);
		});
	});

	const hasPrlimit = works("prlimit", "--version");
	it.skipIf(!hasPrlimit)("a limit on the size of files: status 74", async () => {
		const out = at("limited");
		const file = yaml(pipeline([sft({ lora: { r: 64 } })]));
		const prefix = ["prlimit", "--fsize=16384"];
		expectRefusal(await fintune(["run", file, "--out", out], { cwd: dir, prefix }), 74, ["file too large"]);
		expectNothingFinished(out);
	});

	it.skipIf(!existsSync("/dev/full"))("a full disk behind stdout: status 74", async () => {
		const full = openSync("/dev/full", "w");
		const { status, stderr } = await fintune(["tasks", "--json"], { stdio: ["ignore", full, "pipe"] });
		closeSync(full);
		expect(status, stderr).toBe(74);
		expect(stderr).toMatch(/stdout: no space left/);
		expect(stderr).not.toMatch(/^\s+at /m);
	});

	it("a reader that has seen enough ends the command quietly", async () => {
		const { status, stderr } = await fintune(["tasks", "--json"], { started: (child) => child.stdout!.destroy() });
		expect(status, stderr).toBe(0);
		expect(stderr).toBe("");
	});
});

describe("FINTUNE_LOG=json", () => {
	it("tells the error as one line for programs", async () => {
		const { status, stderr, stdout } = await fintune(["run", at("gone.yaml")], { env: { FINTUNE_LOG: "json" } });
		expect(status).toBe(66);
		expect(stdout).toBe("");
		expect(JSON.parse(stderr)).toMatchObject({ code: "E_NOT_FOUND", exitStatus: 66, msg: expect.stringContaining("gone.yaml") });
	});
});
