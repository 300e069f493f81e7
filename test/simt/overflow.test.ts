/**
 * fp16 that overflows, on device simt: gradients halve the loss scale until they do not, or end the step; activations end it at
 * once. A step that ends so has changed nothing.
 */
import { describe, expect, test } from "vitest";
import { initAdapter } from "../../src/engine/adapter.js";
import { devices } from "../../src/engine/device.js";
import { openModel } from "../../src/engine/model.js";
import type { Trainer } from "../../src/engine/trainer.js";
import { allSameBits, caseNames, golden, sequences } from "../engine/golden.js";

const has = devices().some((d) => d.name === "simt");
const name = caseNames[0]!;
const batch = { sequences: sequences(name).slice(0, 2) };
const rate = { learningRate: 0.01 };

/** With a trainer that has made one step, and starts the next with that loss scale. */
async function using<T>(lossScale: number, work: (trainer: Trainer) => Promise<T>): Promise<T> {
	const model = await openModel(golden(name, "model"), { device: "simt", dtype: "fp16" });
	try {
		await model.addAdapter(initAdapter(model.config, { r: 4, alpha: 8, seed: 5 }));
		const trainer = model.createTrainer();
		await trainer.step(batch, rate);
		trainer.setOptimizerState({ ...trainer.optimizerState(), lossScale, lossScaleSteps: 17 });
		return await work(trainer);
	} finally {
		model.dispose();
	}
}

/** All that a step changes. */
const stateOf = (trainer: Trainer) => ({ parameters: trainer.parameters(), ...trainer.optimizerState() });
type State = ReturnType<typeof stateOf>;

function expectSame(found: State, wanted: State): void {
	for (const part of ["parameters", "m", "v"] as const) expect(allSameBits(found[part], wanted[part]), part).toBe(true);
	const { step, lossScale, lossScaleSteps } = wanted;
	expect({ step: found.step, lossScale: found.lossScale, lossScaleSteps: found.lossScaleSteps }).toEqual({
		step,
		lossScale,
		lossScaleSteps,
	});
}

const oneStep = (lossScale: number) =>
	using(lossScale, async (trainer) => ({ result: await trainer.step(batch, rate), state: stateOf(trainer) }));

describe.skipIf(!has)("fp16 on device simt", () => {
	test("halves the loss scale until the gradients fit, and makes the step as if it had begun so", async () => {
		const found = await oneStep(2 ** 30);
		const scale = found.state.lossScale!;
		expect(scale).toBeLessThan(2 ** 26);
		expect(scale).toBeGreaterThanOrEqual(2 ** 10);
		expect(Math.log2(scale) % 1).toBe(0);
		expect(found.state).toMatchObject({ step: 2, lossScaleSteps: 1 });
		expect(Number.isFinite(found.result.gradNorm)).toBe(true);

		// From twice that scale one halving leads to it: it was the largest that fits.
		expect((await oneStep(2 * scale)).state.lossScale).toBe(scale);
		const direct = await oneStep(scale);
		expect(direct.state.lossScaleSteps).toBe(18);
		expect(found.result).toEqual(direct.result);
		expectSame(found.state, { ...direct.state, lossScaleSteps: 1 });
	});

	test("the same in gradients that are asked for", async () => {
		const from = (lossScale: number) => using(lossScale, (trainer) => trainer.gradients(batch));
		const [found, direct] = [await from(2 ** 30), await from(2 ** 12)];
		expect(found.gradients.every(({ data }) => data.every(Number.isFinite))).toBe(true);
		expect(Math.abs(found.gradNorm / direct.gradNorm - 1)).toBeLessThan(1e-3);
	});

	test("gradients that no scale makes fit end the step, and nothing has changed", async () => {
		const weighted = batch.sequences.map((s) => ({ ...s, weights: s.inputIds.map((_, t) => (t === 0 ? 0 : 1e9)) }));
		await using(2 ** 12, async (trainer) => {
			const before = stateOf(trainer);
			await expect(trainer.step({ sequences: weighted }, rate)).rejects.toMatchObject({
				code: "E_NUMERIC",
				exitStatus: 65,
				message: expect.stringMatching(/the gradient norm is -?(inf|nan), nothing was changed/),
			});
			expectSame(stateOf(trainer), before);
			// It goes on from there.
			await trainer.step(batch, rate);
			expectSame(stateOf(trainer), (await oneStep(2 ** 12)).state);
		});
	});

	test("activations beyond 65504 end the step, and nothing has changed", async () => {
		await using(2 ** 12, async (trainer) => {
			const sane = trainer.parameters();
			trainer.setParameters(sane.map((p) => ({ ...p, data: p.data.map((x) => (p.name.includes("lora_B") ? 6e4 : x)) })));
			const before = stateOf(trainer);
			await expect(trainer.step(batch, rate)).rejects.toMatchObject({
				code: "E_NUMERIC",
				message: expect.stringMatching(/the loss is -?(inf|nan), nothing was changed/),
			});
			expectSame(stateOf(trainer), before);
			trainer.setParameters(sane);
			await trainer.step(batch, rate);
			expectSame(stateOf(trainer), (await oneStep(2 ** 12)).state);
		});
	});
});
