import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import { hasShared, numericFact, whyNoShared } from "../shared.js";
import { exact, type Round } from "./reference.js";
import { expectClose, expectSameBits, expectTwice, golden, normal, Surroundings, targets, use } from "./support.js";

describe.each(targets)("adamw, %s", (isa) => {
	it.each([1, 10])("equals torch in float64 at step %i", async (step) => {
		use(isa);
		const g = await golden(`adamw_step${step}`);
		const [t, lr, beta1, beta2, eps, weightDecay] = g.hyper as Float64Array as unknown as [
			number,
			number,
			number,
			number,
			number,
			number,
		];
		expect(t).toBe(step);
		const put = (name: string) => kernels.tensor([5, 7], g[name] as Float32Array);
		const tensors = { p: put("p"), g: put("g"), m: put("m"), v: put("v") };
		kernels.adamw([{ ...tensors, weightDecay }], { step, lr, beta1, beta2, eps });
		for (const name of ["p", "m", "v"] as const) {
			expectClose(tensors[name].toFloat32Array(), g[`${name}_after`] as Float64Array, 2e-7, name);
		}
		// Small second moments too, each against itself: 1 - 0.999f would be off by 1e-5.
		tensors.v.toFloat32Array().forEach((v, i) => {
			const want = (g.v_after as Float64Array)[i] as number;
			expect(Math.abs(v - want)).toBeLessThanOrEqual(3e-7 * want);
		});
	});

	it("writes what it makes of p, rounded, beside", () => {
		use(isa);
		for (const dtype of ["f32", "bf16", "f16"] as const) {
			for (const [rows, cols, room] of [
				[3, 8, 4],
				[1, 1, 0],
				[7, 5, 3],
				[40, 130, 6],
			] as const) {
				const n = rows * cols;
				const make = (seed: number, std?: number) => kernels.tensor([n], normal(seed, n, std));
				const whole = kernels.tensor([rows, cols + room], undefined, { dtype });
				const copy = whole.columns(0, cols);
				const [p, v] = [
					make(1),
					kernels.tensor(
						[n],
						normal(4, n, 0.1).map((x) => x * x),
					),
				];
				kernels.adamw([{ p, g: make(2), m: make(3, 0.1), v, copy }], { step: 2, lr: 1e-2 });
				const want = kernels.convert(
					kernels.tensor([rows, cols], p.toFloat32Array()),
					kernels.tensor([rows, cols], undefined, { dtype }),
				);
				expect(copy.toFloat32Array(), `${dtype} [${rows}, ${cols}]`).toEqual(want.toFloat32Array());
				if (room > 0)
					expect(
						whole
							.columns(cols, room)
							.toFloat32Array()
							.every((x) => x === 0),
					).toBe(true);
			}
		}
		const [p, copy] = [kernels.tensor([6]), kernels.tensor([2, 2])];
		expect(() => kernels.adamw([{ p, g: p, m: kernels.tensor([6]), v: kernels.tensor([6]), copy }], { step: 1, lr: 1 })).toThrow(
			"adamw.copy: expected 6 elements, found [2, 2]",
		);
	});

	it("takes many tensors of any length in one call, between poisoned margins, with the same bits always", () => {
		use(isa);
		const lengths = [1, 15, 16, 17, 0, ...(isa === "simt" ? [4096, 4097, 9000] : [16384, 16385, 40000])];
		const step = (sizes: readonly number[]) => {
			const around = new Surroundings();
			const tensors = sizes.map((n, i) => ({
				p: around.tensor([n], normal(n + i, n)),
				g: around.tensor([n], normal(n + 1, n)),
				m: around.tensor([n], normal(n + 2, n, 0.1)),
				v: around.tensor(
					[n],
					normal(n + 3, n, 0.1).map((x) => x * x),
				),
				weightDecay: 0.1,
			}));
			kernels.adamw(tensors, { step: 3, lr: 1e-2, gradScale: 0.25 });
			around.check();
			return tensors.flatMap((t) => [t.p.toFloat32Array(), t.m.toFloat32Array(), t.v.toFloat32Array()]);
		};
		expectSameBits(() => step(lengths));
		const [p, m, v] = step([40000]) as [Float32Array, Float32Array, Float32Array];
		const [p0, g0, m0, v0] = [normal(40000, 40000), normal(40001, 40000), normal(40002, 40000, 0.1), normal(40003, 40000, 0.1)];
		const moments = (r: Round) =>
			p0.reduce(
				(all, _, i) => {
					const g = r(0.25 * (g0[i] as number));
					all.m[i] = r(r(r(0.9) * (m0[i] as number)) + r(r(0.1) * g));
					all.v[i] = r(r(r(0.999) * Math.fround((v0[i] as number) ** 2)) + r(r(0.001) * r(g * g)));
					return all;
				},
				{ m: new Float64Array(p0.length), v: new Float64Array(p0.length) },
			);
		const stepped = (r: Round) => {
			const { m, v } = moments(r);
			const parameters = Float64Array.from(p0, (x, i) => {
				const direction = r(
					r((m[i] as number) / r(1 - 0.9 ** 3)) / r(r(Math.sqrt(r((v[i] as number) / r(1 - 0.999 ** 3)))) + 1e-8),
				);
				return r(r(x * r(1 - 1e-2 * 0.1)) - r(r(1e-2) * direction));
			});
			return { p: parameters, m, v };
		};
		const [truth, loop] = [stepped(exact), stepped(Math.fround)];
		expectTwice(p, truth.p, loop.p, "p");
		expectTwice(m, truth.m, loop.m, "m");
		expectTwice(v, truth.v, loop.v, "v");
	});
});

describe.skipIf(!hasShared)(`a value known from torch${hasShared ? "" : ` (skipped: ${whyNoShared})`}`, () => {
	it("100 steps on a linear regression", () => {
		interface Fact {
			xs: [number, number][];
			ys: number[];
			expected_w: number[];
			expected_b: number;
			tol: number;
		}
		const f = numericFact<Fact>("adamw_100_steps");
		const [p, g, m, v] = [0, 1, 2, 3].map(() => kernels.tensor([3])) as [never, never, never, never] &
			ReturnType<typeof kernels.tensor>[];
		for (let step = 1; step <= 100; step++) {
			const [w0, w1, b] = (p as ReturnType<typeof kernels.tensor>).toFloat32Array() as unknown as [number, number, number];
			const gradient = [0, 0, 0];
			f.xs.forEach(([x0, x1], i) => {
				const e = 2 * (w0 * x0 + w1 * x1 + b - (f.ys[i] as number));
				[e * x0, e * x1, e].forEach((d, j) => {
					gradient[j] = (gradient[j] as number) + d;
				});
			});
			(g as ReturnType<typeof kernels.tensor>).set(Float32Array.from(gradient));
			kernels.adamw([{ p, g, m, v, weightDecay: 0.01 }], { step, lr: 0.1 });
		}
		const got = (p as ReturnType<typeof kernels.tensor>).toFloat32Array();
		[...f.expected_w, f.expected_b].forEach((want, i) => {
			expect(Math.abs((got[i] as number) - want)).toBeLessThan(f.tol);
		});
	});
});

describe.each(targets)("globalNorm, %s", (isa) => {
	it("is the root of the sum of squares in double, whatever the shapes", () => {
		use(isa);
		fc.assert(
			fc.property(fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 5 }), fc.integer({ min: 1, max: 60 }), (rows, cols) => {
				const around = new Surroundings();
				const values = rows.map((n, i) => normal(i, n * cols));
				const tensors = values.map((v, i) => (i % 2 ? around.strided(rows[i] as number, cols, v) : around.tensor([v.length], v)));
				const want = Math.sqrt(values.reduce((sum, v) => v.reduce((s, x) => s + x * x, sum), 0));
				expect(Math.abs(kernels.globalNorm(tensors) - want)).toBeLessThanOrEqual(1e-13 * want);
			}),
			{ numRuns: 20, seed: 3 },
		);
		expect(kernels.globalNorm([kernels.tensor([2], [3e30, 4e30])])).toBe(Math.hypot(Math.fround(3e30), Math.fround(4e30)));
		const big = kernels.tensor([100003], normal(1, 100003));
		expectSameBits(() => [Float32Array.of(kernels.globalNorm([big]))]);
	});
});
