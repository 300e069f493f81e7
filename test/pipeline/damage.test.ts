import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PhiloxStream } from "../../src/philox.js";
import { parsePipeline } from "../../src/pipeline/config.js";
import { runPipeline } from "../../src/pipeline/runner.js";
import { lines, put } from "../cli/cli.js";
import { pipelineText, smallSft, tinyModel, tinyTaskData } from "./tiny.js";

let dir: string;
let out: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-damage-"));
	out = join(dir, "run");
	await tinyModel(join(dir, "model"));
	tinyTaskData(join(dir, "data"));
	put(join(dir, "rows.jsonl"), lines([{ prompt: "Row 1:", completion: " yes" }]));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const text = pipelineText([smallSft(), { name: "check", type: "evaluate", tasks: ["ner"], split: "valid", max_new_tokens: 4 }]);

async function run(): Promise<{ told: string[]; messages: string[] }> {
	const messages: string[] = [];
	const progress = { update() {}, message: (line: string) => void messages.push(line), end() {} };
	const { stages } = await runPipeline(parsePipeline(text, join(dir, "p.yaml")), { out, progress });
	return { told: stages.map((s) => `${s.name} ${s.status}`), messages };
}
const filesOf = (stage: string) =>
	(readdirSync(join(out, "stages", stage), { recursive: true }) as string[])
		.map((name) => join(out, "stages", stage, name))
		.filter((path) => statSync(path).isFile() && !path.includes("/checkpoints/"))
		.sort();
const journal = () =>
	readFileSync(join(out, "journal.jsonl"), "utf8")
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line));
const results = () =>
	["stages/sft/adapter/adapter_model.safetensors", "stages/check/generations/ner.jsonl", "stages/check/scores.json"].map((name) =>
		readFileSync(join(out, name), "base64"),
	);

describe("a finished stage", () => {
	it("runs again, and says why, where any bit of any of its files has flipped", async () => {
		expect((await run()).told).toEqual(["sft done", "check done"]);
		const good = results();
		const random = new PhiloxStream(1, [0, 0]);
		for (const stage of ["sft", "check"]) {
			expect(filesOf(stage).length).toBeGreaterThan(3);
			// By number: a stage that ran again has an event file of another name.
			for (let i = 0; i < filesOf(stage).length; i++) {
				const path = filesOf(stage)[i]!;
				const file = path.slice(out.length + 1);
				const bytes = readFileSync(path);
				const bit = random.nextBelow(bytes.length * 8);
				bytes[bit >> 3]! ^= 1 << (bit & 7);
				writeFileSync(path, bytes);
				const { told, messages } = await run();
				expect(told, file).toEqual(stage === "sft" ? ["sft done", "check reused"] : ["sft reused", "check done"]);
				expect(messages.join("\n"), file).toContain(`${stage}: runs again, because a file of it is damaged: ${path}: `);
				expect(
					journal()
						.filter((e) => e.event === "damaged")
						.at(-1),
				).toMatchObject({
					stage,
					file: path.slice(join(out, "stages", stage).length + 1),
				});
				expect(results(), file).toEqual(good);
			}
		}
		expect((await run()).told).toEqual(["sft reused", "check reused"]);
	});

	it("runs again where a file is shorter, or gone", async () => {
		const good = results();
		truncateSync(join(out, "stages", "check", "generations", "ner.jsonl"), 10);
		rmSync(join(out, "stages", "sft", "adapter"), { recursive: true });
		const { told, messages } = await run();
		expect(told).toEqual(["sft done", "check done"]);
		expect(messages.join("\n")).toMatch(/adapter\/README\.md: it is missing[\s\S]*ner\.jsonl: expected \d+ bytes, found 10/);
		expect(results()).toEqual(good);
	});

	it("is unfinished without its manifest", async () => {
		rmSync(join(out, "stages", "check", "manifest.json"));
		expect((await run()).told).toEqual(["sft reused", "check done"]);
	});
});

describe("what a crash leaves", () => {
	it("is cleared away: temporary files at any depth, and a torn last line of the journal", async () => {
		const left = [".result.json.17.0a1b2c3d.tmp", "stages/sft/adapter/.adapter_config.json.17.0a1b2c3d.tmp"];
		const kept = "stages/sft/mine.tmp";
		for (const name of [...left, kept]) put(join(out, name), "half");
		const before = readFileSync(join(out, "journal.jsonl"), "utf8");
		writeFileSync(join(out, "journal.jsonl"), `${before}{"time":"2026-01-01T00:0`);
		expect((await run()).told).toEqual(["sft reused", "check reused"]);
		for (const name of left) expect(existsSync(join(out, name)), name).toBe(false);
		expect(existsSync(join(out, kept))).toBe(true);
		expect(readFileSync(join(out, "journal.jsonl"), "utf8").startsWith(before)).toBe(true);
		expect(journal().filter((e) => e.event === "cleaned")).toEqual([
			expect.objectContaining({ removed: [...left, "the torn last line of journal.jsonl"] }),
		]);
	});
});
