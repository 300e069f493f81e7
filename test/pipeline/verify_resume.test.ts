/** `--verify-resume`: finished stages replayed from a checkpoint. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { verifyResume } from "../../src/pipeline/verify_resume.js";
import { writeManifest } from "../../src/stages/manifest.js";
import { fintune, lines, put } from "../cli/cli.js";
import { tinyModel } from "./tiny.js";

let dir: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-verify-"));
	await tinyModel(join(dir, "model"));
	put(join(dir, "rows.jsonl"), lines(["a", "b", "c"].map((x) => ({ prompt: `Row ${x}:`, completion: " yes" }))));
	put(join(dir, "pairs.jsonl"), lines([{ prompt: "Is it so?", chosen: " yes", rejected: " no no no" }]));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("every trained stage ends with the same bytes, and nothing is left behind", async () => {
	const common = { lora: { r: 2, dropout: 0.1 }, learning_rate: 0.01, batch_size: 2, save_steps: 2 };
	const stages = [
		{ name: "sft", type: "sft", data: [{ path: "rows.jsonl" }], max_steps: 5, ...common },
		{ name: "dpo", type: "dpo", data: [{ path: "pairs.jsonl" }], max_steps: 3, ...common },
		{ name: "short", type: "sft", data: [{ path: "rows.jsonl" }], max_steps: 1, ...common },
	];
	const file = put(
		join(dir, "p.yaml"),
		stringify({ name: "small", model: "model", device: "cpu", dtype: "f32", threads: 1, stages }),
	);
	const run = (...more: string[]) => fintune(["run", file, "--out", "out", ...more], { cwd: dir });
	expect((await run()).status).toBe(0);
	const before = readdirSync(join(dir, "out", "stages")).sort();
	const verified = await run("--verify-resume");
	expect(verified.status).toBe(0);
	expect(verified.stderr).toMatch(/sft: replayed from checkpoint-2: the same bytes/);
	expect(verified.stderr).toMatch(/dpo: replayed from checkpoint-2: the same bytes/);
	expect(verified.stderr).toMatch(/short: no checkpoint to replay from/);
	expect(readdirSync(join(dir, "out", "stages")).sort()).toEqual(before);
	const journal = readFileSync(join(dir, "out", "journal.jsonl"), "utf8");
	expect(journal.match(/"resume verified"/g)).toHaveLength(2);
});

test("other bytes are named; measured times are not among them", async () => {
	const folder = join(dir, "stage");
	mkdirSync(join(folder, "checkpoints", "checkpoint-10"), { recursive: true });
	mkdirSync(join(folder, "checkpoints", "checkpoint-9"));
	writeFileSync(join(folder, "adapter.safetensors"), "trained");
	writeFileSync(join(folder, "metrics.jsonl"), "1 s");
	const manifest = await writeManifest(folder, "checkpoints");
	const replay = (content: string) => async (scratch: string) => {
		expect(readdirSync(join(scratch, "checkpoints"))).toEqual(["checkpoint-9"]);
		writeFileSync(join(scratch, "adapter.safetensors"), content);
		writeFileSync(join(scratch, "metrics.jsonl"), "2 s");
	};
	expect(await verifyResume(folder, manifest, replay("trained"))).toBe("checkpoint-9");
	await expect(verifyResume(folder, manifest, replay("trained otherwise"))).rejects.toMatchObject({
		code: "E_CHECKSUM",
		exitStatus: 65,
		message: expect.stringMatching(/replayed from checkpoint-9.*adapter\.safetensors/s),
	});
	expect(readdirSync(dir).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});
