import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { kernels, type LoraFactors } from "../../src/engine/kernels.js";
import { exact, expectGradient, linear, type Round } from "./reference.js";
import {
	bf16,
	bitsEqual,
	dot,
	expectClose,
	expectSameBits,
	expectTwice,
	golden,
	integers,
	type Numbers,
	normal,
	once,
	Surroundings,
	stored,
	targets,
	use,
} from "./support.js";

interface Case {
	rows: number;
	inputs: number;
	outputs: number;
	/** Ranks of the stack; the last adapter is the trained one. */
	ranks: readonly number[];
}

interface Values {
	x: Numbers;
	w: Numbers;
	bias: Numbers;
	dy: Numbers;
	a: Numbers[];
	b: Numbers[];
}

const scales = [2, 0.5, 1.25];

function makeValues(c: Case, seed: number, store: Round): Values {
	return {
		x: normal(seed, c.rows * c.inputs).map(store),
		w: normal(seed + 1, c.outputs * c.inputs, 0.2).map(store),
		bias: normal(seed + 2, c.outputs),
		dy: normal(seed + 3, c.rows * c.outputs).map(store),
		a: c.ranks.map((r, i) => normal(seed + 10 + i, r * c.inputs, 0.3)),
		b: c.ranks.map((r, i) => normal(seed + 20 + i, c.outputs * r, 0.3)),
	};
}

const reference = (c: Case, v: Values, r: Round = exact, operand: Round = exact) => linear({ ...c, scales }, v, r, operand);

it("agrees with its own gradient by central differences, in the reference", () => {
	const c = { rows: 3, inputs: 4, outputs: 5, ranks: [2, 3] };
	const v = makeValues(c, 1, Math.fround);
	const g = reference(c, v);
	const loss = (changed: Partial<Values>) => dot(v.dy, reference(c, { ...v, ...changed }).y);
	expectGradient(g.dx, (x) => loss({ x }), v.x, "dx");
	expectGradient(g.da, (a) => loss({ a: [v.a[0] as Numbers, a] }), v.a[1] as Numbers, "da");
	expectGradient(g.db, (b) => loss({ b: [v.b[0] as Numbers, b] }), v.b[1] as Numbers, "db");
	expectGradient(g.dweight, (w) => loss({ w }), v.w, "dweight");
});

/** The kernel on tensors between poisoned columns; gradients start at 1 to see that they are added to. */
function run(c: Case, v: Values, dtype: "f32" | "bf16", extra: { rowwise?: boolean; forgetU?: boolean } = {}) {
	const around = new Surroundings();
	const { rows, inputs, outputs } = c;
	const adapters: LoraFactors[] = c.ranks.map((rank, i) => ({
		a: around.tensor([rank, inputs], v.a[i]),
		b: around.tensor([outputs, rank], v.b[i]),
		scale: scales[i] as number,
	}));
	const weight = around.strided(outputs, inputs, v.w, dtype);
	const x = around.strided(rows, inputs, v.x, dtype);
	const dy = around.strided(rows, outputs, v.dy, dtype);
	const options = { adapters, compute: dtype, rowwise: extra.rowwise ?? false };
	const { y, u } = kernels.loraLinear(x, weight, {
		...options,
		bias: around.tensor([outputs], v.bias),
		y: around.strided(rows, outputs, undefined, dtype),
	});
	const ones = (n: number, m: number) => around.tensor([n, m], new Float32Array(n * m).fill(1));
	const top = c.ranks.at(-1);
	const trained = top === undefined ? {} : { da: ones(top, inputs), db: ones(outputs, top) };
	const dweight = ones(outputs, inputs);
	const dbias = ones(1, outputs);
	const dx = kernels.loraLinearBackward(dy, x, weight, {
		...options,
		...trained,
		...(u && !extra.forgetU ? { u } : {}),
		dx: around.strided(rows, inputs, undefined, dtype),
		dweight,
		dbias,
	});
	around.check();
	const minusOne = (t: { toFloat32Array(): Float32Array }) => t.toFloat32Array().map((g) => g - 1);
	return {
		y: y.toFloat32Array(),
		u: u?.toFloat32Array() ?? new Float32Array(0),
		dx: dx.toFloat32Array(),
		da: "da" in trained ? minusOne(trained.da) : new Float32Array(0),
		db: "db" in trained ? minusOne(trained.db) : new Float32Array(0),
		dweight: minusOne(dweight),
		dbias: minusOne(dbias),
	};
}

describe.each(targets)("loraLinear, %s", (isa) => {
	it("equals torch in float64 on the golden", async () => {
		use(isa);
		const g = await golden("lora_linear");
		const put = (name: string, shape: number[]) => kernels.tensor(shape, g[name] as Float32Array);
		const [x, w, dy] = [put("x", [13, 48]), put("W", [36, 48]), put("dy", [13, 36])];
		const adapters = [{ a: put("A", [6, 48]), b: put("B", [36, 6]), scale: (g.scale as Float64Array)[0] as number }];
		const { y, u } = kernels.loraLinear(x, w, { adapters });
		const [da, db] = [kernels.tensor([6, 48]), kernels.tensor([36, 6])];
		const dx = kernels.loraLinearBackward(dy, x, w, { adapters, da, db, ...(u ? { u } : {}) });
		expectClose(y.toFloat32Array(), g.y as Float64Array, 5e-7, "y");
		expectClose(dx.toFloat32Array(), g.dx as Float64Array, 5e-7, "dx");
		expectClose(da.toFloat32Array(), g.dA as Float64Array, 5e-7, "dA");
		expectClose(db.toFloat32Array(), g.dB as Float64Array, 5e-7, "dB");
	});

	it.each(
		(["f32", "bf16"] as const).flatMap((dtype) =>
			[
				{ rows: 1, inputs: 1, outputs: 1, ranks: [1] },
				{ rows: 7, inputs: 33, outputs: 17, ranks: [] },
				{ rows: 64, inputs: 64, outputs: 65, ranks: [8] },
				{ rows: 65, inputs: 97, outputs: 31, ranks: [3, 16] },
				{ rows: 13, inputs: 129, outputs: 130, ranks: [4, 1, 7] },
			].map((c) => ({ dtype, c, name: `${dtype} ${JSON.stringify(c)}` })),
		),
	)("stays within twice a plain loop: $name", ({ dtype, c }) => {
		use(isa);
		const v = makeValues(c, 31, stored(dtype));
		const { want, loop } = once([c, dtype], () => ({
			want: reference(c, v),
			loop: reference(c, v, Math.fround, dtype === "bf16" ? bf16 : exact),
		}));
		const out = run(c, v, dtype);
		const store = stored(dtype);
		// Gradients that were added to 1 carry the rounding of that sum.
		const unit = 2 ** -20;
		expectTwice(out.y, want.y, loop.y.map(store), "y", unit);
		expectTwice(out.u, want.u, loop.u, "u", unit);
		expectTwice(out.dx, want.dx, loop.dx.map(store), "dx", unit);
		for (const name of ["da", "db", "dweight"] as const) expectTwice(out[name], want[name], loop[name], name, unit);
		const sums = Float64Array.from({ length: c.outputs }, (_, j) => {
			let sum = 0;
			for (let t = 0; t < c.rows; t++) sum += v.dy[t * c.outputs + j] as number;
			return sum;
		});
		expect(Math.max(...sums.map((s, j) => Math.abs(s - (out.dbias[j] as number))))).toBeLessThan(1e-4);
		const again = run(c, v, dtype, { forgetU: true });
		if (c.ranks.length > 0) expect(bitsEqual(again.db, out.db), "db with u computed again").toBe(true);
	});

	it.each(["f32", "bf16"] as const)("is exact on whole numbers that %s holds", (dtype) => {
		use(isa);
		fc.assert(
			fc.property(
				fc.integer({ min: 1, max: 80 }),
				fc.integer({ min: 1, max: 80 }),
				fc.integer({ min: 1, max: 80 }),
				fc.boolean(),
				(rows, inputs, outputs, rowwise) => {
					const c = { rows, inputs, outputs, ranks: [] };
					const v: Values = {
						x: integers(rows, rows * inputs, 7),
						w: integers(inputs, outputs * inputs, 7),
						bias: integers(3, outputs, 7),
						dy: integers(4, rows * outputs, 7),
						a: [],
						b: [],
					};
					const want = reference(c, v);
					const out = run(c, v, dtype, { rowwise });
					const round = stored(dtype);
					expect([...out.y]).toEqual([...want.y].map(round));
					expect([...out.dx]).toEqual([...want.dx].map(round));
					expect([...out.dweight]).toEqual([...want.dweight]);
				},
			),
			{ numRuns: 12, seed: 2 },
		);
	});

	it.each([
		["f32", true],
		["bf16", true],
		["f32", false],
		["bf16", false],
	] as const)("gives a row the same bits among any number of rows (%s, rowwise %s)", (dtype, rowwise) => {
		use(isa);
		const c = { rows: 37, inputs: 70, outputs: 50, ranks: [5] };
		const v = makeValues(c, 5, stored(dtype));
		const take = (first: number, n: number): Values => ({
			...v,
			x: (v.x as Float32Array).slice(first * c.inputs, (first + n) * c.inputs),
			dy: (v.dy as Float32Array).slice(first * c.outputs, (first + n) * c.outputs),
		});
		const all = run(c, v, dtype, { rowwise });
		for (const [first, n] of [
			[0, 1],
			[36, 1],
			[3, 2],
			[10, 17],
			[0, 36],
		] as const) {
			const some = run({ ...c, rows: n }, take(first, n), dtype, { rowwise });
			expect(bitsEqual(some.y, all.y.slice(first * c.outputs, (first + n) * c.outputs)), `${n} rows from ${first}`).toBe(true);
		}
	});

	it("gives the same bits with any number of threads", () => {
		use(isa);
		const c = { rows: 150, inputs: 80, outputs: 90, ranks: [8] };
		for (const dtype of ["f32", "bf16"] as const) {
			const v = makeValues(c, 6, stored(dtype));
			expectSameBits(() => Object.values(run(c, v, dtype)));
		}
	});

	it("masks the last adapter's input by seed, step, site, row and column, the same backward", () => {
		use(isa);
		const [rows, n] = [64, 40];
		const identity = kernels.tensor(
			[n, n],
			Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)),
		);
		const zero = kernels.tensor([n, n]);
		const ones = kernels.tensor([rows, n], new Float32Array(rows * n).fill(1));
		const adapters = [{ a: identity, b: identity, scale: 1 }];
		const mask = (dropout: { p: number; seed?: number; step?: number; site?: number; firstRow?: number }) =>
			kernels.loraLinear(ones, zero, { adapters, dropout }).y.toFloat32Array();
		const base = { p: 0.25, seed: 1, step: 2, site: 3 };
		const m = mask(base);
		const kept = m.filter((x) => x !== 0);
		expect(kept.every((x) => Math.abs(x - 4 / 3) < 1e-6)).toBe(true);
		// 2560 draws: within 5 standard deviations of 0.75.
		expect(Math.abs(kept.length / m.length - 0.75)).toBeLessThan(5 * Math.sqrt((0.75 * 0.25) / m.length));
		expect(bitsEqual(m, mask(base))).toBe(true);
		for (const other of [{ seed: 2 }, { step: 3 }, { site: 4 }]) expect(bitsEqual(m, mask({ ...base, ...other }))).toBe(false);
		expect(bitsEqual(mask({ ...base, firstRow: 5 }).slice(0, 59 * n), m.slice(5 * n))).toBe(true);
		const dx = kernels.loraLinearBackward(ones, ones, zero, {
			adapters,
			dropout: base,
			da: kernels.tensor([n, n]),
			db: kernels.tensor([n, n]),
		});
		expect(bitsEqual(dx.toFloat32Array(), m)).toBe(true);
	});

	it("adds to dx when asked to, and takes weights in f16", () => {
		use(isa);
		const half = kernels.tensor([2, 2], Uint16Array.of(0x3c00, 0x4000, 0xc200, 0x3800), { dtype: "f16" }); // 1 2 -3 0.5
		const x = kernels.tensor([1, 2], [3, 4]);
		expect([...kernels.loraLinear(x, half).y.toFloat32Array()]).toEqual([11, -7]);
		const dx = kernels.tensor([1, 2], [10, 20]);
		kernels.loraLinearBackward(kernels.tensor([1, 2], [1, 1]), x, half, { dx, accumulateDx: true });
		expect([...dx.toFloat32Array()]).toEqual([8, 22.5]);
	});
});

it("refuses what does not fit", () => {
	const x = kernels.tensor([2, 4]);
	const w = kernels.tensor([3, 4]);
	const adapter = { a: kernels.tensor([2, 5]), b: kernels.tensor([3, 2]), scale: 1 };
	expect(() => kernels.loraLinear(x, kernels.tensor([3, 5]))).toThrow(/expected \[2, 5\]/);
	expect(() => kernels.loraLinear(x, w, { adapters: [adapter] })).toThrow("does not fit a weight of [3, 4]");
	expect(() => kernels.loraLinear(x, w, { adapters: [{ ...adapter, scale: "2" as never }] })).toThrow(
		"adapters[0].scale: expected a number, found a string",
	);
});
