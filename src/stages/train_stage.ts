/**
 * What sft, dpo and pretrain share around the training loop: opening the model, making or loading the adapter, saving.
 * @module
 */
import { join } from "node:path";
import { initAdapter, loadAdapter } from "../engine/adapter.js";
import { environmentOf } from "../engine/environment.js";
import type { Model } from "../engine/model.js";
import { saveModel } from "../engine/save_model.js";
import type { Trainer } from "../engine/trainer.js";
import type { Adapter } from "../engine/types.js";
import { openWhenFree, whenMemoryIsFree } from "./busy_gpu.js";
import { Checkpoints, checkpointsFolder } from "./checkpoint.js";
import type { StageOutcome, TrainingContext } from "./context.js";
import { chooseMicroBatchTokens } from "./memory.js";
import type { TrainingConfig } from "./schema.js";
import { trainLoop } from "./train_loop.js";
import type { TrainingSet } from "./training_set.js";

export interface TrainStageOptions<Item> {
	type: string;
	set: TrainingSet<Item>;
	validation?: readonly Item[];
	/** Random weights to start from (pretraining). */
	random?: { seed: number; std: number };
	/** Done once the trainer exists and before the first step, e.g. caching reference log-probabilities. */
	prepare?(trainer: Trainer, model: Model): Promise<{ set: TrainingSet<Item>; validation?: readonly Item[] }>;
	/** What happened to the data, for the stage's note. */
	note?: string;
	/** Counts of the data, for the stage's metrics. */
	metrics?: Record<string, number>;
}

/** Trains an adapter on top of the present stack, or all parameters, and leaves it in the stage's folder. */
export async function trainStage<Item>(
	context: TrainingContext,
	config: TrainingConfig,
	options: TrainStageOptions<Item>,
): Promise<StageOutcome> {
	const { session } = context;
	const seed = config.seed ?? context.seed;
	const model = await openWhenFree(
		context,
		config.lora ? {} : { trainable: true, ...(options.random ? { random: options.random } : {}) },
	);
	if (config.lora) {
		await model.addAdapter(await startAdapter(context, config.lora, model, seed));
	}
	const trainerOptions = {
		parameters: config.lora ? ("lora" as const) : ("full" as const),
		adamBeta1: config.adam_beta1,
		adamBeta2: config.adam_beta2,
		adamEpsilon: config.adam_epsilon,
		weightDecay: config.weight_decay,
		maxGradNorm: config.max_grad_norm,
		recompute: config.recompute,
		seed,
		...(config.lora ? { dropout: config.lora.dropout } : {}),
	};
	const checkpoints = new Checkpoints(
		join(context.folder, checkpointsFolder),
		context.work,
		await environmentOf(model),
		config.save_total_limit,
		(message) => context.log(`${context.name}: ${message}`),
	);
	const resume = await checkpoints.newest();
	const lengths = options.set.items.map((item) => options.set.tokens(item));
	const { micro_batch_tokens: given } = config;
	// An interrupted run was packed by what it had chosen.
	const began = resume?.checkpoint.state.microBatchTokens;
	const chosen = await whenMemoryIsFree(
		context,
		model.device,
		() => chooseMicroBatchTokens(model, trainerOptions, lengths, given, undefined, began),
		() => model.memoryBytes(),
	);
	// Where memory, not the data, decided the packing, the same run rounds otherwise elsewhere.
	const shortage =
		chosen.tokens < chosen.wanted
			? `micro_batch_tokens auto: ${chosen.tokens} instead of ${chosen.wanted} for want of memory; set it to get the same rounding on another machine`
			: undefined;
	if (began !== undefined && chosen.tokens !== began) {
		context.log(`${context.name}: packed by ${began} tokens before: bits may differ from those of an uninterrupted run`);
	}
	if (given === "auto") context.log(`${context.name}: ${shortage ?? `micro_batch_tokens auto: ${chosen.tokens}`}`);
	const note = [options.note, shortage].filter(Boolean).join("; ");
	const trainer = model.createTrainer(trainerOptions);
	try {
		if (resume) {
			const { step } = resume.checkpoint.state;
			context.log(`${context.name}: goes on after step ${step}, from ${resume.name}`);
			await context.journal({ event: "resumed", checkpoint: resume.name, step });
		}
		const { set, validation } = (await options.prepare?.(trainer, model)) ?? options;
		const result = await trainLoop({
			context,
			config,
			type: options.type,
			trainer,
			set,
			microBatchTokens: chosen.tokens,
			// A GPU's memory is its own.
			...(model.device === "cpu" ? { releaseMemory: () => model.releaseMemory() } : {}),
			checkpoints,
			// Parameters and both moments, as the gradients in f32.
			checkpointBytes: 3 * model.planTraining(trainerOptions, { lengths: [2] }).gradients!,
			...(resume ? { resume: resume.checkpoint } : {}),
			...(validation ? { validation } : {}),
		});
		if (config.lora) await trainer.saveAdapter(join(context.folder, "adapter"));
		else await saveModel(model, trainer.parameters(), join(context.folder, "model"));
		const last = result.rows.at(-1)!;
		return {
			status: "done",
			...(note ? { note } : {}),
			trained: config.lora ? "adapter" : "model",
			metrics: {
				loss: last.loss,
				steps: result.rows.length,
				kept_step: result.keptStep,
				...options.metrics,
				...(result.bestEvalLoss === undefined ? {} : { eval_loss: result.bestEvalLoss }),
			},
			training: result.report,
		};
	} finally {
		trainer.dispose();
		// The session loads what was saved, so that a later stage sees exactly what another program would.
		if (config.lora) model.popAdapter();
		else await session.close();
	}
}

/** A fresh adapter, or a stored one whose own rank and scale then hold. */
async function startAdapter(
	context: TrainingContext,
	lora: NonNullable<TrainingConfig["lora"]>,
	model: Model,
	seed: number,
): Promise<Adapter> {
	const { r, alpha = 2 * r, dropout, target_modules: targetModules, use_rslora: useRslora } = lora;
	if (lora.init === undefined) return initAdapter(model.config, { r, alpha, dropout, targetModules, useRslora, seed });
	const stored = await loadAdapter(context.resolvePath(lora.init), model.config);
	const { config } = stored;
	context.log(
		`${context.name}: starts from ${lora.init}: its r ${config.r}, alpha ${config.alpha}, ${config.targetModules.join(", ")} hold`,
	);
	return stored;
}
