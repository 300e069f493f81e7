/**
 * Dense products on the warpgroups of an sm_90, which device simt executes, against the same products on mma: all
 * layouts, sums of several products, parts of long sums, edges, and synchronisation.
 * @module
 */
import { describe, expect, it } from "vitest";
import { linearBackward, linearBackwardHopper, linearForward, linearForwardHopper } from "../../src/bench/ops/linear.js";
import { kernels, type Tensor } from "../../src/engine/kernels.js";
import { expectEverySiteNeeded } from "../simt/sites.js";
import { exact, multiply, multiplyTransposed, type Round, transpose } from "./reference.js";
import { bitsEqual, expectTwice, integers, type Numbers, normal, Surroundings, stored } from "./support.js";
import { expectMeasuredBeside, useWarpgroups, visitsOf } from "./warpgroups.js";

const simt = kernels.simt;
const file = "gemm_hopper.cuh";
type Half = "bf16" | "f16";
const dtypes: readonly Half[] = ["bf16", "f16"];

interface Case {
	rows: number;
	inputs: number;
	outputs: number;
	ranks: readonly number[];
	dtype: Half;
	/** Matrices and results lie within wider ones, at addresses that are no multiple of 16. */
	odd?: boolean;
	/** Gradients of the weight and of the inputs are added to what is there. */
	added?: boolean;
}

/** How often threads have come to a site of the warpgroups' kernels. */
const visits = (): number => visitsOf(file);

function values(c: Case, seed: number, whole = true) {
	const round = stored(c.dtype);
	const make = (i: number, n: number, std: number) => (whole ? integers(seed + i, n, 3) : normal(seed + i, n, std).map(round));
	return {
		x: make(0, c.rows * c.inputs, 1),
		w: make(1, c.outputs * c.inputs, 0.2),
		bias: make(2, c.outputs, 1),
		dy: make(3, c.rows * c.outputs, 1),
		dx: make(4, c.rows * c.inputs, 1),
		dw: make(5, c.outputs * c.inputs, 1),
		a: c.ranks.map((r, i) => make(10 + i, r * c.inputs, 0.3)),
		b: c.ranks.map((r, i) => make(20 + i, c.outputs * r, 0.3)),
	};
}

/** A matrix among NaN: beside its rows, and behind its last. `odd`: at no multiple of 16 bytes. */
function put(rows: number, cols: number, from: Numbers, dtype: Half | "f32", odd = false): Tensor {
	const width = odd ? cols + 3 : Math.ceil(cols / 8) * 8 + 8;
	const all = kernels.tensor([rows + 2, width], new Float32Array((rows + 2) * width).fill(Number.NaN), { dtype });
	const inner = all.slice(0, rows).columns(0, cols);
	inner.set(Float32Array.from(from));
	return inner;
}

/** y and dx of the case's type, gradients of parameters in f32. */
function run(c: Case, v: ReturnType<typeof values>) {
	kernels.setDevice("simt");
	const { rows, inputs, outputs, ranks, dtype, odd = false, added = false } = c;
	const around = new Surroundings();
	const result = (shape: [number, number], type: Half | "f32", before?: Numbers): Tensor =>
		odd ? around.strided(...shape, before, type) : around.tensor(shape, before ?? new Float32Array(shape[0] * shape[1]), type);
	const adapters = ranks.map((r, i) => ({
		a: put(r, inputs, v.a[i] as Numbers, "f32", odd),
		b: put(outputs, r, v.b[i] as Numbers, "f32", odd),
		scale: 0.5 ** i,
	}));
	const [x, weight] = [put(rows, inputs, v.x, dtype, odd), put(outputs, inputs, v.w, dtype, odd)];
	const dy = put(rows, outputs, v.dy, dtype, odd);
	const rank = ranks.at(-1) ?? 0;
	const y = result([rows, outputs], dtype);
	const low = rank === 0 ? {} : { da: result([rank, inputs], "f32"), db: result([outputs, rank], "f32") };
	const u = rank === 0 ? {} : { u: result([rows, rank], "f32") };
	const options = { adapters, compute: dtype };
	kernels.loraLinear(x, weight, { ...options, ...u, y, bias: kernels.tensor([outputs], v.bias) });
	const dx = result([rows, inputs], dtype, added ? v.dx : undefined);
	const dweight = result([outputs, inputs], "f32", added ? v.dw : undefined);
	kernels.loraLinearBackward(dy, x, weight, { ...options, ...u, ...low, dx, accumulateDx: added, dweight });
	around.check();
	return Object.entries({ y, dx, dweight, ...u, ...low }).map(([name, t]) => [name, t.toFloat32Array()] as const);
}

/** The same in plain loops that round with r, operands of products with `operand`. */
function reference(
	c: Case,
	v: ReturnType<typeof values>,
	r: Round = exact,
	operand: Round = exact,
): Record<string, Float64Array> {
	const { rows, inputs, outputs } = c;
	const [rank] = c.ranks as [number];
	const [a, b] = [v.a[0] as Numbers, v.b[0] as Numbers];
	const sum = (p: Float64Array, q: Numbers) => p.map((t, i) => r(t + (q[i % q.length] as number)));
	const u = multiplyTransposed(v.x, a, rows, rank, inputs, r);
	const du = multiply(v.dy, b, rows, rank, outputs, r).map(operand);
	const low = u.map(operand);
	const y = sum(multiplyTransposed(v.x, v.w, rows, outputs, inputs, r), multiplyTransposed(low, b, rows, outputs, rank, r));
	return {
		y: sum(y, v.bias),
		dx: sum(multiply(v.dy, v.w, rows, inputs, outputs, r), multiply(du, a, rows, inputs, rank, r)),
		dweight: multiply(transpose(v.dy, rows, outputs), v.x, outputs, inputs, rows, r),
		u,
		da: multiply(transpose(du, rows, rank), v.x, rank, inputs, rows, r),
		db: multiply(transpose(v.dy, rows, outputs), low, outputs, rank, rows, r),
	};
}

type Results = ReturnType<typeof run>;

function expectBits(found: Results, want: Results, what: string): void {
	expect(found.map(([name]) => name)).toEqual(want.map(([name]) => name));
	found.forEach(([name, bits], i) => {
		expect(bits.every(Number.isFinite), `${name} is finite, ${what}`).toBe(true);
		expect(bitsEqual(bits, want[i]?.[1] as Float32Array), `${name}, ${what}`).toBe(true);
	});
}

/** On warpgroups, and on mma. */
function both(c: Case, v: ReturnType<typeof values>) {
	const before = visits();
	const found = run(c, v);
	const after = visits();
	const twin = kernels.withHopper(false, () => run(c, v));
	expect(visits(), "visits of the twin").toBe(after);
	return { found, used: after > before, twin };
}

describe.skipIf(!simt)("dense products on warpgroups", () => {
	useWarpgroups();

	for (const dtype of dtypes) {
		it.each([
			{ rows: 1, inputs: 1, outputs: 1, ranks: [1] },
			{ rows: 65, inputs: 97, outputs: 31, ranks: [5] },
			{ rows: 65, inputs: 97, outputs: 31, ranks: [5], odd: true, added: true },
			{ rows: 130, inputs: 72, outputs: 136, ranks: [8], added: true },
			{ rows: 127, inputs: 64, outputs: 192, ranks: [] },
			{ rows: 129, inputs: 136, outputs: 65, ranks: [16, 3, 8] },
			{ rows: 3, inputs: 264, outputs: 300, ranks: [130], odd: true },
			{ rows: 200, inputs: 257, outputs: 129, ranks: [64] },
		] as Omit<Case, "dtype">[])(`give the bits of mma where sums are exact: ${dtype}, %o`, (c) => {
			const { found, twin, used } = both({ ...c, dtype }, values({ ...c, dtype }, 3));
			expect(used).toBe(true);
			expectBits(found, twin, "as on mma");
		});
	}

	it("are an sm_90's, when asked for", () => {
		const c: Case = { rows: 5, inputs: 8, outputs: 8, ranks: [], dtype: "bf16" };
		const v = values(c, 1);
		const visited = (): boolean => {
			const before = visits();
			run(c, v);
			return visits() > before;
		};
		expect(visited()).toBe(true);
		expect(kernels.withHopper(false, visited)).toBe(false);
		for (const capability of [80, 100, 120]) {
			simt?.setCapability(capability);
			expect(visited(), `sm_${capability}`).toBe(false);
		}
	});

	it("are measured beside those that they replace, on a device that has them", () => {
		const pairs = [
			[linearForward, linearForwardHopper],
			[linearBackward, linearBackwardHopper],
		] as const;
		expectMeasuredBeside(file, pairs, { T: 3, IN: 8, OUT: 16, R: 2 });
	});

	it("leave sums of more products than there are maps to mma", () => {
		const visited = (adapters: number): number => {
			const c: Case = { rows: 9, inputs: 16, outputs: 24, ranks: new Array<number>(adapters).fill(2), dtype: "f16" };
			const before = visits();
			const { found, twin } = both(c, values(c, 2));
			expectBits(found, twin, `${adapters} adapters`);
			return visits() - before;
		};
		// Two more products that make u and du, and two fewer that make y and dx.
		expect(visited(4) - visited(3)).toBeLessThan(visited(3) - visited(2));
	});

	// With 116 tiles they are as wide as that: 64, 128 and 256 columns. All rows but some of them are not there.
	it.each(
		dtypes.flatMap((dtype) => [
			{ dtype, cols: 64 * 29 + 8 },
			{ dtype, cols: 128 * 116 - 40 },
			{ dtype, cols: 256 * 116 - 40 },
		]),
	)("have the bits that few columns have, with tiles of any width: $dtype, $cols columns", ({ dtype, cols }) => {
		const [rows, depth] = [17, 72];
		const [x, w] = [normal(1, rows * depth), normal(2, cols * depth)];
		const y = (first: number, n: number) => {
			kernels.setDevice("simt");
			const weight = put(n, depth, w.subarray(first * depth, (first + n) * depth), dtype);
			return kernels.loraLinear(put(rows, depth, x, dtype), weight, { compute: dtype }).y.toFloat32Array();
		};
		const all = y(0, cols);
		for (const first of [0, 248, cols - 70]) {
			const some = Float32Array.from(
				{ length: rows * 70 },
				(_, i) => all[Math.floor(i / 70) * cols + first + (i % 70)] as number,
			);
			expect(bitsEqual(y(first, 70), some), `columns from ${first}`).toBe(true);
		}
	});

	it.each(dtypes)("have the bits of their rows alone: %s", (dtype) => {
		const c: Case = { rows: 300, inputs: 104, outputs: 72, ranks: [24], dtype };
		const v = values(c, 4, false);
		const of = (results: Results, name: string) => results.find(([n]) => n === name)?.[1] as Float32Array;
		const all = run(c, v);
		for (const [first, n] of [
			[0, 1],
			[3, 64],
			[130, 170],
		] as const) {
			const rows = (from: Float32Array, width: number) => from.slice(first * width, (first + n) * width);
			const some = run({ ...c, rows: n }, { ...v, x: rows(v.x, 104), dy: rows(v.dy, 72) });
			for (const [name, width] of [
				["y", 72],
				["dx", 104],
				["u", 24],
			] as const) {
				expect(bitsEqual(of(some, name), rows(of(all, name), width)), `${name} of rows from ${first}`).toBe(true);
			}
		}
	});

	for (const dtype of dtypes) {
		it.each([
			{ rows: 65, inputs: 97, outputs: 31, ranks: [5] },
			{ rows: 140, inputs: 200, outputs: 136, ranks: [8] },
		])(`stay within twice a plain loop: ${dtype}, %o`, (shape) => {
			const c: Case = { ...shape, dtype };
			const v = values(c, 7, false);
			const round = stored(dtype);
			const found = run(c, v);
			const [want, loop] = [reference(c, v), reference(c, v, Math.fround, round)];
			for (const [name, bits] of found) {
				const store = name === "y" || name === "dx" ? round : Math.fround;
				expectTwice(bits, want[name] as Numbers, (loop[name] as Float64Array).map(store), name, 2 ** -20);
			}
		});
	}

	it.each([
		// Parts of 512 and more of K, in one tile and in some; the last part is shorter.
		{ rows: 1025, inputs: 72, outputs: 24, ranks: [8], dtype: "bf16" },
		{ rows: 1100, inputs: 264, outputs: 70, ranks: [16], dtype: "f16", added: true },
		{ rows: 1090, inputs: 40, outputs: 136, ranks: [96], dtype: "bf16", odd: true },
	] as Case[])("add parts of a long sum, exactly and twice the same: %o", (c) => {
		const { found, twin } = both(c, values(c, 5));
		expectBits(found, twin, "as on mma");
		const random = values(c, 6, false);
		expectBits(run(c, random), run(c, random), "again");
	});

	it.each([
		{ rows: 150, inputs: 200, outputs: 72, ranks: [8], dtype: "bf16" },
		{ rows: 600, inputs: 72, outputs: 136, ranks: [3, 72], dtype: "f16", odd: true, added: true },
	] as Case[])("give the same bits with every schedule: %o", (c) => {
		const v = values(c, 8, false);
		const first = run(c, v);
		for (const mode of ["early", "late", "random"] as const) {
			simt?.setAsyncMode(mode);
			for (let seed = 1; seed <= (mode === "random" ? 20 : 4); seed++) {
				simt?.setSeed(seed);
				expectBits(run(c, v), first, `${mode}, seed ${seed}`);
			}
		}
	});

	it.each(dtypes)("need every synchronisation: %s", (dtype) => {
		// More steps than the ring has slots: of K = inputs eight, of K = rows four.
		const c: Case = { rows: 330, inputs: 584, outputs: 8, ranks: [], dtype };
		const v = values(c, 9);
		const first = run(c, v);
		expectEverySiteNeeded(() => expectBits(run(c, v), first, "the same bits"), { capability: 90, seeds: 2 });
	});
});
