/**
 * What the CUDA kernels move, against bench/traffic.json: a lost swizzle, an access across sectors or bytes that are
 * fetched once more fail here. The model itself is checked by hand in traffic.cu.
 * @module
 */
import { afterEach, describe, expect, it } from "vitest";
// @ts-expect-error a script without declarations
import * as script from "../../scripts/traffic.mjs";
import { parseShape } from "../../src/bench/op.js";
import { opBenches } from "../../src/bench/registry.js";
import { BenchTensors } from "../../src/bench/tensors.js";
import { kernels } from "../../src/engine/kernels.js";
import { readText } from "../repository.js";

interface Case {
	op: string;
	shape: string;
	dtype: string;
	sm: number;
}
interface Cost {
	taken: number;
	least: number;
}
type Moved = Case & { kernel: string; launches: number; wavefronts: Cost; sectors: Cost; read: Cost; written: Cost };

const { cases, compare, factor } = script as {
	cases: Case[];
	compare(found: Moved[], known: Moved[]): string[];
	factor(cost: Cost): number;
};
const measure = (one: Case): Moved[] => script.measure({ kernels, opBenches, parseShape, BenchTensors }, one);
const known = JSON.parse(readText("bench/traffic.json")) as Moved[];
const nameOf = ({ op, shape, dtype, sm }: Case): string => `${op} ${shape} ${dtype} sm_${sm}`;

describe.runIf(kernels.simt)("what kernels move", () => {
	const simt = kernels.simt as NonNullable<typeof kernels.simt>;
	afterEach(() => simt.reset());

	it.each(cases.map((one) => [nameOf(one), one] as const))("is no more than recorded: %s", (_, one) => {
		const found = measure(one);
		expect(found.length).toBeGreaterThan(0);
		expect(compare(found, known)).toEqual([]);
		expect(known.filter((record) => nameOf(record) === nameOf(one)).map(({ kernel }) => kernel)).toEqual(
			found.map(({ kernel }) => kernel),
		);
	});

	it("is the same with any schedule", () => {
		const one = cases.find(({ op, sm }) => op === "attention_backward" && sm === 80) as Case;
		const [first, again] = [measure(one), measure(one)];
		expect(again).toEqual(first);
	});

	it.each(["linear_forward", "attention_forward", "attention_backward"])("shows that %s has lost its swizzles", (op) => {
		const one = cases.find((c) => c.op === op && c.dtype === "bf16") as Case;
		measure(one);
		const swizzles = simt.sites().filter(({ kind }) => kind === "swizzle");
		for (const site of swizzles) simt.disableSite(site);
		const problems = compare(measure(one), known);
		expect(problems.length).toBeGreaterThan(0);
		for (const problem of problems) expect(problem).toMatch(/: wavefronts [2-9]/);
	});

	it("counts nothing that is not asked for", () => {
		expect(simt.trafficOf(() => undefined)).toEqual([]);
	});
});

it("finds what has become worse, and what is not recorded", () => {
	const cost = (taken: number, least = 100) => ({ taken, least });
	const record = { op: "a", shape: "T=1", dtype: "f32", sm: 80, kernel: "k", launches: 1 };
	const was: Moved = { ...record, wavefronts: cost(120), sectors: cost(100), read: cost(300), written: cost(0, 0) };
	expect(factor(was.wavefronts)).toBe(1.2);
	expect(factor(was.written)).toBe(1);
	expect(compare([was], [was])).toEqual([]);
	expect(compare([{ ...was, read: cost(200), sectors: cost(200, 200) }], [was])).toEqual([]);
	expect(compare([{ ...was, wavefronts: cost(121), written: cost(2, 1) }], [was])).toEqual([
		"a T=1 f32 sm_80: k: wavefronts 1.210 times the least, 1.200 recorded",
		"a T=1 f32 sm_80: k: written 2.000 times the least, 1.000 recorded",
	]);
	expect(compare([{ ...was, kernel: "other" }], [was])).toEqual(["a T=1 f32 sm_80: other: not recorded"]);
});
