/**
 * A linear whose adapters' factors lie beside the weight, [[W, B], [A, 0]], and whose input leaves room for s u: the CUDA
 * backend then makes one product of the sum. Checked against the same op with the factors apart.
 */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { rankRoom } from "../../src/engine/beside.js";
import { kernels, type LoraFactors, type Tensor } from "../../src/engine/kernels.js";
import { exact, linear, multiplyTransposed } from "./reference.js";
import { bf16, bitsEqual, expectSameBits, expectTwice, integers, type Numbers, normal } from "./support.js";

interface Case {
	rows: number;
	inputs: number;
	outputs: number;
	ranks: readonly number[];
	dtype?: "bf16" | "f16";
	dropout?: number;
	/** How x and dy lie: with room for all ranks, without it, or in f32, of which the op makes a copy. */
	lies?: "roomy" | "bare" | "f32";
	/** How u is kept. */
	u?: "rounded" | "f32" | "again";
}

const scales = [2, 0.75, 1.25];
const roomFor = (ranks: readonly number[]): number => ranks.reduce((sum, r) => sum + rankRoom(r), 0);

/** The first columns of a matrix of NaN, with the given values. */
function within(rows: number, cols: number, width: number, values: Numbers | undefined, dtype: "f32" | "bf16" | "f16"): Tensor {
	const outer = kernels.tensor([rows, width], new Float32Array(rows * width).fill(Number.NaN), { dtype: "f32" });
	const whole = kernels.convert(outer, kernels.tensor([rows, width], undefined, { dtype }));
	const inner = whole.columns(0, cols);
	if (values) kernels.convert(kernels.tensor([rows, cols], Float32Array.from(values)), inner);
	return inner;
}

function values(c: Case, seed: number, whole = false) {
	const make = (i: number, n: number, std: number) => (whole ? integers(seed + i, n, 3) : normal(seed + i, n, std).map(bf16));
	return {
		x: make(0, c.rows * c.inputs, 1),
		w: make(1, c.outputs * c.inputs, 0.2),
		bias: make(2, c.outputs, 1),
		dy: make(3, c.rows * c.outputs, 1),
		a: c.ranks.map((r, i) => make(10 + i, r * c.inputs, 0.3)),
		b: c.ranks.map((r, i) => make(20 + i, c.outputs * r, 0.3)),
	};
}

function run(c: Case, v: ReturnType<typeof values>, beside: boolean) {
	const { rows, inputs, outputs, ranks, dtype = "bf16", lies = "roomy", u: kept = "rounded" } = c;
	const room = beside ? roomFor(ranks) : 0;
	// All that is not written below stays NaN, but for the block of zeros.
	const whole = within(outputs + room, inputs + room, inputs + room, undefined, dtype);
	const weight = whole.slice(0, outputs).columns(0, inputs);
	const put = (to: Tensor, shape: number[], from: Numbers) => kernels.convert(kernels.tensor(shape, Float32Array.from(from)), to);
	put(weight, [outputs, inputs], v.w);
	let place = 0;
	const adapters: LoraFactors[] = ranks.map((rank, i) => {
		const [a, b] = [v.a[i] as Numbers, v.b[i] as Numbers];
		const factors = {
			a: kernels.tensor([rank, inputs], Float32Array.from(a)),
			b: kernels.tensor([outputs, rank], Float32Array.from(b)),
		};
		const at = place;
		if (beside) {
			const width = rankRoom(rank);
			put(whole.slice(outputs + at, width).columns(0, inputs), [width, inputs], new Float32Array(width * inputs));
			put(whole.slice(0, outputs).columns(inputs + at, width), [outputs, width], new Float32Array(outputs * width));
			kernels.convert(factors.a, whole.slice(outputs + at, rank).columns(0, inputs));
			kernels.convert(factors.b, whole.slice(0, outputs).columns(inputs + at, rank));
			place += width;
		}
		return { ...factors, scale: scales[i] as number, ...(beside ? { beside: at } : {}) };
	});
	const type = lies === "f32" ? "f32" : dtype;
	const behind = lies === "roomy" ? room : 0;
	const xs = within(rows, inputs + behind, inputs + behind, undefined, type);
	const x = xs.columns(0, inputs);
	put(x, [rows, inputs], v.x);
	const dy = within(rows, outputs, outputs + behind, v.dy, type);
	const rank = ranks.at(-1) as number;
	const rounded = beside && kept === "rounded";
	const u = rounded ? within(rows, rank, rankRoom(rank), undefined, dtype) : kernels.tensor([rows, rank]);
	const options = {
		adapters,
		compute: dtype,
		...(c.dropout ? { dropout: { p: c.dropout, seed: 3, step: 1, site: 2 } } : {}),
	};
	const y = kernels.tensor([rows, outputs], undefined, { dtype });
	const bias = kernels.tensor([outputs], Float32Array.from(v.bias));
	const exactBias = kernels.convert(
		kernels.tensor([1, outputs], Float32Array.from(v.bias)),
		kernels.tensor([1, outputs], undefined, { dtype }),
	);
	kernels.loraLinear(x, weight, { ...options, xRoom: behind, y, u, bias, exactBias });
	const [da, db] = [kernels.tensor([rank, inputs]), kernels.tensor([outputs, rank])];
	const dx = kernels.tensor([rows, inputs], undefined, { dtype });
	kernels.loraLinearBackward(dy, x, weight, { ...options, dyRoom: behind, da, db, dx, ...(kept === "again" ? {} : { u }) });
	return { y, dx, da, db, weight, x, dy, behindX: xs.columns(inputs, behind) };
}

const names = ["y", "dx", "da", "db"] as const;
const floats = (out: ReturnType<typeof run>): Float32Array[] => names.map((name) => out[name].toFloat32Array());

describe.skipIf(!kernels.simt)("a linear with its adapters beside the weight", () => {
	const simt = kernels.simt as NonNullable<typeof kernels.simt>;
	beforeEach(() => kernels.setDevice("simt"));
	afterEach(() => kernels.setDevice("cpu"));

	// The depth of W is whole steps of the kernel, so that both forms add in the same steps.
	const cases: Case[] = (["roomy", "bare", "f32"] as const).flatMap((lies) =>
		([undefined, 0.4] as const).flatMap((dropout) =>
			[[16], [5, 8], [8, 3, 24]].map((ranks) => ({
				rows: 70,
				inputs: 128,
				outputs: 64,
				ranks,
				lies,
				...(dropout ? { dropout } : {}),
			})),
		),
	);

	it.each(cases)("gives the bits of the factors apart: %o", (c) => {
		const v = values(c, 3);
		const apart = floats(run(c, v, false));
		for (const u of ["rounded", "f32", "again"] as const) {
			floats(run({ ...c, u }, v, true)).forEach((found, i) => {
				expect(bitsEqual(found, apart[i] as Float32Array), `${names[i]}, u ${u}`).toBe(true);
			});
		}
	});

	it.each([75, 80])("in f16 too, on capability %i", (capability) => {
		simt.setCapability(capability);
		const c: Case = { rows: 33, inputs: 64, outputs: 128, ranks: [16, 8], dtype: "f16" };
		const v = values(c, 4);
		const apart = floats(run(c, v, false));
		floats(run(c, v, true)).forEach((found, i) => {
			expect(bitsEqual(found, apart[i] as Float32Array), names[i]).toBe(true);
		});
	});

	it.each([
		{ rows: 1, inputs: 8, outputs: 8, ranks: [1] },
		{ rows: 37, inputs: 72, outputs: 136, ranks: [3, 20] },
		// Sizes that tensor cores do not read by 16 bytes: the factors are rounded anew.
		{ rows: 9, inputs: 24, outputs: 20, ranks: [4] },
	])("stays within twice a plain loop: %o", (c) => {
		const v = values(c, 5);
		const shape = { ...c, scales };
		const [want, loop] = [linear(shape, v), linear(shape, v, Math.fround, bf16)];
		const out = run({ ...c, u: "f32" }, v, true);
		for (const name of ["y", "dx"] as const)
			expectTwice(out[name].toFloat32Array(), want[name], loop[name].map(bf16), name, 2 ** -20);
		for (const name of ["da", "db"] as const) expectTwice(out[name].toFloat32Array(), want[name], loop[name], name, 2 ** -20);
	});

	it("is exact on whole numbers, and leaves W, x and dy as they were", () => {
		const c = { rows: 40, inputs: 40, outputs: 24, ranks: [2, 7] };
		const v = values(c, 6, true);
		// Scales of a whole and a half would not be exact behind another product.
		const shape = { ...c, scales: [2, 0.75] };
		const want = linear(shape, v, exact, bf16);
		const out = run(c, v, true);
		for (const [name, kept] of [
			["weight", v.w],
			["x", v.x],
			["dy", v.dy],
		] as const) {
			expect(bitsEqual(out[name].toFloat32Array(), Float32Array.from(kept)), name).toBe(true);
		}
		expect(bitsEqual(out.y.toFloat32Array(), Float32Array.from(want.y, bf16))).toBe(true);
		// Behind x lies s u of both, filled up with zeros.
		const us = c.ranks.map((rank, i) => multiplyTransposed(v.x, v.a[i] as Numbers, c.rows, rank, c.inputs));
		const behind = out.behindX.toFloat32Array();
		behind.forEach((found, i) => {
			const [row, adapter, column] = [Math.floor(i / 16), Math.floor((i % 16) / 8), i % 8];
			const rank = c.ranks[adapter] as number;
			const u = column < rank ? (us[adapter]?.[row * rank + column] as number) : 0;
			expect(found, `row ${row}, column ${i % 16}`).toBe(bf16(u * (scales[adapter] as number)) + 0);
		});
	});

	it("has the same bits with any schedule", () => {
		for (const lies of ["roomy", "bare"] as const) {
			const c: Case = { rows: 33, inputs: 32, outputs: 40, ranks: [8, 4], lies };
			const v = values(c, 7);
			expectSameBits(() => floats(run(c, v, true)));
		}
	});

	it("reads few rows from the copies as well", () => {
		const c = { rows: 3, inputs: 64, outputs: 32, ranks: [8, 5] };
		const v = values(c, 8);
		const out = run(c, v, true);
		const adapters = c.ranks.map((rank, i) => ({
			a: kernels.tensor([rank, c.inputs], Float32Array.from(v.a[i] as Numbers)),
			b: kernels.tensor([c.outputs, rank], Float32Array.from(v.b[i] as Numbers)),
			scale: scales[i] as number,
		}));
		const options = { compute: "bf16", rowwise: true } as const;
		const apart = kernels.loraLinear(out.x, out.weight, { ...options, adapters }).y;
		// The copies are the truth here: with the factors spoilt nothing changes.
		const spoilt = adapters.map((f, i) => ({
			...f,
			a: kernels.tensor([c.ranks[i] as number, c.inputs]),
			beside: i === 0 ? 0 : 8,
		}));
		const beside = kernels.loraLinear(out.x, out.weight, { ...options, adapters: spoilt }).y;
		expect(bitsEqual(beside.toFloat32Array(), apart.toFloat32Array())).toBe(true);
	});

	it("refuses copies that do not fit", () => {
		const c = { rows: 2, inputs: 16, outputs: 16, ranks: [8] };
		const out = run(c, values(c, 9), true);
		const factors = { a: kernels.tensor([8, 16]), b: kernels.tensor([16, 8]), scale: 1 };
		const call = (beside: number[], more: object = {}) =>
			kernels.loraLinear(out.x, out.weight, {
				adapters: beside.map((b) => ({ ...factors, beside: b })),
				compute: "bf16",
				...more,
			});
		expect(() => call([8])).toThrow("adapter 0 lies 8 columns beside the weight, expected 0");
		expect(() => call([0, 8])).toThrow("rows of 24 elements have no room for 16 beside a weight of 16");
		expect(() => call([0, -1])).toThrow("adapter 1 lies -1 columns");
		expect(() => call([-1, 0])).toThrow("adapter 1 has copies beside the weight, the first has none");
		expect(() => call([0], { xRoom: 16 })).toThrow("x: rows of 24 elements have no room for 16 behind 16");
		const u = kernels.tensor([2, 8], undefined, { dtype: "bf16" });
		expect(() => call([-1], { u })).toThrow("u is bf16, expected f32");
		expect(() => call([0], { u, rowwise: true })).toThrow("u of few rows is f32, found bf16");
	});
});

describe.skipIf(!kernels.simt)("a linear whose products a library makes", () => {
	const simt = kernels.simt as NonNullable<typeof kernels.simt>;
	beforeEach(() => kernels.setDevice("simt"));
	afterEach(() => kernels.setDevice("cpu"));

	// Whole numbers, whose sums are exact in any order.
	const c: Case = { rows: 9, inputs: 512, outputs: 528, ranks: [64] };
	const all = { ...c, ranks: [64, 72] };
	const rest = { accumulate: false, bias: false };

	it("asks for one product a direction, and for u and du", async () => {
		const v = values(c, 3, true);
		const own = floats(run(c, v, true));
		const { result, products } = await simt.libraryProductsOf(() => floats(run(c, v, true)));
		result.forEach((found, i) => {
			expect(bitsEqual(found, own[i] as Float32Array), names[i]).toBe(true);
		});
		expect(products).toEqual([
			{ m: 9, n: 64, k: 512, ...rest },
			{ m: 9, n: 528, k: 576, accumulate: false, bias: true },
			{ m: 9, n: 64, k: 528, ...rest },
			{ m: 9, n: 512, k: 592, ...rest },
		]);
	});

	it("reads every lower adapter's part too, and leaves out what dropout masks", async () => {
		const v = values(all, 4, true);
		for (const dropout of [undefined, 0.5]) {
			const which = { ...all, ...(dropout === undefined ? {} : { dropout }) };
			const own = floats(run(which, v, true));
			const { result, products } = await simt.libraryProductsOf(() => floats(run(which, v, true)));
			result.forEach((found, i) => {
				expect(bitsEqual(found, own[i] as Float32Array), `${names[i]}, dropout ${dropout}`).toBe(true);
			});
			expect(products.filter((p) => p.n >= 512).map((p) => p.k)).toEqual([512 + 136, ...(dropout ? [528 + 64] : [528 + 136])]);
		}
	});

	it("adds the rest in a pass of its own where the factors lie apart", async () => {
		const v = values(c, 5, true);
		const own = floats(run({ ...c, u: "f32" }, v, false));
		const { result, products } = await simt.libraryProductsOf(() => floats(run({ ...c, u: "f32" }, v, false)));
		// y and dx are rounded twice then.
		for (const i of [0, 1]) {
			const largest = Math.max(...(own[i] as Float32Array).map(Math.abs));
			(result[i] as Float32Array).forEach((found, j) => {
				expect(Math.abs(found - (own[i]?.[j] as number))).toBeLessThanOrEqual(largest / 128);
			});
		}
		expect(products.map((p) => [p.n, p.k])).toEqual([
			[528, 512],
			[64, 528],
			[512, 528],
		]);
	});

	it("leaves the bias to it where 16 bits hold it", async () => {
		const v = values({ ...c, ranks: [] }, 6, true);
		const put = (shape: number[], from: Numbers) =>
			kernels.convert(kernels.tensor(shape, Float32Array.from(from)), kernels.tensor(shape, undefined, { dtype: "bf16" }));
		const [x, weight] = [put([c.rows, c.inputs], v.x), put([c.outputs, c.inputs], v.w)];
		const bias = kernels.tensor([c.outputs], Float32Array.from(v.bias));
		const exactBias = put([1, c.outputs], v.bias);
		const call = (more: object) => kernels.loraLinear(x, weight, { compute: "bf16", bias, ...more }).y.toFloat32Array();
		const own = call({});
		const { result, products } = await simt.libraryProductsOf(() => call({ exactBias }));
		expect(bitsEqual(result, own)).toBe(true);
		expect(products).toEqual([{ m: 9, n: 528, k: 512, accumulate: false, bias: true }]);
		const apart = await simt.libraryProductsOf(() => call({}));
		expect(apart.products.map((p) => p.bias)).toEqual([false]);
		expect(() => call({ exactBias: put([1, 8], new Float32Array(8)) })).toThrow("expected 528 values of the weight's type");
	});
});
