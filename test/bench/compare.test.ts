import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ComparableFigure, compareFigures, ratioOf, readFigures } from "../../src/bench/compare.js";
import { comparisonSummary } from "../../src/bench/kernel_table.js";
import { normalValues } from "../../src/bench/tensors.js";

/** Twenty rounds round a time, with a spread of some percent. */
const rounds = (ms: number, seed: number, noise = 0.02): number[] =>
	[...normalValues(seed, 0, 20)].map((x) => ms * (1 + noise * Math.abs(x)));
const figure = (op: string, ms: number, seed: number, noise?: number): ComparableFigure => ({
	op,
	shape: "T=1",
	dtype: "f32",
	samples_ms: rounds(ms, seed, noise),
});
const verdicts = (now: ComparableFigure[], then: ComparableFigure[]) =>
	Object.fromEntries(compareFigures(now, then).map((c) => [c.op, c.verdict]));

describe("a comparison", () => {
	it("has the ratio within its interval, wider where there is more noise", () => {
		const calm = ratioOf(rounds(3, 1), rounds(2, 2));
		expect(calm.ratio).toBeCloseTo(1.5, 1);
		expect(calm.low).toBeLessThanOrEqual(calm.ratio);
		expect(calm.high).toBeGreaterThanOrEqual(calm.ratio);
		const noisy = ratioOf(rounds(3, 1, 0.5), rounds(2, 2, 0.5));
		expect(noisy.high - noisy.low).toBeGreaterThan(5 * (calm.high - calm.low));
		expect(ratioOf(rounds(3, 1), rounds(2, 2))).toEqual(calm);
	});

	it("calls slower and faster only what lies beyond noise", () => {
		expect(
			verdicts(
				[figure("a", 1.2, 1), figure("b", 1.005, 2), figure("c", 0.8, 3), figure("d", 1.05, 4, 1)],
				[figure("a", 1, 5), figure("b", 1, 6), figure("c", 1, 7), figure("d", 1, 8, 1)],
			),
		).toEqual({ a: "slower", b: "same", c: "faster", d: "same" });
	});

	it("forgives what the whole machine has lost", () => {
		const then = [figure("a", 1, 1), figure("b", 1, 2), figure("gemm", 5, 3), figure("copy", 1, 4)];
		const now = [figure("a", 1.5, 5), figure("b", 2, 6), figure("gemm", 7.5, 7), figure("copy", 1, 8)];
		expect(verdicts(now, then)).toEqual({ a: "same", b: "slower", gemm: "slower", copy: "same" });
	});

	it("forgives nothing on account of another program", () => {
		const then = [figure("a", 1, 1), figure("gemm", 5, 3)].map((f) => ({ ...f, peer: "torch" }));
		expect(verdicts([figure("a", 1.5, 5), figure("gemm", 7.5, 7)], then)).toEqual({ a: "slower", gemm: "slower" });
	});

	it("pairs by op, shape and dtype", () => {
		const now = [figure("a", 1, 1), { ...figure("a", 1, 2), dtype: "bf16" }, { ...figure("a", 1, 3), shape: "T=2" }];
		const compared = compareFigures(now, [figure("a", 1, 4), figure("z", 1, 5)]);
		expect(compared).toHaveLength(1);
		expect(comparisonSummary(compared, 2)).toBe("1 compared: none slower, none faster; 2 without a partner");
		const slow = compareFigures([figure("a", 2, 1)], [figure("a", 1, 2)]);
		expect(comparisonSummary(slow, 0)).toMatch(/^1 compared: 1 slower \(a T=1 2\.0\d\), none faster$/);
	});
});

describe("an earlier file", () => {
	let dir: string;
	beforeAll(() => {
		dir = mkdtempSync(join(tmpdir(), "fintune-compare-"));
	});
	afterAll(() => rmSync(dir, { recursive: true, force: true }));
	const read = (text: string) => {
		const path = join(dir, "figures.jsonl");
		writeFileSync(path, text);
		return readFigures(path);
	};

	it("is read line by line; lines of other benchmarks are left out", () => {
		const line = JSON.stringify({ ...figure("a", 1, 1), peer: "torch" });
		expect(read(`${line}\n\n{"bench":"train"}\n${line}\n`)).toEqual([
			{ ...figure("a", 1, 1), peer: "torch" },
			{ ...figure("a", 1, 1), peer: "torch" },
		]);
	});

	it.each([
		["", "E_DATA_EMPTY", "no figure"],
		["{\n", "E_DATA_FORMAT", "figures.jsonl:1"],
		["3\n", "E_DATA_FORMAT", "figures.jsonl:1"],
		['{"op":"a","shape":"T=1","dtype":"f32"}\n', "E_DATA_FORMAT", "samples_ms missing"],
		['{"op":"a","shape":"T=1","dtype":"f32","samples_ms":[0]}\n', "E_DATA_FORMAT", "samples_ms [0]"],
		['{"op":"a","dtype":"f32","samples_ms":[1]}\n', "E_DATA_FORMAT", '"op", "shape"'],
	])("%j is refused", (text, code, message) => {
		expect(() => read(text)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
	});

	it("that is not there is named", () => {
		expect(() => readFigures(join(dir, "none.jsonl"))).toThrow(expect.objectContaining({ code: "E_NOT_FOUND" }));
	});
});
