import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import { hasShared, numericFact, whyNoShared } from "../shared.js";
import { exact, expectGradient, rmsnorm, rmsnormBackward } from "./reference.js";
import {
	bf16,
	dot,
	expectClose,
	expectSameBits,
	expectTwice,
	golden,
	normal,
	Surroundings,
	stored,
	targets,
	use,
} from "./support.js";

const eps = 1e-5;

it("agrees with its own gradient by central differences, in the reference", () => {
	const [rows, cols] = [2, 5];
	const x = normal(1, rows * cols);
	const w = normal(2, cols);
	const dy = normal(3, rows * cols);
	const { rstd } = rmsnorm(x, w, eps, rows, cols);
	const { dx, dw } = rmsnormBackward(dy, x, w, rstd, rows, cols);
	expectGradient(dx, (p) => dot(dy, rmsnorm(p, w, eps, rows, cols).y), x, "dx");
	expectGradient(dw, (p) => dot(dy, rmsnorm(x, p, eps, rows, cols).y), w, "dw");
});

describe.each(targets)("rmsnorm, %s", (isa) => {
	it("equals torch in float64 on the golden", async () => {
		use(isa);
		const g = await golden("rmsnorm");
		const x = kernels.tensor([13, 40], g.x as Float32Array);
		const w = kernels.tensor([40], g.w as Float32Array);
		const { y, rstd } = kernels.rmsnorm(x, w, { eps: (g.eps as Float64Array)[0] as number });
		const dweight = kernels.tensor([40]);
		const dx = kernels.rmsnormBackward(kernels.tensor([13, 40], g.dy as Float32Array), x, w, rstd, { dweight });
		expectClose(y.toFloat32Array(), g.y as Float64Array, 3e-7, "y");
		expectClose(dx.toFloat32Array(), g.dx as Float64Array, 5e-7, "dx");
		expectClose(dweight.toFloat32Array(), g.dw as Float64Array, 5e-7, "dw");
	});

	it.each(["f32", "bf16"] as const)("stays within twice a plain %s loop on any shape, between poisoned columns", (dtype) => {
		use(isa);
		const store = stored(dtype);
		fc.assert(
			fc.property(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1, max: 130 }), fc.integer(), (rows, cols, seed) => {
				const around = new Surroundings();
				const n = rows * cols;
				const x = normal(seed, n).map(store);
				const delta = normal(seed + 1, n).map(store);
				const w = normal(seed + 2, cols);
				const dy = normal(seed + 3, n).map(store);
				const summed = x.map((v, i) => store(v + (delta[i] as number)));
				const xt = around.strided(rows, cols, x, dtype);
				const wt = around.tensor([cols], w);
				const yt = around.strided(rows, cols, undefined, dtype);
				// x_out may alias x
				const { rstd } = kernels.rmsnorm(xt, wt, {
					eps,
					delta: around.strided(rows, cols, delta, dtype),
					xOut: xt,
					y: yt,
				});
				const want = rmsnorm(summed, w, eps, rows, cols);
				const loop = rmsnorm(summed, w, eps, rows, cols, Math.fround);
				expect([...xt.toFloat32Array()]).toEqual([...summed]);
				expectTwice(yt.toFloat32Array(), want.y, loop.y.map(store), "y", 2 ** -22);

				const stats = rstd.toFloat32Array();
				const dyt = around.strided(rows, cols, dy, dtype);
				const dweight = around.tensor([cols], normal(seed + 4, cols));
				const before = dweight.toFloat32Array();
				// dx may alias dy
				kernels.rmsnormBackward(dyt, xt, wt, rstd, { dx: dyt, dweight });
				const back = rmsnormBackward(dy, summed, w, stats, rows, cols);
				const backLoop = rmsnormBackward(dy, summed, w, stats, rows, cols, Math.fround);
				expectTwice(dyt.toFloat32Array(), back.dx, backLoop.dx.map(store), "dx", 2 ** -20);
				const added = back.dw.map((v, i) => v + (before[i] as number));
				expectTwice(
					dweight.toFloat32Array(),
					added,
					backLoop.dw.map((v, i) => Math.fround(v + (before[i] as number))),
					"dw",
					2 ** -20,
				);
				around.check();
			}),
			{ numRuns: 25, seed: 7 },
		);
	});

	it("adds to dx when asked to, and gives the same bits with any number of threads", () => {
		use(isa);
		const [rows, cols] = [201, 96];
		const x = kernels.tensor([rows, cols], normal(1, rows * cols));
		const w = kernels.tensor([cols], normal(2, cols));
		const dy = kernels.tensor([rows, cols], normal(3, rows * cols));
		const { rstd } = kernels.rmsnorm(x, w, { eps });
		const fresh = kernels.rmsnormBackward(dy, x, w, rstd).toFloat32Array();
		const base = normal(4, rows * cols);
		const dx = kernels.tensor([rows, cols], base);
		kernels.rmsnormBackward(dy, x, w, rstd, { dx, accumulate: true });
		expect([...dx.toFloat32Array()]).toEqual([...fresh.map((v, i) => v + (base[i] as number))]);
		expectSameBits(() => {
			const dweight = kernels.tensor([cols]);
			const { y } = kernels.rmsnorm(x, w, { eps });
			const d = kernels.rmsnormBackward(dy, x, w, rstd, { dweight });
			return [y.toFloat32Array(), d.toFloat32Array(), dweight.toFloat32Array()];
		});
	});

	it("normalises a residual stream in f32 into rows of bf16, and back", () => {
		use(isa);
		const [rows, cols] = [9, 70];
		const around = new Surroundings();
		const [x, w, delta] = [normal(1, rows * cols), normal(2, cols), normal(3, rows * cols)];
		const dy = normal(4, rows * cols).map(bf16);
		const summed = x.map((v, i) => Math.fround(v + (delta[i] as number)));
		const xt = around.strided(rows, cols, x);
		const y = around.strided(rows, cols, undefined, "bf16");
		const wt = around.tensor([cols], w);
		const { rstd } = kernels.rmsnorm(xt, wt, { eps, delta: around.strided(rows, cols, delta), xOut: xt, y });
		expect([...xt.toFloat32Array()]).toEqual([...summed]);
		const want = rmsnorm(summed, w, eps, rows, cols);
		expectTwice(y.toFloat32Array(), want.y, want.y.map(bf16), "y");
		const dx = kernels.rmsnormBackward(around.strided(rows, cols, dy, "bf16"), xt, wt, rstd, { dx: around.strided(rows, cols) });
		expectClose(dx.toFloat32Array(), rmsnormBackward(dy, summed, w, want.rstd, rows, cols).dx, 1e-6, "dx");
		around.check();
	});

	it("rounds once in bf16: the normalised value is not rounded before the weight", () => {
		use(isa);
		const x = [1.0078125, 2.015625, 3.03125].map(bf16);
		const w = [1.7, -0.3, 2.9].map(Math.fround);
		const { y } = kernels.rmsnorm(kernels.tensor([1, 3], x, { dtype: "bf16" }), kernels.tensor([3], w), { eps });
		expect([...y.toFloat32Array()]).toEqual([...rmsnorm(x, w, eps, 1, 3, exact).y].map(bf16));
	});
});

describe.skipIf(!hasShared)(`a value known from torch${hasShared ? "" : ` (skipped: ${whyNoShared})`}`, () => {
	it.each(targets)("four rows of three, %s", (isa) => {
		use(isa);
		interface Fact {
			x: number[][][];
			weight: number[];
			eps: number;
			expected: number[][][];
			tol: number;
		}
		const f = numericFact<Fact>("rms_norm");
		const x = kernels.tensor([4, 3], f.x.flat(2));
		const got = kernels.rmsnorm(x, kernels.tensor([3], f.weight), { eps: f.eps }).y.toFloat32Array();
		expect(got).toHaveLength(12);
		f.expected.flat(2).forEach((want, i) => {
			expect(Math.abs((got[i] as number) - want)).toBeLessThanOrEqual(f.tol);
		});
	});
});

it("refuses what does not fit, naming it", () => {
	const x = kernels.tensor([2, 4]);
	expect(() => kernels.rmsnorm(x, kernels.tensor([5]), { eps })).toThrow(/rmsnormForward\.weight: expected 4 .*found 5/);
	expect(() => kernels.rmsnorm(x, kernels.tensor([4]), { eps, delta: kernels.tensor([3, 4]) })).toThrow(
		/rmsnorm\.delta: expected \[2, 4\]/,
	);
});
