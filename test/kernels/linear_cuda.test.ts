/**
 * What the products of the CUDA backend have beyond the CPU's: f16, tiles of two sizes, sums that are cut into parts,
 * and synchronisation. The ops' own tests (linear, linear_logprob) run on device simt too.
 */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { kernels, type Tensor } from "../../src/engine/kernels.js";
import { expectEverySiteNeeded } from "../simt/sites.js";
import { exact, multiply, multiplyTransposed, type Round, transpose } from "./reference.js";
import { bf16, bitsEqual, expectTwice, integers, type Numbers, normal } from "./support.js";

/** Bits of the f16 that is nearest to x, ties to even. */
function f16Bits(x: number): number {
	const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
	const a = Math.abs(x);
	if (a === 0) return sign;
	const exponent = Math.max(Math.floor(Math.log2(a)), -14);
	let places = a / 2 ** (exponent - 10); // 1024 .. 2048 where normal
	const whole = Math.floor(places);
	const rest = places - whole;
	places = rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? whole + 1 : whole;
	return sign + (exponent + 14) * 1024 + places;
}
const f16Value = (bits: number): number => {
	const exponent = (bits >> 10) & 31;
	const places = bits & 1023;
	const a = exponent === 0 ? places * 2 ** -24 : (1024 + places) * 2 ** (exponent - 25);
	return bits & 0x8000 ? -a : a;
};
const f16 = (x: number): number => f16Value(f16Bits(x));

type Type = "f32" | "bf16" | "f16";
const rounding: Record<Type, Round> = { f32: Math.fround, bf16, f16 };

/** Rows with some columns more than asked for, so that none but the first starts at a multiple of 16 bytes. */
function put(type: Type, rows: number, cols: number, values: Numbers, odd: boolean): Tensor {
	const width = odd ? cols + 3 : cols;
	const wide = Float32Array.from({ length: rows * width }, (_, i) =>
		i % width < cols ? (values[Math.floor(i / width) * cols + (i % width)] as number) : Number.NaN,
	);
	const data = type === "f16" ? Uint16Array.from(wide, (x) => (Number.isNaN(x) ? 0x7e00 : f16Bits(x))) : wide;
	const whole = kernels.tensor([rows, width], data, { dtype: type });
	return odd ? whole.columns(0, cols) : whole;
}

interface Case {
	rows: number;
	inputs: number;
	outputs: number;
	rank: number;
	type: Type;
	odd?: boolean;
	/** Whole numbers. */
	whole?: boolean;
}

const scale = 0.5;

function values(c: Case, seed: number) {
	const make = (i: number, n: number, std: number) =>
		c.whole ? integers(seed + i, n, 3) : normal(seed + i, n, std).map(rounding[c.type]);
	return {
		x: make(0, c.rows * c.inputs, 1),
		w: make(1, c.outputs * c.inputs, 0.2),
		dy: make(2, c.rows * c.outputs, 1),
		a: make(3, c.rank * c.inputs, 0.3),
		b: make(4, c.outputs * c.rank, 0.3),
	};
}

function reference(c: Case, v: ReturnType<typeof values>, r: Round = exact, operand: Round = exact) {
	const { rows, inputs, outputs, rank } = c;
	const low = (x: Float64Array) => x.map((t) => operand(r(scale * t)));
	const u = low(multiplyTransposed(v.x, v.a, rows, rank, inputs, r));
	const du = low(multiply(v.dy, v.b, rows, rank, outputs, r));
	const sum = (p: Float64Array, q: Float64Array) => p.map((t, i) => r(t + (q[i] as number)));
	return {
		y: sum(multiplyTransposed(v.x, v.w, rows, outputs, inputs, r), multiplyTransposed(u, v.b, rows, outputs, rank, r)),
		dx: sum(multiply(v.dy, v.w, rows, inputs, outputs, r), multiply(du, v.a, rows, inputs, rank, r)),
		da: multiply(transpose(du, rows, rank), v.x, rank, inputs, rows, r),
		db: multiply(transpose(v.dy, rows, outputs), u, outputs, rank, rows, r),
		dweight: multiply(transpose(v.dy, rows, outputs), v.x, outputs, inputs, rows, r),
		dbias: multiply(new Float64Array(rows).fill(1), v.dy, 1, outputs, rows, r),
	};
}

/** y and dx of the given type, gradients of parameters in f32. */
function run(c: Case, v: ReturnType<typeof values>, rowwise = false) {
	const odd = c.odd ?? false;
	const adapters =
		c.rank === 0 ? [] : [{ a: put("f32", c.rank, c.inputs, v.a, odd), b: put("f32", c.outputs, c.rank, v.b, odd), scale }];
	const [x, weight, dy] = [
		put(c.type, c.rows, c.inputs, v.x, odd),
		put(c.type, c.outputs, c.inputs, v.w, odd),
		put(c.type, c.rows, c.outputs, v.dy, odd),
	];
	const options = { adapters, compute: c.type, rowwise };
	const { y, u } = kernels.loraLinear(x, weight, options);
	const low = c.rank === 0 ? {} : { da: kernels.tensor([c.rank, c.inputs]), db: kernels.tensor([c.outputs, c.rank]) };
	const [dweight, dbias] = [kernels.tensor([c.outputs, c.inputs]), kernels.tensor([c.outputs])];
	const dx = kernels.loraLinearBackward(dy, x, weight, { ...options, ...low, ...(u ? { u } : {}), dweight, dbias });
	const none = new Float32Array(0);
	return {
		y: y.toFloat32Array(),
		dx: dx.toFloat32Array(),
		da: low.da?.toFloat32Array() ?? none,
		db: low.db?.toFloat32Array() ?? none,
		dweight: dweight.toFloat32Array(),
		dbias: dbias.toFloat32Array(),
	};
}

describe.skipIf(!kernels.simt)("products of the CUDA backend", () => {
	const simt = kernels.simt as NonNullable<typeof kernels.simt>;
	beforeEach(() => kernels.setDevice("simt"));
	afterEach(() => kernels.setDevice("cpu"));

	const capabilities = { f32: [80], bf16: [80], f16: [75, 80] } as const;

	it.each(
		([75, 80] as const).flatMap((capability) =>
			[
				{ rows: 1, inputs: 1, outputs: 1, rank: 1 },
				{ rows: 65, inputs: 97, outputs: 31, rank: 5 },
				{ rows: 40, inputs: 72, outputs: 136, rank: 8 },
			].flatMap((c) => [false, true].map((odd) => ({ capability, c: { ...c, odd, type: "f16" as const } }))),
		),
	)("stays within twice a plain loop in f16: $capability, $c", ({ capability, c }) => {
		simt.setCapability(capability);
		const v = values(c, 7);
		const [want, loop] = [reference(c, v), reference(c, v, Math.fround, f16)];
		const out = run(c, v);
		const unit = 2 ** -20;
		for (const name of ["y", "dx"] as const) expectTwice(out[name], want[name], loop[name].map(f16), name, unit);
		for (const name of ["da", "db", "dweight"] as const) expectTwice(out[name], want[name], loop[name], name, unit);
	});

	it("refuses bf16 where the GPU does not multiply it", () => {
		simt.setCapability(75);
		const x = put("bf16", 2, 8, new Float32Array(16), false);
		expect(() => kernels.loraLinear(x, x, { compute: "bf16" })).toThrow("compute capability 8.0, this one has 7.5");
	});

	// 100 tiles of the large kind; that of dweight has one in the tests below.
	it.each((["bf16", "f16"] as const).flatMap((type) => capabilities[type].map((capability) => ({ type, capability }))))(
		"is exact in large tiles: $type, $capability",
		({ type, capability }) => {
			simt.setCapability(capability);
			const [n, k] = [1170, 40];
			const [narrow, w, back] = [integers(1, n * k, 3), integers(2, n * k, 3), integers(3, k * n, 3)];
			const x = put(type, n, k, narrow, false);
			const same = (t: Tensor, want: Numbers) => bitsEqual(t.toFloat32Array(), Float32Array.from(want, rounding[type]));
			const { y } = kernels.loraLinear(x, put(type, n, k, w, false), { compute: type });
			expect(same(y, multiplyTransposed(narrow, w, n, n, k)), "y").toBe(true);
			const dx = kernels.loraLinearBackward(x, y, put(type, k, n, back, false), { compute: type });
			expect(same(dx, multiply(narrow, back, n, n, k)), "dx").toBe(true);
		},
	);

	it.each((["f32", "bf16", "f16"] as const).flatMap((type) => capabilities[type].map((capability) => ({ type, capability }))))(
		"adds parts of a long sum exactly, and twice the same: $type, $capability",
		({ type, capability }) => {
			simt.setCapability(capability);
			const c: Case = { rows: 1301, inputs: 72, outputs: 24, rank: 8, type, whole: true };
			const v = values(c, 5);
			const out = run(c, v);
			const want = multiply(transpose(v.dy, c.rows, c.outputs), v.x, c.outputs, c.inputs, c.rows);
			expect([...out.dweight]).toEqual([...want]);
			const random = values({ ...c, whole: false }, 6);
			const [first, again] = [run(c, random), run(c, random)];
			for (const name of ["da", "db", "dweight"] as const) expect(bitsEqual(first[name], again[name]), name).toBe(true);
		},
	);

	it("masks as the CPU does, bit by bit", () => {
		const [rows, n] = [37, 70];
		const dropout = { p: 0.3, seed: 2 ** 40 + 5, step: 7, site: 3, firstRow: 1000 };
		const x = normal(1, rows * n);
		const masked = (device: string) => {
			kernels.setDevice(device);
			const identity = kernels.tensor(
				[n, n],
				Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)),
			);
			const adapters = [{ a: identity, b: identity, scale: 1 }];
			const [input, zero] = [kernels.tensor([rows, n], x), kernels.tensor([n, n])];
			const y = kernels.loraLinear(input, zero, { adapters, dropout }).y;
			const low = { da: kernels.tensor([n, n]), db: kernels.tensor([n, n]) };
			const dx = kernels.loraLinearBackward(input, input, zero, { adapters, dropout, ...low });
			return [y.toFloat32Array(), dx.toFloat32Array()] as const;
		};
		const [cpu, gpu] = [masked("cpu"), masked("simt")];
		expect(bitsEqual(gpu[0], cpu[0]), "forward").toBe(true);
		expect(bitsEqual(gpu[1], cpu[1]), "backward").toBe(true);
	});

	it("gives rows of later chunks of the head the bits that they have alone", () => {
		const [rows, width, vocab] = [4100, 8, 9];
		const h = normal(1, rows * width);
		const weight = kernels.tensor([vocab, width], normal(2, vocab * width));
		const score = (first: number, n: number) => {
			const out = kernels.linearLogprob(
				kernels.tensor([n, width], h.slice(first * width, (first + n) * width)),
				weight,
				kernels.tensor(
					[n],
					Int32Array.from({ length: n }, (_, t) => (first + t) % vocab),
				),
				{ weights: kernels.tensor([n], new Float32Array(n).fill(-0.1)) },
			);
			return [out.logprob.toFloat32Array(), (out.dhidden as Tensor).toFloat32Array()] as const;
		};
		const [logprob, dhidden] = score(0, rows);
		const [some, dsome] = score(4000, 100);
		expect(bitsEqual(some, logprob.slice(4000))).toBe(true);
		expect(bitsEqual(dsome, dhidden.slice(4000 * width))).toBe(true);
	});

	// Small shapes that pass through every kernel of the products and the head, to be run many times.
	function checkAll(type: Type): void {
		const c: Case = { rows: 150, inputs: 104, outputs: 72, rank: 8, type, whole: true };
		const v = values(c, 9);
		const out = run(c, v);
		// Sums are exact, so that their order does not matter.
		const whole = reference(c, v, exact, rounding[type]);
		for (const name of ["dweight", "dbias"] as const) expect([...out[name]]).toEqual([...whole[name]]);
		expect([...out.y]).toEqual([...whole.y].map(rounding[type]));
		expect([...out.dx]).toEqual([...whole.dx].map(rounding[type]));
		const few = { ...c, rows: 11 };
		const firstRows = run(few, { ...v, x: v.x.slice(0, 11 * c.inputs), dy: v.dy.slice(0, 11 * c.outputs) }, true);
		expect([...firstRows.y]).toEqual([...whole.y.slice(0, 11 * c.outputs)].map(rounding[type]));
		head(type);
	}

	// Equal logits: every probability is 1 / V, and the gradient of h is known.
	function head(type: Type): void {
		const [rows, width, vocab] = [2, 8, 2048 + 1024];
		const weight = Float32Array.from({ length: vocab * width }, (_, i) => (i < 1024 * width ? 1 : 0));
		const hidden = put(type, rows, width, new Float32Array(rows * width), false);
		const out = kernels.linearLogprob(
			hidden,
			put(type, vocab, width, weight, false),
			kernels.tensor([rows], Int32Array.of(vocab - 1, 5)),
			{ compute: type, weights: kernels.tensor([rows], [3072, 3072]), entropy: true },
		);
		for (const name of ["logprob", "entropy"] as const) {
			const sign = name === "logprob" ? -1 : 1;
			for (const x of (out[name] as Tensor).toFloat32Array()) expect(x).toBeCloseTo(sign * Math.log(vocab), 5);
		}
		// The sum of -w / V over the 1024 rows of ones, and w for the second row's target.
		expect([...(out.dhidden as Tensor).toFloat32Array()]).toEqual(
			Array.from({ length: rows * width }, (_, i) => rounding[type](i < width ? -1024 : 3072 - 1024)),
		);
	}

	it.each((["f32", "bf16", "f16"] as const).flatMap((type) => capabilities[type].map((capability) => ({ type, capability }))))(
		"holds under any schedule and any arrival of copies: $type, $capability",
		({ type, capability }) => {
			simt.setCapability(capability);
			for (const mode of ["early", "late", "random"] as const) {
				simt.setAsyncMode(mode);
				for (let seed = 1; seed <= 7; seed++) {
					simt.setSeed(seed);
					checkAll(type);
				}
			}
		},
	);

	it.each([
		{ capability: 80, types: ["f32", "bf16"] },
		{ capability: 75, types: ["f16"] },
	] as const)("needs every synchronisation that it has: $capability", ({ capability, types }) => {
		expectEverySiteNeeded(() => types.forEach(checkAll), { capability, seeds: 2 });
	});
});
