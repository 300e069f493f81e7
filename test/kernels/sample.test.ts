import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type KernelSampling, kernels } from "../../src/engine/kernels.js";
import { expectSameBits, expectTwice, itOnCpu, normal, Surroundings, targets, use } from "./support.js";

/** What transformers' warpers do, in double: penalty, temperature, top_k, softmax, top_p, min_p, softmax. */
function reference(logits: ArrayLike<number>, o: KernelSampling, seen: readonly number[] = []): Float64Array {
	const x = Float64Array.from(logits);
	for (const id of new Set(seen)) {
		const p = Math.fround(o.repetitionPenalty ?? 1);
		x[id] = Math.fround((x[id] as number) > 0 ? (x[id] as number) / p : (x[id] as number) * p);
	}
	const scores = x.map((v) => Math.fround(v / Math.fround(o.temperature ?? 1)));
	const sorted = scores.slice().sort((a, b) => b - a);
	const threshold = o.topK ? (sorted[Math.min(o.topK, scores.length) - 1] as number) : Number.NEGATIVE_INFINITY;
	const weights = scores.map((s) => (s < threshold ? 0 : Math.exp(s - (sorted[0] as number))));
	const total = weights.reduce((a, b) => a + b, 0);
	const order = [...weights.keys()].sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
	let before = 0;
	order.forEach((id, rank) => {
		const w = weights[id] as number;
		if (rank > 0 && before >= (o.topP ?? 1) * total && (o.topP ?? 1) < 1) weights[id] = 0;
		before += w;
	});
	const kept = weights.map((w) => (w < (o.minP ?? 0) ? 0 : w));
	const sum = kept.reduce((a, b) => a + b, 0);
	return kept.map((w) => w / sum);
}

const distribution = (logits: Float32Array, options: KernelSampling, seen: readonly number[] = []) =>
	kernels.samplingDistribution(kernels.tensor([logits.length], logits), { ...options, seen: Int32Array.from(seen) });

describe.each(targets)("sample, %s", (isa) => {
	it("takes the smallest id among the best when greedy", () => {
		use(isa);
		expect(kernels.sample(kernels.tensor([40], normal(1, 40).fill(5, 20, 22)))).toEqual({ token: 20, logprob: 0 });
		expect(kernels.sample(kernels.tensor([1], [-3]))).toEqual({ token: 0, logprob: 0 });
		const inf = Number.NEGATIVE_INFINITY;
		expect(kernels.sample(kernels.tensor([3], [inf, -1e30, inf])).token).toBe(1);
	});

	it("keeps what transformers keeps", () => {
		use(isa);
		fc.assert(
			fc.property(
				fc.integer({ min: 1, max: 700 }),
				fc.record({
					temperature: fc.constantFrom(0.3, 0.7, 1, 2),
					topK: fc.constantFrom(0, 1, 5, 20, 1000),
					topP: fc.constantFrom(0.05, 0.5, 0.8, 0.95, 1),
					minP: fc.constantFrom(0, 0, 0.1),
					repetitionPenalty: fc.constantFrom(1, 1.2, 0.8),
				}),
				fc.integer(),
				(vocab, options, seed) => {
					const logits = normal(seed, vocab, 3);
					const seen = [0, vocab - 1, 0, Math.floor(vocab / 2)];
					const got = distribution(logits, options, seen);
					const want = reference(logits, options, seen);
					want.forEach((p, i) => {
						expect(Math.abs((got[i] as number) - p), `token ${i}`).toBeLessThan(2e-6);
						expect((got[i] as number) > 0, `token ${i} kept`).toBe(p > 0);
					});
				},
			),
			{ numRuns: isa === "simt" ? 25 : 60, seed: 5 },
		);
	});

	it("keeps all that tie with the k-th, and equal tokens in the order of their ids under top_p", () => {
		use(isa);
		const logits = Float32Array.of(0, 3, 1, 1, 1, -2);
		expect([...distribution(logits, { temperature: 1, topK: 2 })].map((p) => p > 0)).toEqual([
			false,
			true,
			true,
			true,
			true,
			false,
		]);
		expect([...distribution(new Float32Array(4), { temperature: 1, topP: 0.5 })]).toEqual([0.5, 0.5, 0, 0]);
		expect([...distribution(new Float32Array(4), { temperature: 1, topP: 1e-6 })]).toEqual([1, 0, 0, 0]);
	});

	it("penalises a token once, however often it was seen", () => {
		use(isa);
		const logits = kernels.tensor([3], [2, -1, 0.5]);
		kernels.sample(logits, { repetitionPenalty: 2, seen: Int32Array.of(0, 1, 0, 1, 0) });
		expect([...logits.toFloat32Array()]).toEqual([1, -2, 0.5]);
	});

	// On simt the tokens are those of the CPU (elementwise_cuda.test.ts).
	itOnCpu(isa)("draws by the distribution, from seed, stream and position alone", () => {
		use(isa);
		const logits = normal(3, 50, 2);
		const options = { temperature: 1, topK: 8, seed: 42n };
		const p = distribution(logits, options);
		const n = 4000;
		const counts = new Float64Array(50);
		const draw = (position: number, stream: number) =>
			kernels.sample(kernels.tensor([50], logits), { ...options, position, stream });
		for (let i = 0; i < n; i++) {
			const { token, logprob } = draw(i, 7);
			counts[token] = (counts[token] as number) + 1;
			expect(Math.abs(logprob - Math.log(p[token] as number))).toBeLessThan(1e-5);
		}
		// Chi-square with 7 degrees of freedom: above 24.3 once in a thousand; the seed is fixed.
		const chi = counts.reduce(
			(sum, c, i) => sum + ((p[i] as number) > 0 ? (c - n * (p[i] as number)) ** 2 / (n * (p[i] as number)) : c),
			0,
		);
		expect(chi).toBeLessThan(24.3);
		const tokens = (stream: number) => Array.from({ length: 30 }, (_, i) => draw(i, stream).token);
		expect(tokens(1)).toEqual(tokens(1));
		expect(tokens(1)).not.toEqual(tokens(2));
	});

	it("gives log-probabilities within twice the error of a plain float32 loop", () => {
		use(isa);
		const [n, vocab] = [isa === "simt" ? 12 : 60, 501];
		const options = Array.from({ length: n }, (_, r) => ({
			temperature: [0.5, 1, 2][r % 3] as number,
			topK: [0, 40][r % 2] as number,
			position: r,
		}));
		const logits = options.map((_, r) => normal(r + 1, vocab, 3));
		const whole = kernels.tensor([n, vocab], Float32Array.from(logits.flatMap((row) => [...row])));
		const { tokens, logprobs } = kernels.sampleRows(whole, options);
		const drawn = options.map((o, r) => {
			const p = reference(logits[r]!, o);
			const scores = logits[r]!.map((x) => x / Math.fround(o.temperature));
			const largest = scores.reduce((a, b) => Math.max(a, b));
			const below = scores.map((s) => s - largest);
			const sum = below.reduce((total, x, id) => (p[id]! > 0 ? Math.fround(total + Math.fround(Math.exp(x))) : total), 0);
			const token = tokens[r]!;
			return { truth: Math.log(p[token]!), loop: Math.fround(below[token]! - Math.fround(Math.log(sum))) };
		});
		expectTwice(
			logprobs,
			drawn.map(({ truth }) => truth),
			drawn.map(({ loop }) => loop),
		);
	});

	it("draws every row as if it were alone, whatever its neighbours ask for, and names the row that it cannot", () => {
		use(isa);
		const [n, vocab] = [isa === "simt" ? 4 : 13, 300];
		const values = normal(9, n * vocab, 3);
		const rows = Array.from({ length: n }, (_, r) => ({
			temperature: [0, 0.7, 1, 1.5][r % 4] as number,
			topK: [0, 40, 3][r % 3] as number,
			topP: [1, 0.9][r % 2] as number,
			minP: r === 5 ? 0.1 : 0,
			repetitionPenalty: r % 5 === 0 ? 1.3 : 1,
			seed: 2n ** 64n - 1n,
			stream: r,
			position: 2 * r,
			seen: Int32Array.from({ length: r }, (_, i) => (i * i * 31) % vocab),
		}));
		const alone = rows.map((row, r) => {
			const distribution = kernels.tensor([1, vocab]);
			const logits = kernels.tensor([1, vocab], values.subarray(r * vocab, (r + 1) * vocab));
			const { tokens, logprobs } = kernels.sampleRows(logits, [row], distribution);
			return { token: tokens[0], logprob: logprobs[0], distribution: distribution.toFloat32Array() };
		});
		expectSameBits(() => {
			const around = new Surroundings();
			const distributions = around.strided(n, vocab);
			const { tokens, logprobs } = kernels.sampleRows(around.strided(n, vocab, values), rows, distributions);
			around.check();
			expect([...tokens]).toEqual(alone.map((a) => a.token));
			expect([...logprobs]).toEqual(alone.map((a) => a.logprob));
			expect([...distributions.toFloat32Array()]).toEqual(alone.flatMap((a) => [...a.distribution]));
			return [logprobs];
		});
		for (const bad of [2, n - 2]) values[bad * vocab + 7] = Number.NaN;
		expect(() => kernels.sampleRows(kernels.tensor([n, vocab], values), rows)).toThrow("prompt 2: sample: the logits hold NaN");
	});

	it("handles the vocabulary of Qwen2.5 in milliseconds", () => {
		use(isa);
		const vocab = 151936;
		const logits = normal(1, vocab, 4);
		const got = distribution(logits, { temperature: 1, topP: 0.9 });
		const want = reference(logits, { temperature: 1, topP: 0.9 });
		let different = 0;
		want.forEach((p, i) => {
			if (Math.abs((got[i] as number) - p) > 1e-7) different++;
		});
		// A token at the very edge of top_p may fall on the other side in float32.
		expect(different).toBeLessThanOrEqual(1);
	});

	it("refuses logits without a best, and options out of range", () => {
		use(isa);
		const [nan, inf] = [Number.NaN, Number.POSITIVE_INFINITY];
		for (const bad of [[1, nan, 2], [1, inf, 2], [-inf, -inf], [nan]]) {
			expect(() => kernels.sample(kernels.tensor([bad.length], bad))).toThrow("NaN or +inf");
		}
		const logits = kernels.tensor([4], [1, 2, 3, 4]);
		expect(() => kernels.sample(logits, { temperature: -1 })).toThrow("temperature is 0 or more, found -1");
		expect(() => kernels.sample(logits, { topP: 0 })).toThrow("top_p");
		expect(() => kernels.sample(logits, { minP: 2 })).toThrow("min_p");
		expect(() => kernels.sample(logits, { repetitionPenalty: 0 })).toThrow("repetition_penalty");
		expect(() => kernels.sample(logits, { seen: Int32Array.of(4) })).toThrow("seen token 0 has id 4");
	});
});
