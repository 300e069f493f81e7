import { describe, expect, it } from "vitest";
import type { KernelPreferenceLoss, PreferencePairs } from "../../src/engine/kernel_preference.js";
import { kernels } from "../../src/engine/kernels.js";
import { hasShared, numericFact, whyNoShared } from "../shared.js";
import { golden, normal } from "./support.js";

/** The golden's arguments. */
async function pairsOf(name: string): Promise<{ pairs: PreferencePairs; g: Awaited<ReturnType<typeof golden>> }> {
	const g = await golden(name);
	const doubles = (key: string) => Float64Array.from(g[key] as Float32Array);
	return {
		g,
		pairs: {
			policyChosen: doubles("policy_chosen"),
			policyRejected: doubles("policy_rejected"),
			referenceChosen: doubles("reference_chosen"),
			referenceRejected: doubles("reference_rejected"),
			nChosen: g.n_chosen as Int32Array,
			nRejected: g.n_rejected as Int32Array,
		},
	};
}

describe("preferenceLoss", () => {
	it.each(
		["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm"].flatMap((loss) => ["0.1", "1.0"].map((beta) => [loss, beta] as const)),
	)("%s at beta %s equals the golden, margins of +40 and -300 included", async (loss, beta) => {
		const { g, pairs } = await pairsOf(`preference_${loss}_beta${beta}`);
		const options = { loss: loss as KernelPreferenceLoss, beta: Number(beta), labelSmoothing: loss === "robust" ? 0.1 : 0 };
		const out = kernels.preferenceLoss(pairs, options);
		const close = (got: number, want: number) =>
			expect(Math.abs(got - want)).toBeLessThanOrEqual(1e-12 * Math.max(1, Math.abs(want)));
		close(out.loss, (g.loss as Float64Array)[0] as number);
		(g.per_pair as Float64Array).forEach((want, i) => {
			close(out.perPair[i] as number, want);
		});
		(g.dpolicy_chosen as Float64Array).forEach((want, i) => {
			close(out.dpolicyChosen[i] as number, want);
		});
		(g.dpolicy_rejected as Float64Array).forEach((want, i) => {
			close(out.dpolicyRejected[i] as number, want);
		});
	});

	it.each(["simpo", "orpo", "sigmoid"] as const)("%s: the gradient is the slope of the loss", (loss) => {
		const pairs: PreferencePairs = {
			policyChosen: Float64Array.from(normal(1, 5), (x) => -8 - x),
			policyRejected: Float64Array.from(normal(2, 5), (x) => -9 - x),
			referenceChosen: new Float64Array(5).fill(-8),
			referenceRejected: new Float64Array(5).fill(-9),
			nChosen: Int32Array.of(3, 4, 5, 6, 7),
			nRejected: Int32Array.of(7, 3, 9, 2, 4),
		};
		const options = { loss, beta: 0.7, gamma: loss === "simpo" ? 0.3 : 0 };
		const out = kernels.preferenceLoss(pairs, options);
		for (const [side, gradient] of [
			["policyChosen", out.dpolicyChosen],
			["policyRejected", out.dpolicyRejected],
		] as const) {
			gradient.forEach((slope, i) => {
				const shifted = (by: number) =>
					kernels.preferenceLoss({ ...pairs, [side]: pairs[side].map((x, j) => (i === j ? x + by : x)) }, options).loss;
				expect(Math.abs((shifted(1e-5) - shifted(-1e-5)) / 2e-5 - slope)).toBeLessThan(1e-8);
			});
		}
		expect(Math.abs(out.perPair.reduce((a, b) => a + b, 0) / 5 - out.loss)).toBeLessThan(1e-12);
	});

	it("starts at ln 2 with equal models", () => {
		const same = Float64Array.of(-3, -5);
		const n = Int32Array.of(1, 1);
		const pairs = {
			policyChosen: same,
			policyRejected: same,
			referenceChosen: same,
			referenceRejected: same,
			nChosen: n,
			nRejected: n,
		};
		expect(kernels.dpoLoss(pairs, { beta: 1 }).loss).toBe(Math.LN2);
	});

	it("refuses an unknown loss by name, and arrays of unequal length", async () => {
		const { pairs } = await pairsOf("preference_sigmoid_beta1.0");
		expect(() => kernels.preferenceLoss(pairs, { loss: "dpo" as never })).toThrow(/sigmoid.*ipo/s);
		expect(() => kernels.preferenceLoss({ ...pairs, nChosen: Int32Array.of(1) })).toThrow(
			"expected 7 values in every array, found 1",
		);
	});
});

describe.skipIf(!hasShared)(`values known from torchtune${hasShared ? "" : ` (skipped: ${whyNoShared})`}`, () => {
	interface Fact {
		beta: number;
		gamma: number;
		policy_chosen: number[];
		policy_rejected: number[];
		ref_chosen: number[];
		ref_rejected: number[];
		expected: number[];
		tol: number;
	}
	it.each([
		["dpo_sigmoid_loss", "sigmoid"],
		["rso_hinge_loss", "hinge"],
	] as const)("%s", (name, loss) => {
		const inputs = numericFact<Fact>("dpo_sigmoid_loss");
		const fact = numericFact<Fact>(name);
		const { perPair } = kernels.preferenceLoss(
			{
				policyChosen: Float64Array.from(inputs.policy_chosen),
				policyRejected: Float64Array.from(inputs.policy_rejected),
				referenceChosen: Float64Array.from(inputs.ref_chosen),
				referenceRejected: Float64Array.from(inputs.ref_rejected),
				nChosen: Int32Array.of(1, 1, 1),
				nRejected: Int32Array.of(1, 1, 1),
			},
			{ loss, beta: fact.beta ?? fact.gamma },
		);
		fact.expected.forEach((want, i) => {
			expect(Math.abs((perPair[i] as number) - want)).toBeLessThan(1e-4);
		});
	});
});
