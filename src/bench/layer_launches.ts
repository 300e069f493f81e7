/**
 * Kernels of one layer in a training step.
 * @module
 */
import { initAdapter } from "../engine/adapter.js";
import { deviceLaunches } from "../engine/device.js";
import { type OpenModelOptions, openRandomModel } from "../engine/model.js";
import type { ModelConfig, TrainerOptions } from "../engine/types.js";
import { randomBatch, type StepPlan } from "./step_batch.js";

export interface LayerLaunchesOptions {
	config: ModelConfig;
	/** Kernels of a step of that model. */
	launches: number;
	step: StepPlan;
	objective: "sft" | "dpo";
	rank: number;
	trainer: TrainerOptions;
	open: OpenModelOptions & { device: string };
}

/**
 * What one layer more adds to a step: the difference to a model of one layer (of two, for a model of one), which is opened with
 * random weights and makes the same step, by the number of layers that it lacks.
 */
export async function layerLaunches({ config, launches, step, objective, rank, trainer, open }: LayerLaunchesOptions) {
	const other = { ...config, numLayers: config.numLayers > 1 ? 1 : 2 };
	const model = await openRandomModel("one layer", other, open);
	try {
		await model.addAdapter(initAdapter(other, { r: rank, alpha: 2 * rank, seed: 1 }));
		const steps = model.createTrainer(trainer);
		let started = 0;
		// A device may record the first ones; from the third on they are all alike.
		for (let i = 0; i < 3; i++) {
			const batch = await steps.withReference(randomBatch(step, config.vocabSize, i, objective));
			const before = deviceLaunches(open.device);
			await steps.step(batch, { learningRate: 1e-4 });
			started = deviceLaunches(open.device) - before;
		}
		return (launches - started) / (config.numLayers - other.numLayers);
	} finally {
		model.dispose();
	}
}
