/** Rows with a text of a test split: dropped, counted, or kept where the pipeline says so. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parsePipeline } from "../../src/pipeline/config.js";
import { planPipeline } from "../../src/pipeline/plan.js";
import { runPipeline } from "../../src/pipeline/runner.js";
import type { RunResult } from "../../src/pipeline/types.js";
import { lines, put } from "../cli/cli.js";
import { pipelineText, tinyModel, tinyTaskData } from "./tiny.js";

type Stage = Record<string, unknown>;

let dir: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-leaks-"));
	process.env.XDG_DATA_HOME = join(dir, "home");
	await tinyModel(join(dir, "model"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const held = ["Tesco shares climb as grocer returns to profit growth", "Central bank leaves its main rate where it was in May"];
const fpb = (text: string) => ({
	query: `Which?\nText: ${text}\nAnswer:`,
	answer: "neutral",
	choices: ["neutral"],
	gold: 0,
	text,
});
const clean = [
	{ prompt: "Is it?", completion: " yes" },
	{ prompt: "What came of it?", completion: ` ${held[0]}` },
];
const leaky = [
	clean[0]!,
	{ prompt: held[0]!, completion: " no" },
	clean[1]!,
	{ prompt: `Say.\nText: ${held[1]!.toUpperCase()}\nAnswer:`, completion: " no" },
	{ prompt: `RPT ${held[1]}`, completion: " no" },
];

const sft = (more: Stage = {}): Stage => ({
	...{ name: "sft", type: "sft", data: [{ path: "rows.jsonl" }], lora: { r: 2 }, learning_rate: 1e-3 },
	...{ batch_size: 2, num_train_epochs: 1, ...more },
});

let count = 0;
const pipelineOf = (stages: Stage[]) => parsePipeline(pipelineText(stages), join(dir, "p.yaml"));
async function run(stages: Stage[], out = join(dir, `run-${++count}`)): Promise<{ result: RunResult; out: string }> {
	const progress = { update() {}, message() {}, end() {} };
	return { result: await runPipeline(pipelineOf(stages), { progress, out }), out };
}
const adapter = (out: string): Buffer => readFileSync(join(out, "stages/sft/adapter/adapter_model.safetensors"));
const rowsFile = (rows: readonly object[]): string => put(join(dir, "rows.jsonl"), lines(rows));
const testSet = (...texts: string[]): string => put(join(dir, "data/fpb/test.jsonl"), lines(texts.map(fpb)));

beforeEach(() => {
	rmSync(join(dir, "data"), { recursive: true, force: true });
	mkdirSync(join(dir, "data"));
	tinyTaskData(join(dir, "data"));
	testSet(...held);
	rowsFile(leaky);
});

describe("a training stage", () => {
	it("drops rows with a test text in the prompt, of any task, and counts them by kind; not for a completion", async () => {
		const { result, out } = await run([sft()]);
		expect(result.stages[0]?.metrics).toMatchObject({ leaks: 3, leaks_exact: 1, leaks_normalised: 1, leaks_near: 1 });
		expect(result.stages[0]?.note).toContain(
			"rows.jsonl: 2 rows, tokens min 6 median 6 p95 25 max 25, 3 dropped with a text of a test split (1 exact, 1 normalised, 1 near)",
		);
		rowsFile(clean);
		const without = await run([sft()]);
		expect(without.result.stages[0]?.metrics).toMatchObject({ leaks: 0, leaks_exact: 0, leaks_normalised: 0, leaks_near: 0 });
		expect(without.result.stages[0]?.note).not.toContain("test split");
		expect(adapter(out).equals(adapter(without.out))).toBe(true);
	});

	it("keeps them under allow_leaks, and counts them all the same", async () => {
		const dropped = await run([sft()]);
		const { result, out } = await run([sft({ allow_leaks: true })]);
		expect(result.stages[0]?.metrics).toMatchObject({ leaks: 3, leaks_exact: 1, leaks_normalised: 1, leaks_near: 1 });
		expect(result.stages[0]?.note).toMatch(/: 5 rows, .*, 3 kept with a text of a test split \(1 exact, 1 normalised, 1 near\)/);
		expect(adapter(out).equals(adapter(dropped.out))).toBe(false);
		testSet("A text that has nothing to do with any of this");
		const nothingHeld = await run([sft()]);
		expect(adapter(out).equals(adapter(nothingHeld.out))).toBe(true);
	});

	it("takes its limit from what is left", async () => {
		const { result } = await run([sft({ data: [{ path: "rows.jsonl", limit: 2 }] })]);
		expect(result.stages[0]?.note).toMatch(/^rows\.jsonl: 2 rows, .*, 1 dropped with a text of a test split \(1 exact\)$/);
	});

	it("also looks at a task's own train rows, which its loader has cleaned but of near duplicates", async () => {
		const train = ["Shares of Nokia fell on Monday.", held[0]!, held[1]!.replace("May", "June"), "Revenue rose."];
		put(join(dir, "data/fpb/train.jsonl"), lines(train.map(fpb)));
		put(join(dir, "data/fpb/valid.jsonl"), lines([fpb("Outlook unchanged.")]));
		const data = [{ task: "fpb" }];
		const { result } = await run([sft({ data })]);
		expect(result.stages[0]?.metrics).toMatchObject({ leaks: 2, leaks_exact: 1, leaks_near: 1 });
		expect(result.stages[0]?.note).toMatch(/^fpb train: 2 rows/);
		const kept = await run([sft({ data, allow_leaks: true })]);
		expect(kept.result.stages[0]?.metrics).toMatchObject({ leaks: 2, leaks_exact: 1, leaks_near: 1 });
		expect(kept.result.stages[0]?.note).toMatch(/^fpb train: 4 rows/);
	});

	it("refuses a source of nothing else, and says what to do", async () => {
		rowsFile(leaky.filter((row) => row.completion === " no"));
		await expect(run([sft()])).rejects.toMatchObject({
			code: "E_DATA_EMPTY",
			message: expect.stringContaining("every row of rows.jsonl has a text of a test split"),
		});
	});

	it("says so in the plan", async () => {
		const plan = await planPipeline(pipelineOf([sft()]));
		expect(plan.stages[0]?.rows).toBe(2);
		expect(plan.stages[0]?.notes.join()).toContain("3 dropped with a text of a test split");
	});

	it("does so for pairs, for texts and for stored generations", async () => {
		put(join(dir, "pairs.jsonl"), lines(leaky.map(({ prompt }) => ({ prompt, chosen: " yes", rejected: " no" }))));
		const dpo = { name: "dpo", type: "dpo", lora: { r: 2 }, batch_size: 2, max_steps: 1 };
		const pairs = await run([{ ...dpo, data: [{ path: "pairs.jsonl" }] }]);
		expect(pairs.result.stages[0]?.metrics).toMatchObject({ leaks: 3 });
		put(join(dir, "texts.jsonl"), lines([{ text: `Monday. ${held[0]}, it said.` }, { text: "Nothing of the kind." }]));
		const texts = await run([{ ...sft({ data: [{ path: "texts.jsonl" }] }), type: "pretrain", lora: undefined }]);
		expect(texts.result.stages[0]?.metrics).toMatchObject({ leaks: 1, leaks_near: 1 });
		const probe = { name: "probe", type: "evaluate", tasks: ["ner"], split: "train", limit: 4, max_new_tokens: 2 };
		const stages = [probe, { ...dpo, data: [{ from: "probe" }] }];
		const before = await run(stages);
		const generations = join(before.out, "stages/probe/generations/ner.jsonl");
		const { query } = JSON.parse(readFileSync(generations, "utf8").split("\n")[1]!) as { query: string };
		testSet(`Seen today: ${query.split("\n").at(-2)!.replace("Text: ", "")} and that was all there was`, query);
		const after = await run(stages);
		expect(before.result.stages[1]?.note).toContain("4 pairs from 4 generations");
		expect(before.result.stages[1]?.metrics.leaks).toBe(0);
		expect(after.result.stages[1]?.metrics.leaks).toBeGreaterThan(0);
		expect(after.result.stages[1]?.note).toContain("dropped with a text of a test split");
	});

	it("synthesize leaves such texts out of its corpus", async () => {
		put(join(dir, "corpus.jsonl"), lines([{ text: "Nothing of the kind." }, { text: held[0]! }, { text: `${held[1]} again` }]));
		const synth = { name: "synth", type: "synthesize", task: "ner", corpus: "corpus.jsonl", samples: 1, max_new_tokens: 2 };
		const { result } = await run([synth]);
		expect(result.stages[0]?.metrics).toMatchObject({ texts: 1, leaks: 2, leaks_exact: 1, leaks_near: 1 });
		expect(result.stages[0]?.note).toContain("2 dropped with a text of a test split (1 exact, 1 near) before sampling");
		const kept = await run([{ ...synth, allow_leaks: true }]);
		expect(kept.result.stages[0]?.metrics).toMatchObject({ texts: 3, leaks: 2 });
	});
});

describe("a finished stage", () => {
	it("is repeated when a test set takes other rows from it, and only then", async () => {
		const { out } = await run([sft()]);
		const status = async (stage = sft()) => (await run([stage], out)).result.stages[0]?.status;
		expect(await status()).toBe("reused");
		put(join(dir, "data/fiqasa/test.jsonl"), lines([fpb("A text that has nothing to do with any of this")]));
		expect(await status()).toBe("reused");
		put(join(dir, "data/fiqasa/test.jsonl"), lines([fpb("Is it?")]));
		expect(await status()).toBe("done");
		expect(await status(sft({ allow_leaks: true }))).toBe("done");
		rmSync(join(dir, "data/fiqasa"), { recursive: true });
		expect(await status(sft({ allow_leaks: true }))).toBe("reused");
	});
});
