import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { golden } from "../engine/golden.js";
import { fintune, put } from "./cli.js";

let dir: string;
beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-bench-cli-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const swiglu = ["bench", "kernels", "--op", "swiglu_forward", "--shapes", "swiglu:T=8,F=16", "--rounds", "2"];
const parse = (text: string) =>
	text
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line) as Record<string, unknown>);

describe("bench kernels", () => {
	let earlier: string;
	beforeAll(async () => {
		const { status, stdout } = await fintune([...swiglu, "--json"]);
		expect(status).toBe(0);
		earlier = put(join(dir, "earlier.jsonl"), stdout);
	});

	it("writes JSON lines", () => {
		expect(parse(readFileSync(earlier, "utf8")).map((line) => [line.op, line.shape])).toMatchObject([
			["swiglu_forward", "T=8,F=16"],
			["gemm", expect.stringMatching(/^M=/)],
			["copy", expect.stringMatching(/^BYTES=/)],
		]);
	});

	it("compares with them in a table", async () => {
		const { status, stdout } = await fintune([...swiglu, "--against", earlier]);
		expect(status).toBe(0);
		expect(stdout).toMatch(/^op +shape .*now\/then/m);
		expect(stdout).toMatch(/^swiglu_forward +T=8,F=16 .* yes /m);
		expect(stdout).toMatch(/^3 compared: /m);
	});

	it("compares with them in JSON lines", async () => {
		const { status, stdout, stderr } = await fintune([...swiglu, "--against", earlier, "--json"]);
		expect(status).toBe(0);
		for (const line of parse(stdout)) {
			expect(line.against).toMatchObject({ ratio: expect.any(Number), verdict: expect.stringMatching(/^(slower|faster|same)$/) });
		}
		expect(stderr).toMatch(/^3 compared: /m);
	});

	it.each([
		[["--op", "atention"], 64, "did you mean attention?"],
		[["--shapes", "smollm-135m"], 64, "did you mean smollm2-135m?"],
		[["--rounds", "0"], 64, "--rounds"],
		[["--against", "none.jsonl"], 66, "none.jsonl"],
		[["--device", "cuda:7"], 69, "device: "],
		[["--dtype", "int4"], 64, "Expected one of"],
	])("%j ends with %i", async (args, status, message) => {
		const result = await fintune(["bench", "kernels", ...args, "--json"], { cwd: dir });
		expect(result).toMatchObject({ status, stdout: "", stderr: expect.stringContaining(message) });
		expect(result.stderr).not.toContain("    at ");
	});
});

describe("bench train", () => {
	const args = ["bench", "train", "--tokens", "32", "--length", "16", "--r", "2", "--steps", "1", "--warmup", "0"];
	it("writes one JSON document", async () => {
		const { status, stdout } = await fintune([...args, "--model", golden("llama-tiny", "model"), "--dtype", "f32", "--json"]);
		expect(status).toBe(0);
		expect(JSON.parse(stdout)).toMatchObject({ bench: "train", tokens: 32, dtype: "f32", steps: 1 });
	});

	it("writes lines for people", async () => {
		const { status, stdout } = await fintune([...args, "--model", golden("llama-tiny", "model"), "--objective", "dpo"]);
		expect(status).toBe(0);
		expect(stdout).toMatch(/^peak bytes +\S+ \S+ planned/m);
	});

	it.each([
		[["--model", "qwen2.5-7b"], 64, "did you mean qwen2.5-"],
		[["--model", "./none"], 66, "no such model"],
		[[], 64, "--model"],
		[["--model", "tiny", "--r", "0"], 64, "--r"],
	])("%j ends with %i", async (more, status, message) => {
		const result = await fintune([...args, ...more], { cwd: dir });
		expect(result).toMatchObject({ status, stdout: "", stderr: expect.stringContaining(message) });
	});
});

it("says what there is to measure", async () => {
	const { status, stdout } = await fintune(["bench", "--help"]);
	expect(status).toBe(0);
	expect(stdout).toMatch(/kernels[\s\S]*train/);
});
