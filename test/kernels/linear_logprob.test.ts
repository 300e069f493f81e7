import { describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import { hasShared, numericFact, whyNoShared } from "../shared.js";
import { exact, expectGradient, linearLogprob as reference } from "./reference.js";
import {
	bf16,
	bitsEqual,
	dot,
	expectClose,
	expectSameBits,
	expectTwice,
	golden,
	type Numbers,
	normal,
	once,
	random,
	Surroundings,
	stored,
	targets,
	use,
} from "./support.js";

it("agrees with its own gradient by central differences, in the reference", () => {
	const [rows, width, vocab] = [3, 4, 7];
	const [h, w, weights] = [normal(1, rows * width), normal(2, vocab * width), normal(3, rows)];
	const targets = Int32Array.of(6, 0, 2);
	const g = reference(h, w, targets, weights, width, vocab);
	const loss = (a: Numbers, b: Numbers) => dot(weights, reference(a, b, targets, weights, width, vocab).logprob);
	expectGradient(g.dhidden, (p) => loss(p, w), h, "dhidden");
	expectGradient(g.dweight, (p) => loss(h, p), w, "dweight");
});

describe.each(targets)("linearLogprob, %s", (isa) => {
	it("equals torch in float64 on the golden, weights of zero and below among them", async () => {
		use(isa);
		const g = await golden("linear_cross_entropy");
		const hidden = kernels.tensor([13, 40], g.hidden as Float32Array);
		const weight = kernels.tensor([211, 40], g.W as Float32Array);
		const targets = kernels.tensor([13], g.targets as Int32Array);
		const out = kernels.linearLogprob(hidden, weight, targets, { entropy: true, logits: true });
		expectClose(out.logprob.toFloat32Array(), g.logprob as Float64Array, 1e-6, "logprob");
		expectClose(out.entropy?.toFloat32Array() ?? [], g.entropy as Float64Array, 1e-6, "entropy");
		const dweight = kernels.tensor([211, 40]);
		const loss = kernels.linearCrossEntropy(hidden, weight, targets, {
			weights: kernels.tensor([13], g.weights as Float32Array),
			dweight,
		});
		expect(Math.abs(loss.loss - ((g.loss as Float64Array)[0] as number))).toBeLessThan(2e-6);
		expectClose(loss.dhidden.toFloat32Array(), g.dhidden as Float64Array, 1e-6, "dhidden");
		expectClose(dweight.toFloat32Array(), g.dW as Float64Array, 1e-6, "dW");
	});

	it.each([
		[1, 1, 1, "f32"],
		[7, 33, 100, "f32"],
		[65, 64, 513, "f32"],
		[20, 48, 1031, "bf16"],
		[3, 17, 5, "bf16"],
	] as const)("stays within twice a plain loop: %i rows of %i, vocabulary %i, %s", (rows, width, vocab, dtype) => {
		use(isa);
		const around = new Surroundings();
		const store = stored(dtype);
		const u = random(rows);
		const h = normal(1, rows * width).map(store);
		const w = normal(2, vocab * width, 0.5).map(store);
		const targets = Int32Array.from({ length: rows }, () => Math.floor(u() * vocab));
		const weights = normal(3, rows);
		const { want, loop } = once([rows, width, vocab, dtype], () => ({
			want: reference(h, w, targets, weights, width, vocab),
			loop: reference(h, w, targets, weights, width, vocab, Math.fround, dtype === "bf16" ? bf16 : exact),
		}));
		const dweight = around.tensor([vocab, width]);
		const out = kernels.linearLogprob(
			around.strided(rows, width, h, dtype),
			around.strided(vocab, width, w, dtype),
			around.tensor([rows], targets, "i32"),
			{ weights: around.tensor([rows], weights), dweight, entropy: true, logits: true, compute: dtype },
		);
		around.check();
		const unit = 2 ** -20;
		expectTwice(out.logits?.toFloat32Array() ?? [], want.logits, loop.logits, "logits", unit);
		expectTwice(out.logprob.toFloat32Array(), want.logprob, loop.logprob, "logprob", unit);
		// The entropy is a small difference of larger numbers: its unit is theirs.
		expectTwice(out.entropy?.toFloat32Array() ?? [], want.entropy, loop.entropy, "entropy", 2 ** -17);
		expectTwice(out.dhidden?.toFloat32Array() ?? [], want.dhidden, loop.dhidden.map(store), "dhidden", unit);
		expectTwice(dweight.toFloat32Array(), want.dweight, loop.dweight, "dweight", unit);
	});

	it("gives a row the same bits among any number of rows, with any number of threads", () => {
		use(isa);
		const [rows, width, vocab] = [300, 24, 77];
		const h = normal(1, rows * width);
		const weight = kernels.tensor([vocab, width], normal(2, vocab * width));
		const targets = Int32Array.from({ length: rows }, (_, t) => (t * 31) % vocab);
		const score = (first: number, n: number) => {
			const out = kernels.linearLogprob(
				kernels.tensor([n, width], h.slice(first * width, (first + n) * width)),
				weight,
				kernels.tensor([n], targets.slice(first, first + n)),
				{ weights: kernels.tensor([n], new Float32Array(n).fill(-0.1)), entropy: true },
			);
			return [out.logprob, out.entropy, out.dhidden].map((t) => t?.toFloat32Array() ?? new Float32Array(0));
		};
		const [all] = score(0, rows) as [Float32Array];
		for (const [first, n] of [
			[0, 1],
			[299, 1],
			[100, 50],
			[1, 257],
		] as const) {
			expect(bitsEqual((score(first, n) as [Float32Array])[0], all.slice(first, first + n)), `${n} rows from ${first}`).toBe(
				true,
			);
		}
		expectSameBits(() => score(0, rows));
	});

	it("keeps to its range on extreme logits, and takes no row at all", () => {
		use(isa);
		const weight = kernels.tensor([3, 1], [1000, -1000, 0]);
		const out = kernels.linearLogprob(kernels.tensor([2, 1], [1, -1]), weight, kernels.tensor([2], Int32Array.of(0, 0)), {
			entropy: true,
			weights: kernels.tensor([2], [1, 1]),
		});
		expect([...out.logprob.toFloat32Array()]).toEqual([0, -2000]);
		expect([...(out.entropy?.toFloat32Array() ?? [])].map((e) => Math.abs(e))).toEqual([0, 0]);
		expect([...(out.dhidden?.toFloat32Array() ?? [])]).toEqual([0, 2000]);
		const none = kernels.linearLogprob(kernels.tensor([0, 1]), weight, kernels.tensor([0], new Int32Array(0)));
		expect(none.logprob.toFloat32Array()).toHaveLength(0);
		for (const target of [3, -1]) {
			const beyond = () => kernels.linearLogprob(kernels.tensor([1, 1], [1]), weight, kernels.tensor([1], Int32Array.of(target)));
			if (kernels.device() === "cpu") expect(beyond).toThrow(`target 0 is ${target}`);
			else expect([...beyond().logprob.toFloat32Array()]).toEqual([Number.NaN]);
		}
	});
});

describe.skipIf(!hasShared)(`a value known from torch${hasShared ? "" : ` (skipped: ${whyNoShared})`}`, () => {
	it("the mean cross-entropy of three rows", () => {
		interface Fact {
			logits: number[][];
			targets: number[];
			expected: number;
			tol: number;
		}
		const f = numericFact<Fact>("cross_entropy_mean");
		// With an identity as the head the hidden states are the logits.
		const identity = Float32Array.from({ length: 25 }, (_, i) => (i % 6 === 0 ? 1 : 0));
		const { loss } = kernels.linearCrossEntropy(
			kernels.tensor([3, 5], f.logits.flat()),
			kernels.tensor([5, 5], identity),
			kernels.tensor([3], Int32Array.from(f.targets)),
		);
		expect(Math.abs(loss - f.expected)).toBeLessThan(f.tol);
	});
});
