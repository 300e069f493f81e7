/**
 * Training on device simt that goes on from a checkpoint: parameters and moments of a GPU's memory, the loss scale of fp16
 * and the counters of dropout come back to the bit.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { initAdapter } from "../../src/engine/adapter.js";
import { devices } from "../../src/engine/device.js";
import { environmentOf } from "../../src/engine/environment.js";
import { openModel } from "../../src/engine/model.js";
import type { DtypeName } from "../../src/engine/types.js";
import { Checkpoints, type TrainerState } from "../../src/stages/checkpoint.js";
import { allSameBits, caseNames, golden, sequences } from "../engine/golden.js";

const has = devices().some((d) => d.name === "simt");
const folder = mkdtempSync(join(tmpdir(), "fintune-simt-resume-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const name = caseNames[0]!;
const batch = { sequences: sequences(name).slice(0, 2) as never };

/** Three steps; with a folder, in two processes' worth of objects with nothing between them but a checkpoint. */
async function train(dtype: DtypeName, checkpointFolder?: string) {
	const begin = async () => {
		const model = await openModel(golden(name, "model"), { device: "simt", dtype });
		await model.addAdapter(initAdapter(model.config, { r: 4, alpha: 8, seed: 5 }));
		const checkpoints = new Checkpoints(checkpointFolder ?? "", "work", await environmentOf(model), 2, () => {});
		return { model, checkpoints, trainer: model.createTrainer({ dropout: 0.2, seed: 3, maxGradNorm: 1 }) };
	};
	let { model, checkpoints, trainer } = await begin();
	await trainer.step(batch, { learningRate: 0.01 });
	if (checkpointFolder !== undefined) {
		const { m, v, lossScale, lossScaleSteps } = trainer.optimizerState();
		const state = { step: 1, lossScale, lossScaleSteps } as TrainerState;
		await checkpoints.save({ state, parameters: trainer.parameters(), optimizer: { m, v } });
		model.dispose();
		({ model, checkpoints, trainer } = await begin());
		const { checkpoint } = (await checkpoints.newest())!;
		trainer.setParameters(checkpoint.parameters);
		trainer.setOptimizerState({ ...checkpoint.state, ...checkpoint.optimizer });
	}
	const losses: number[] = [];
	for (let i = 0; i < 2; i++) losses.push((await trainer.step(batch, { learningRate: 0.01 })).loss);
	const result = { losses, parameters: trainer.parameters(), optimizer: trainer.optimizerState() };
	model.dispose();
	return result;
}

describe.skipIf(!has)("training on device simt", () => {
	test.each(["f32", "bf16", "fp16"] as const)("goes on from a checkpoint in %s with the same bits", async (dtype) => {
		const whole = await train(dtype);
		const resumed = await train(dtype, join(folder, dtype));
		expect(resumed.losses).toEqual(whole.losses);
		expect(allSameBits(resumed.parameters, whole.parameters)).toBe(true);
		expect(allSameBits(resumed.optimizer.m, whole.optimizer.m)).toBe(true);
		expect(allSameBits(resumed.optimizer.v, whole.optimizer.v)).toBe(true);
		const { step, lossScale, lossScaleSteps } = resumed.optimizer;
		expect({ step, lossScale, lossScaleSteps }).toEqual({
			step: 3,
			lossScale: whole.optimizer.lossScale,
			lossScaleSteps: whole.optimizer.lossScaleSteps,
		});
		expect(lossScale !== undefined).toBe(dtype === "fp16");
	});
});
