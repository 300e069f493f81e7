/**
 * `npm run check:gpu` on the CPU, in small: that it finds nothing wrong where nothing is, everything that is made wrong,
 * and says so in its document and exit status.
 */
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
// @ts-expect-error a script without declarations
import { checkBenches } from "../../scripts/check/benches.mjs";
// @ts-expect-error a script without declarations
import { checkGemm } from "../../scripts/check/machine.mjs";
// @ts-expect-error a script without declarations
import { stored } from "../../scripts/check/numbers.mjs";
// @ts-expect-error a script without declarations
import { opTable } from "../../scripts/check/op_table.mjs";
// @ts-expect-error a script without declarations
import { checkOps } from "../../scripts/check/ops.mjs";
import { root } from "../repository.js";

interface Finished {
	status: number | null;
	stdout: string;
	stderr: string;
}

function checkGpu(...args: string[]): Promise<Finished> {
	return new Promise((done, fail) => {
		const child = spawn(process.execPath, [join(root, "scripts", "check-gpu.mjs"), ...args], {
			env: { ...process.env, FINTUNE_DEVICE: "" },
		});
		const text = { stdout: "", stderr: "" };
		for (const stream of ["stdout", "stderr"] as const) {
			child[stream].setEncoding("utf8").on("data", (chunk: string) => {
				text[stream] += chunk;
			});
		}
		child.on("error", fail).on("close", (status) => done({ status, ...text }));
	});
}

const small = ["--device", "cpu", "--size", "small"];
let dir: string;
beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-check-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("the script", () => {
	it("checks a device, measures it, and passes", { timeout: 240_000 }, async () => {
		const { status, stdout, stderr } = await checkGpu(...small, "--dtype", "f32");
		expect(stderr).toMatch(/\d+ checks, 0 wrong\n$/);
		expect(status).toBe(0);
		const document = JSON.parse(stdout);
		expect(document).toMatchObject({
			check_gpu: 1,
			passed: true,
			failed: 0,
			dtypes: ["f32"],
			device: { name: "cpu", gpu: null },
		});
		const kinds = document.records.map((r: { check: string }) => r.check);
		expect(new Set(kinds)).toEqual(new Set(["op", "golden", "repeat", "bench"]));
		const ops = new Set(document.records.filter((r: { check: string }) => r.check === "op").map((r: { op: string }) => r.op));
		expect(ops.size).toBe(
			opTable.filter((op: { shapes: unknown[]; hopper?: boolean }) => op.shapes.length > 0 && !op.hopper).length,
		);
		const goldens = document.records.filter((r: { check: string }) => r.check === "golden");
		expect(new Set(goldens.map((r: { case: string }) => r.case)).size).toBe(11);
		expect(document.bench.kernels.at(-1)).toMatchObject({ op: "copy", samples_ms: expect.any(Array) });
		expect(document.bench.train).toMatchObject([{ objective: "sft" }, { objective: "dpo" }]);
	});

	it.each([
		[["--size", "huge"], 64, "--size huge"],
		[["--size", "sanitizer"], 64, "ops, goldens and repeats"],
		[["--only", "everything"], 64, "--only everything"],
		[["--dtype", "int8"], 64, "--dtype int8"],
		[["--device", "cuda:99", "--op", "atention"], 64, "--op atention"],
		[["--colour"], 64, "--colour"],
		[["--device", "tpu"], 64, "unknown device"],
		[["--device", "cuda:99"], 69, ""],
	])("%j ends with %i", async (args, status, message) => {
		const finished = await checkGpu(...args);
		expect(finished).toMatchObject({ status, stdout: "", stderr: expect.stringContaining(message) });
		expect(finished.stderr).not.toContain("    at ");
	});

	it("ends with 69 and one line where there is no GPU", async () => {
		const { status, stdout, stderr } = await checkGpu("--size", "small", "--only", "ops", "--op", "sample");
		// Where there is one, this is a check like any other.
		if (status === 0) return expect(JSON.parse(stdout).device.kind).toBe("cuda");
		expect(status).toBe(69);
		expect(stdout).toBe("");
		expect(stderr).toMatch(/^check:gpu: no GPU to check: .+\n$/);
	});
});

describe("compute-sanitizer", () => {
	/** Runs what stands behind its own options, and ends as it is told to for one tool. */
	const fake = (failing: string): string => {
		const path = join(dir, `sanitizer-${failing || "none"}.mjs`);
		writeFileSync(
			path,
			`#!${process.execPath}
import { spawnSync } from "node:child_process";
const args = process.argv.slice(2);
if (args[0] === "--version") process.exit(0);
const [tool, exit] = [args[1], Number(args[3])];
const { status, stdout } = spawnSync(args[4], args.slice(5), { encoding: "utf8" });
const errors = tool === ${JSON.stringify(failing)} ? 1 : 0;
console.log(stdout + "========= COMPUTE-SANITIZER\\n========= ERROR SUMMARY: " + errors + " errors");
process.exit(errors ? exit : status);
`,
		);
		chmodSync(path, 0o755);
		return path;
	};
	const run = (program: string) =>
		checkGpu(...small, "--dtype", "f32", "--only", "sanitizer", "--op", "swiglu_forward", "--sanitizer", program);

	it("runs the checks under every tool", async () => {
		const { status, stdout } = await run(fake(""));
		expect(status).toBe(0);
		expect(JSON.parse(stdout).records).toMatchObject(
			["memcheck", "racecheck", "initcheck", "synccheck"].map((tool) => ({ tool, ok: true, summary: "ERROR SUMMARY: 0 errors" })),
		);
	});

	it("is believed when it finds something", async () => {
		const { status, stdout, stderr } = await run(fake("racecheck"));
		expect(status).toBe(70);
		expect(JSON.parse(stdout)).toMatchObject({ passed: false, failed: 1 });
		expect(stderr).toContain('"tool":"racecheck","status":86,"summary":"ERROR SUMMARY: 1 errors"');
	});

	it("sees ops, training and decoding", async () => {
		// Writes down what it should run, and runs nothing.
		const path = join(dir, "sanitizer-args.mjs");
		writeFileSync(
			path,
			`#!${process.execPath}
import { appendFileSync } from "node:fs";
appendFileSync(${JSON.stringify(join(dir, "args.jsonl"))}, JSON.stringify(process.argv.slice(2)) + "\\n");
`,
		);
		chmodSync(path, 0o755);
		expect((await checkGpu(...small, "--dtype", "f32", "--only", "sanitizer", "--sanitizer", path)).status).toBe(0);
		const lines = readFileSync(join(dir, "args.jsonl"), "utf8").trimEnd().split("\n");
		const [version, ...runs] = lines.map((line) => JSON.parse(line) as string[]);
		expect(version).toEqual(["--version"]);
		expect(runs).toHaveLength(4);
		for (const args of runs) {
			const only = args.flatMap((arg, i) => (arg === "--only" ? [args[i + 1]] : []));
			expect(only).toEqual(["ops", "goldens", "repeats"]);
		}
		// The same without it.
		const args = (runs[0] as string[]).slice(6);
		const { status, stdout } = await checkGpu(...args);
		expect(status).toBe(0);
		const seen = (JSON.parse(stdout).records as { op?: string; result?: string }[]).map(({ op, result }) => op ?? result);
		for (const name of ["gradients of a step", "recorded decoding", "step 2: loss", "greedy: wrong answers"])
			expect(seen).toContain(name);
	}, 240_000);

	it("that does not run is no pass", async () => {
		expect(await run(join(dir, "no-such-program"))).toMatchObject({
			status: 69,
			stderr: expect.stringContaining("does not run"),
		});
	});
});

describe("what is made wrong is found", () => {
	interface Op {
		name: string;
		run(door: unknown, shape: unknown, inputs: unknown): Record<string, Float32Array>;
	}
	/** The records of one op that fail when its results are changed. */
	function failing(name: string, change: (results: Record<string, Float32Array>, door: Tensors) => void, real = false): string[] {
		const op = (opTable as Op[]).find((o) => o.name === name) as Op;
		const { run } = op;
		op.run = (door, shape, inputs) => {
			const results = run(door, shape, inputs);
			// The truth of a real shape is made by the same code in f32: it stays as it is.
			if ((door as Tensors).dtype === "bf16" || !real) change(results, door as Tensors);
			return results;
		};
		try {
			const records = checkOps({ device: "cpu", dtypes: ["bf16"], shapes: 2, real, only: [name] });
			return records
				.filter((r: { ok: boolean }) => !r.ok)
				.map((r: { result: string; against: string }) => `${r.result}: ${r.against}`);
		} finally {
			op.run = run;
		}
	}
	interface Tensors {
		dtype: string;
		act(shape: number[]): { columns(first: number, count: number): unknown };
	}
	const loops = "plain loops in double";

	it("nothing, where nothing is", () => {
		expect(failing("rmsnorm_forward", () => {})).toEqual([]);
	});
	it("a value that is not a number", () => {
		expect(failing("swiglu_forward", ({ h }) => h?.fill(Number.NaN, 0, 1))).toEqual([`h: ${loops}`, `h: ${loops}`]);
	});
	it("one bit of a value that must be exact", () => {
		const flip = ({ xOut }: Record<string, Float32Array>) => {
			if (xOut) xOut[0] = (xOut[0] as number) * (1 + 2 ** -23);
		};
		expect(failing("rmsnorm_forward", flip)).toEqual([`xOut: ${loops}`, `xOut: ${loops}`]);
	});
	it("errors three times those of a plain loop, in one of the results only", () => {
		const noise = ({ dhidden }: Record<string, Float32Array>) => {
			dhidden?.forEach((x, i) => {
				dhidden[i] = x * (1 + (i % 2 ? 3 : -3) * 2 ** -8);
			});
		};
		// One row of one value against a vocabulary of one has no gradient.
		expect(failing("linear_logprob_backward", noise)).toEqual([`dhidden: ${loops}`]);
	});
});

it("fails on the fallback GEMM unless told otherwise", () => {
	const check = (info: object, { allowFallback = false, expected = true } = {}, kind = "cuda") =>
		checkGemm({ kind, name: kind, bf16: true }, { allowFallback, expected }, info);
	const used = { productLibrary: "cuBLASLt 13.0.2", productsByLibrary: 9, productsNotOffered: 0, firstNotOffered: null };
	const absent = { ...used, productLibrary: null, whyOwnProducts: "no libcublasLt.so.13", productsByLibrary: 0 };
	const refused = { ...used, productsNotOffered: 1, firstNotOffered: "NT bf16 to f32, 1 x 512 x 512" };
	const idle = { ...used, productsByLibrary: 0 };
	expect(check(used)).toMatchObject([{ result: "cuBLASLt 13.0.2", by_library: 9, ok: true }]);
	expect(check(absent)).toMatchObject([{ result: "own", reason: "no libcublasLt.so.13", ok: false }]);
	// The library is there, and products that are meant for it went elsewhere.
	expect(check(refused)).toMatchObject([{ not_offered: 1, first_not_offered: "NT bf16 to f32, 1 x 512 x 512", ok: false }]);
	expect(check(idle)).toMatchObject([{ by_library: 0, ok: false }]);
	expect(check(idle, { expected: false })).toMatchObject([{ ok: true }]);
	for (const info of [absent, refused, idle]) expect(check(info, { allowFallback: true })).toMatchObject([{ ok: true }]);
	expect(check(absent, {}, "cpu")).toEqual([]);
});

it("fails on a benchmark whose bits differ, or whose plan was wrong", () => {
	const op = { op: "a", shape: "T=1", dtype: "f32" };
	const train = { model: "tiny", objective: "sft", planned_bytes: { weights: 1 }, peak_bytes: { weights: 1 } };
	const bench = { kernels: [{ ...op, deterministic: true }], train: [train] };
	const ok = (b: unknown) => checkBenches(b).map((r: { ok: boolean }) => r.ok);
	expect(ok(bench)).toEqual([true, true]);
	expect(ok({ ...bench, kernels: [{ ...op, deterministic: false }] })).toEqual([false, true]);
	expect(ok({ ...bench, train: [{ ...train, peak_bytes: { weights: 2 } }] })).toEqual([true, false]);
});

it("rounds as the types do", () => {
	expect([1 + 2 ** -8, 1 + 3 * 2 ** -8, -Math.PI, 0, Number.POSITIVE_INFINITY].map(stored.bf16)).toEqual([
		1,
		1 + 2 ** -6,
		-3.140625,
		0,
		Number.POSITIVE_INFINITY,
	]);
	expect([1 + 2 ** -11, 1 + 3 * 2 ** -11, -Math.PI, 2 ** -24, 2 ** -26, 65504].map(stored.f16)).toEqual([
		1,
		1 + 2 ** -9,
		-3.140625,
		2 ** -24,
		0,
		65504,
	]);
});

it("is in package.json", () => {
	expect(JSON.parse(readFileSync(join(root, "package.json"), "utf8")).scripts["check:gpu"]).toBe("node scripts/check-gpu.mjs");
});
