/**
 * What the CUDA kernels of the ops on rows have beyond the CPU's: f16, 16-byte accesses beside single ones, teams of
 * three sizes, ids that nobody has checked, and synchronisation. The ops' own tests run on device simt too.
 * @module
 */
import { beforeEach, describe, expect, it } from "vitest";
import { type KernelSampling, kernels, type Tensor } from "../../src/engine/kernels.js";
import { expectEverySiteNeeded } from "../simt/sites.js";
import { type Round, rmsnorm, rmsnormBackward, swiglu, swigluBackward } from "./reference.js";
import {
	bitsEqual,
	expectTwice,
	type FloatType,
	integers,
	isas,
	type Numbers,
	normal,
	random,
	Surroundings,
	stored,
	use,
} from "./support.js";

const eps = 1e-5;

/** Rows that start at multiples of 16 bytes and are whole packs apart, or ones that do not. */
type Lie = "aligned" | "odd";
const place = (around: Surroundings, lie: Lie, rows: number, cols: number, values?: Numbers, dtype: FloatType = "f32") =>
	lie === "odd"
		? around.strided(rows, cols, values, dtype)
		: around.tensor([rows, cols], values ?? new Float32Array(rows * cols), dtype);

/** The same bits in both. */
function eitherWay(run: (lie: Lie) => Float32Array[]): Float32Array[] {
	const aligned = run("aligned");
	run("odd").forEach((values, i) => {
		expect(bitsEqual(values, aligned[i] as Float32Array), `output ${i}, aligned or not`).toBe(true);
	});
	return aligned;
}

const rounded = (values: Float64Array, r: Round) => Float64Array.from(values, r);

describe.runIf(kernels.simt)("the CUDA kernels", () => {
	beforeEach(() => use("simt"));

	// A row is a half warp's, a warp's or a block's; a block keeps 4096 columns in registers.
	it.each([
		[9, 1, "f32", "f32"],
		[9, 64, "f16", "f16"],
		[17, 128, "bf16", "bf16"],
		[5, 129, "f32", "f16"],
		[7, 576, "f32", "bf16"],
		[3, 1024, "f32", "f32"],
		[3, 1032, "f16", "f16"],
		[2, 4104, "f32", "f16"],
	] as const)("rmsnorm of %i rows of %i columns, %s to %s", (rows, cols, stream, dtype) => {
		const n = rows * cols;
		const [sr, tr] = [stored(stream), stored(dtype)];
		const [x, delta, old] = [normal(1, n).map(sr), normal(2, n).map(sr), normal(3, n).map(sr)];
		const [w, dy, dw] = [normal(4, cols), normal(5, n).map(tr), normal(6, cols)];
		const summed = x.map((v, i) => sr(v + (delta[i] as number)));
		const [xOut, y, rstd, dx, added, dweight] = eitherWay((lie) => {
			const around = new Surroundings();
			const put = (values: Numbers | undefined, type: FloatType) => place(around, lie, rows, cols, values, type);
			const weight = around.tensor([cols], w);
			const [xt, yt] = [put(x, stream), put(undefined, dtype)];
			const forward = kernels.rmsnorm(xt, weight, { eps, delta: put(delta, stream), xOut: xt, y: yt });
			const [plain, sum] = [put(undefined, stream), put(old, stream)];
			const back = around.tensor([cols], dw);
			kernels.rmsnormBackward(put(dy, dtype), xt, weight, forward.rstd, { dx: plain });
			kernels.rmsnormBackward(put(dy, dtype), xt, weight, forward.rstd, { dx: sum, accumulate: true, dweight: back });
			around.check();
			return [xt, yt, forward.rstd, plain, sum, back].map((t) => t.toFloat32Array());
		}) as [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array, Float32Array];
		expect(xOut).toEqual(summed);
		const want = rmsnorm(summed, w, eps, rows, cols);
		const loop = rmsnorm(summed, w, eps, rows, cols, Math.fround);
		expectTwice(y, want.y, rounded(loop.y, tr), "y", 2 ** -22);
		const back = rmsnormBackward(dy, summed, w, rstd, rows, cols);
		const backLoop = rmsnormBackward(dy, summed, w, rstd, rows, cols, Math.fround);
		expectTwice(dx, back.dx, rounded(backLoop.dx, sr), "dx", 2 ** -20);
		const plus = (a: Float64Array, b: Numbers) => a.map((v, i) => v + (b[i] as number));
		expectTwice(added, plus(back.dx, old), rounded(plus(backLoop.dx, old), sr), "dx, added", 2 ** -20);
		expectTwice(dweight, plus(back.dw, dw), rounded(plus(backLoop.dw, dw), Math.fround), "dweight", 2 ** -20);
	});

	it("rmsnorm adds up dweight over more rows than it has parts of 64 for, exactly on whole numbers", () => {
		const [rows, cols] = [64 * 256 + 77, 3];
		const dy = integers(1, rows * cols, 4);
		const x = integers(2, rows * cols, 4);
		const ones = kernels.tensor([cols], [1, 1, 1]);
		const rstd = kernels.tensor([rows], new Float32Array(rows).fill(0.5));
		const dweight = kernels.tensor([cols], [1, 2, 3]);
		kernels.rmsnormBackward(kernels.tensor([rows, cols], dy), kernels.tensor([rows, cols], x), ones, rstd, { dweight });
		const want = [1, 2, 3];
		dy.forEach((d, i) => {
			want[i % cols] = (want[i % cols] as number) + (d * (x[i] as number)) / 2;
		});
		expect([...dweight.toFloat32Array()]).toEqual(want);
	});

	it.each(["f32", "bf16", "f16"] as const)("swiglu in %s, in place", (dtype) => {
		const [rows, cols] = [3, 1040];
		const store = stored(dtype);
		const n = rows * cols;
		const [gate, up, dh] = [normal(1, n, 4).map(store), normal(2, n).map(store), normal(3, n).map(store)];
		const [h, again, dgate, dup] = eitherWay((lie) => {
			const around = new Surroundings();
			const put = (values?: Numbers) => place(around, lie, rows, cols, values, dtype);
			const [g, u, first, second] = [put(gate), put(up), put(), put()];
			kernels.swiglu(g, u, { h: first });
			kernels.swigluBackward(g, u, put(dh), { dgate: g, dup: u, h: second });
			around.check();
			return [first, second, g, u].map((t) => t.toFloat32Array());
		}) as [Float32Array, Float32Array, Float32Array, Float32Array];
		expectTwice(h, swiglu(gate, up), rounded(swiglu(gate, up, Math.fround), store), "h", 2 ** -22);
		expect(bitsEqual(h, again), "h computed again").toBe(true);
		const [want, loop] = [swigluBackward(gate, up, dh), swigluBackward(gate, up, dh, Math.fround)];
		expectTwice(dgate, want.dgate, rounded(loop.dgate, store), "dgate", 2 ** -22);
		expectTwice(dup, want.dup, rounded(loop.dup, store), "dup", 2 ** -22);
	});

	it.each([
		[5, 1, 8, "f16"],
		[3, 3, 64, "f16"],
		[2, 20, 128, "bf16"],
		[9, 2, 20, "f32"],
	] as const)(
		"rope of %i x %i heads of %i in %s, and NaN where a position has no row in the tables",
		(tokens, heads, dim, dtype) => {
			const cols = heads * dim;
			const values = normal(1, tokens * cols).map(stored(dtype));
			const { cos, sin } = kernels.ropeTables({ headDim: dim, theta: 1e4, positions: 40 });
			const [c, s] = [cos.toFloat32Array(), sin.toFloat32Array()];
			const at = Int32Array.from({ length: tokens }, (_, t) => (t === 1 ? 40 : t === 3 ? -1 : (7 * t) % 40));
			const [got] = eitherWay((lie) => {
				const around = new Surroundings();
				const x = place(around, lie, tokens, cols, values, dtype);
				kernels.rope(x, { heads, positions: around.tensor([tokens], at, "i32"), cos, sin });
				around.check();
				return [x.toFloat32Array()];
			}) as [Float32Array];
			const exact = (i: number, r: Round): number => {
				const [t, j, half] = [Math.floor(i / cols), i % dim, dim / 2];
				const k = (at[t] as number) * half + (j % half);
				const [own, other] = [values[i] as number, values[j < half ? i + half : i - half] as number];
				return r(r(own * (c[k] as number)) + r((j < half ? -other : other) * (s[k] as number)));
			};
			const outside = (i: number) => (at[Math.floor(i / cols)] as number) % 40 !== at[Math.floor(i / cols)];
			values.forEach((_, i) => {
				if (outside(i)) expect(got[i]).toBeNaN();
				else expect(got[i]).toBe(stored(dtype)(exact(i, Math.fround)));
			});
		},
	);

	it.each([
		["f16", "f16", 1],
		["f16", "f32", 64],
		["bf16", "f16", 1032],
	] as const)("embedding of %s to %s, %i wide; an unknown id is a row of NaN forward and nothing backward", (from, to, cols) => {
		const vocab = 6;
		const w = normal(1, vocab * cols).map(stored(from));
		const ids = Int32Array.of(3, 6, 0, 3, -1, 5, 3);
		const dy = integers(2, ids.length * cols, 9);
		const [y, dweight] = eitherWay((lie) => {
			const around = new Surroundings();
			const rows = around.tensor([ids.length], ids, "i32");
			const out = place(around, lie, ids.length, cols, undefined, to);
			kernels.embedding(rows, place(around, lie, vocab, cols, w, from), { y: out });
			const sums = place(around, lie, vocab, cols, new Float32Array(vocab * cols).fill(1));
			kernels.embeddingBackward(rows, place(around, lie, ids.length, cols, dy, to), sums);
			around.check();
			return [out.toFloat32Array(), sums.toFloat32Array()];
		}) as [Float32Array, Float32Array];
		const want = new Float32Array(vocab * cols).fill(1);
		ids.forEach((id, t) => {
			for (let j = 0; j < cols; j++) {
				if (id < 0 || id >= vocab) {
					expect(y[t * cols + j]).toBeNaN();
				} else {
					expect(y[t * cols + j]).toBe(stored(to)(w[id * cols + j] as number));
					want[id * cols + j] = (want[id * cols + j] as number) + (dy[t * cols + j] as number);
				}
			}
		});
		expect(dweight).toEqual(want);
	});

	it("embedding adds up many tokens in rising order", () => {
		const [tokens, vocab, cols] = [1200, 7, 12];
		const ids = Int32Array.from({ length: tokens }, (_, t) => (t * t + (t >> 3)) % vocab);
		const dy = normal(1, tokens * cols);
		const want = normal(2, vocab * cols);
		const dweight = kernels.tensor([vocab, cols], want);
		kernels.embeddingBackward(kernels.tensor([tokens], ids), kernels.tensor([tokens, cols], dy), dweight);
		dy.forEach((d, i) => {
			const at = (ids[Math.floor(i / cols)] as number) * cols + (i % cols);
			want[at] = (want[at] as number) + d;
		});
		expect(bitsEqual(dweight.toFloat32Array(), want)).toBe(true);
	});
});

/** Draws on the CPU and on simt; distributions too. */
function drawBoth(values: Float32Array, rows: readonly KernelSampling[]) {
	const vocab = values.length / rows.length;
	return ([isas[0] as string, "simt"] as const).map((target) => {
		use(target);
		const distributions = kernels.tensor([rows.length, vocab]);
		const logits = kernels.tensor([rows.length, vocab], values);
		const { tokens, logprobs } = kernels.sampleRows(logits, rows, distributions);
		return { tokens, logprobs, logits: logits.toFloat32Array(), distributions: distributions.toFloat32Array() };
	}) as [Drawn, Drawn];
}
interface Drawn {
	tokens: Int32Array;
	logprobs: Float32Array;
	logits: Float32Array;
	distributions: Float32Array;
}

describe.runIf(kernels.simt)("sampling on CUDA", () => {
	const expectSame = ([cpu, simt]: readonly [Drawn, Drawn], what: string) => {
		expect(simt.tokens, what).toEqual(cpu.tokens);
		expect(simt.logits, what).toEqual(cpu.logits);
		simt.logprobs.forEach((p, i) => {
			expect(Math.abs(p - (cpu.logprobs[i] as number)), what).toBeLessThan(1e-5);
		});
		simt.distributions.forEach((p, i) => {
			expect(Math.abs(p - (cpu.distributions[i] as number)), `${what}, token ${i}`).toBeLessThan(1e-6);
		});
	};

	it("draws the CPU's tokens, whatever the options", () => {
		for (let round = 0; round < 8; round++) {
			const u = random(round);
			const pick = <T>(...all: T[]): T => all[Math.floor(u() * all.length)] as T;
			const vocab = 1 + Math.floor(u() * 3000);
			const whole = u() < 0.3; // many ties
			const values = normal(round, 4 * vocab, pick(1, 4)).map((x) => (whole ? Math.round(x) : x));
			const rows = Array.from({ length: 4 }, () => ({
				temperature: pick(0, 0.3, 1, 2),
				topK: pick(0, 1, 5, 50, 3000),
				topP: pick(1, 0.999, 0.9, 0.5, 1e-6),
				minP: pick(0, 0, 0.01, 0.2),
				repetitionPenalty: pick(1, 1.3, 0.7),
				seed: Math.floor(u() * 1e9),
				stream: Math.floor(u() * 2 ** 40),
				position: Math.floor(u() * 99),
				seen: Int32Array.from({ length: Math.floor(u() * 60) }, () => Math.floor(u() * vocab)),
			}));
			expectSame(drawBoth(values, rows), `round ${round}: ${JSON.stringify({ vocab, rows })}`);
		}
	});

	// More ties than the list of survivors holds.
	it.each([
		["all equal", () => 1.5],
		["two values", (i: number) => i % 2],
	] as const)("thousands of ties: %s", (_, score) => {
		const vocab = 5000;
		const values = Float32Array.from({ length: 4 * vocab }, (__, i) => score(i));
		const rows = [{ topK: 3 }, { topP: 0.7 }, { topK: 4000, topP: 0.3 }, { minP: 0.5 }];
		expectSame(
			drawBoth(
				values,
				rows.map((row, position) => ({ temperature: 1, ...row, position })),
			),
			"ties",
		);
	});

	it("says which row has no best token", () => {
		use("simt");
		const logits = kernels.tensor([3, 4], [1, 2, 3, 4, 1, Number.POSITIVE_INFINITY, 3, 4, Number.NaN, 2, 3, 4]);
		expect(() => kernels.sampleRows(logits, [{}, {}, {}])).toThrow("prompt 1: sample: the logits hold NaN or +inf");
		const huge = kernels.tensor([1, 2], [1e38, 0]);
		expect(() => kernels.sampleRows(huge, [{ temperature: 1e-5 }])).toThrow("prompt 0: sample: temperature 1e-05 is too small");
	});
});

describe.runIf(kernels.simt)("every synchronisation of the CUDA kernels is needed:", () => {
	const expectEqual = (t: Tensor, want: Float32Array) => expect(bitsEqual(t.toFloat32Array(), want)).toBe(true);

	it("rmsnorm", () => {
		use("simt");
		const [rows, cols] = [70, 1200];
		const [x, dy] = [kernels.tensor([rows, cols], normal(1, rows * cols)), kernels.tensor([rows, cols], normal(2, rows * cols))];
		const w = kernels.tensor([cols], normal(3, cols));
		const run = () => {
			const { y, rstd } = kernels.rmsnorm(x, w, { eps });
			const dweight = kernels.tensor([cols]);
			return [y, kernels.rmsnormBackward(dy, x, w, rstd, { dweight }), dweight];
		};
		const want = run().map((t) => t.toFloat32Array());
		expectEverySiteNeeded(() => {
			run().forEach((t, i) => {
				expectEqual(t, want[i] as Float32Array);
			});
		});
	});

	it("embedding", () => {
		use("simt");
		const [tokens, cols] = [1100, 8];
		const ids = kernels.tensor(
			[tokens],
			Int32Array.from({ length: tokens }, (_, t) => (t * t) % 5),
		);
		const dy = kernels.tensor([tokens, cols], normal(1, tokens * cols));
		const run = () => kernels.embeddingBackward(ids, dy, kernels.tensor([5, cols]));
		const want = run().toFloat32Array();
		expectEverySiteNeeded(() => expectEqual(run(), want));
	});

	it("global norm", () => {
		use("simt");
		const g = kernels.tensor([40000], normal(1, 40000));
		const want = kernels.globalNorm([g]);
		expectEverySiteNeeded(() => expect(kernels.globalNorm([g])).toBe(want));
	});

	it("sampling", () => {
		use("simt");
		const vocab = 3000;
		const values = normal(1, 3 * vocab, 3);
		const rows = [
			{ temperature: 1, topK: 40, topP: 0.9, repetitionPenalty: 1.5, seen: Int32Array.of(5, 700, 5) },
			{ temperature: 1.5, topP: 0.95, position: 3 },
			{ temperature: 0.9, position: 4 },
		];
		const run = () => {
			const distributions = kernels.tensor([3, vocab]);
			const { tokens } = kernels.sampleRows(kernels.tensor([3, vocab], values), rows, distributions);
			return { tokens, distributions };
		};
		const first = run();
		const want = first.distributions.toFloat32Array();
		expectEverySiteNeeded(() => {
			const { tokens, distributions } = run();
			expect(tokens).toEqual(first.tokens);
			expectEqual(distributions, want);
		});
	});
});
