import { describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import { hasShared, numericFact, whyNoShared } from "../shared.js";
import { exact, type Round } from "./reference.js";
import {
	expectClose,
	expectSameBits,
	expectTwice,
	golden,
	itOnCpu,
	normal,
	Surroundings,
	stored,
	targets,
	use,
} from "./support.js";

describe.each(targets)("rope, %s", (isa) => {
	it("equals the golden with its tables, forward and backward", async () => {
		use(isa);
		const g = await golden("rope");
		const tokens = 13;
		// The tables hold one row per token, so the positions are simply 0 .. 12.
		const cos = kernels.tensor([tokens, 12], Float32Array.from(g.cos as Float64Array));
		const sin = kernels.tensor([tokens, 12], Float32Array.from(g.sin as Float64Array));
		const positions = kernels.tensor(
			[tokens],
			Int32Array.from({ length: tokens }, (_, t) => t),
		);
		const turn = (name: string, heads: number, inverse: boolean) =>
			kernels
				.rope(kernels.tensor([tokens, heads, 24], g[name] as Float32Array), { heads, positions, cos, sin, inverse })
				.toFloat32Array();
		expectClose(turn("q", 3, false), g.q_rot as Float64Array, 2e-7, "q");
		expectClose(turn("k", 2, false), g.k_rot as Float64Array, 2e-7, "k");
		expectClose(turn("dq_rot", 3, true), g.dq as Float64Array, 2e-7, "dq");
		expectClose(turn("dk_rot", 2, true), g.dk as Float64Array, 2e-7, "dk");
	});

	it("makes the golden's tables to float32 angles", async () => {
		use(isa);
		const g = await golden("rope");
		const { cos, sin } = kernels.ropeTables({ headDim: 24, theta: (g.theta as Float64Array)[0] as number, positions: 4096 });
		const pick = (table: Float32Array) =>
			Float32Array.from([...(g.positions as Int32Array)].flatMap((p) => [...table.subarray(p * 12, (p + 1) * 12)]));
		// Angles in float32 as transformers has them: off by up to 6e-5 at position 4095, says the golden's README.
		expectClose(pick(cos.toFloat32Array()), g.cos as Float64Array, 3e-4, "cos");
		expectClose(pick(sin.toFloat32Array()), g.sin as Float64Array, 3e-4, "sin");
	});

	it.each([
		[1, 1, 2, "f32"],
		[5, 3, 20, "f32"],
		[67, 2, 64, "bf16"],
		[3, 4, 96, "bf16"],
	] as const)("turns %i x %i heads of %i in a strided %s view and back", (tokens, heads, dim, dtype) => {
		use(isa);
		const around = new Surroundings();
		const values = normal(tokens, tokens * heads * dim).map(stored(dtype));
		const x = around.strided(tokens, heads * dim, values, dtype);
		const { cos, sin } = kernels.ropeTables({ headDim: dim, theta: 1e4, positions: 40 });
		const position = Int32Array.from({ length: tokens }, (_, t) => (t * 7) % 40);
		const options = { heads, positions: around.tensor([tokens], position, "i32"), cos, sin };
		kernels.rope(x, options);
		const [c, s] = [cos.toFloat32Array(), sin.toFloat32Array()];
		const turned = (r: Round) =>
			Float64Array.from(values, (v, i) => {
				const [t, j] = [Math.floor(i / (heads * dim)), i % dim];
				const k = (position[t] as number) * (dim / 2) + (j % (dim / 2));
				const other = values[j < dim / 2 ? i + dim / 2 : i - dim / 2] as number;
				return r(r(v * (c[k] as number)) + r((j < dim / 2 ? -other : other) * (s[k] as number)));
			});
		const loop = turned(Math.fround).map(stored(dtype));
		expectTwice(x.toFloat32Array(), turned(exact), loop, dtype, dtype === "f32" ? 2 ** -24 : 2 ** -9);
		kernels.rope(x, { ...options, inverse: true });
		expectClose(x.toFloat32Array(), values, dtype === "f32" ? 4e-7 : 1e-2, "back");
		around.check();
		expectSameBits(() => [kernels.rope(kernels.tensor([tokens, heads * dim], values), options).toFloat32Array()]);
	});

	// On a GPU those who upload the positions check them.
	itOnCpu(isa)("refuses a position outside of the tables", () => {
		use(isa);
		const { cos, sin } = kernels.ropeTables({ headDim: 4, theta: 1e4, positions: 3 });
		for (const p of [-1, 3]) {
			const positions = kernels.tensor([2], Int32Array.of(0, p));
			expect(() => kernels.rope(kernels.tensor([2, 4]), { heads: 1, positions, cos, sin })).toThrow(
				new RegExp(`token 1 has position ${p}, expected 0 .. 2`),
			);
		}
	});
});

describe.skipIf(!hasShared)(`frequencies known from transformers${hasShared ? "" : ` (skipped: ${whyNoShared})`}`, () => {
	interface Fact {
		head_dim: number;
		theta: number;
		expected: number[];
		expected_first: number[];
		expected_last: number[];
		rope_scaling: { factor: number; original_max_position_embeddings: number; low_freq_factor: number; high_freq_factor: number };
		rtol: number;
	}
	const fact = numericFact<Fact>;

	it("llama3 scaling", () => {
		const f = fact("rope_llama3_inv_freq");
		const s = f.rope_scaling;
		const { frequencies } = kernels.ropeTables({
			headDim: f.head_dim,
			theta: f.theta,
			positions: 0,
			scaling: {
				type: "llama3",
				factor: s.factor,
				lowFreqFactor: s.low_freq_factor,
				highFreqFactor: s.high_freq_factor,
				originalMaxPositions: s.original_max_position_embeddings,
			},
		});
		expect(f.expected).toHaveLength(frequencies.length);
		f.expected.forEach((want, j) => {
			expect(Math.abs((frequencies[j] as number) - want) / want).toBeLessThan(f.rtol);
		});
	});

	it("plain", () => {
		const f = fact("rope_default_inv_freq");
		const { frequencies } = kernels.ropeTables({ headDim: f.head_dim, theta: f.theta, positions: 0 });
		expectClose(frequencies.slice(0, 4), f.expected_first, 5e-5);
		frequencies.slice(-4).forEach((x, j) => {
			expect(Math.abs(x - (f.expected_last[j] as number)) / x).toBeLessThan(1e-4);
		});
	});
});
