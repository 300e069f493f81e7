/**
 * Opening a model, and planning one that is not opened.
 * @module
 */
import { FintuneError } from "../errors.js";
import type { NativeModelInit } from "./binding.js";
import { computeDtype, resolveDevice } from "./device.js";
import { engine, nativeCall } from "./job.js";
import { Model, type ModelFacts, planArguments } from "./loaded_model.js";
import { readModelConfig, readStopIds } from "./model_config.js";
import { linearModules } from "./modules.js";
import { resolveModel } from "./resolve.js";
import { defaultThreads } from "./threads.js";
import { nativeTrainerInit } from "./trainer.js";
import type { DtypeName, MemoryPlan, ModelConfig, OpenModelOptions, TrainerOptions, TrainingShape } from "./types.js";
import { hasWeights, openWeights } from "./weight_files.js";

export { Model } from "./loaded_model.js";
export { type ResolvedModel, type ResolvedModel as ModelFiles, resolveModel } from "./resolve.js";
export type { DtypeName, OpenModelOptions } from "./types.js";

function threadCount(threads: number | undefined): number {
	const count = threads ?? defaultThreads();
	if (Number.isSafeInteger(count) && count >= 1 && count <= 1024) return count;
	throw new FintuneError("E_ARGUMENT", "not a number of threads", {
		where: "threads",
		expected: "1..1024",
		found: String(threads),
	});
}

/**
 * Opens a model with its weights mapped, and stacks adapters on it.
 * @param name a folder, a hub id that is in the local hub cache, or `tiny`
 * @throws FintuneError E_NOT_FOUND, E_MODEL_CONFIG, E_MODEL_UNSUPPORTED, E_WEIGHTS, E_ADAPTER, E_DEVICE, E_OUT_OF_MEMORY
 */
export async function openModel(name: string, options: OpenModelOptions = {}): Promise<Model> {
	const { dir, label } = resolveModel(name);
	const file = await readModelConfig(dir);
	const facts = factsOf({ dir, label, config: file.config, stopIds: await readStopIds(dir, file.eosTokenIds) }, options);
	if (options.random) {
		const { seed = 0, std = file.initializerRange } = options.random;
		return open(facts, { files: [], tensors: [], random: { seed, std } }, options);
	}
	if (!hasWeights(dir)) {
		throw new FintuneError("E_NOT_FOUND", "the folder has no weights", {
			where: dir,
			expected: "model.safetensors, or model.safetensors.index.json with its files",
			hint: "without them the model can be planned for, or opened with random weights",
		});
	}
	const weights = await openWeights(dir, file.config);
	try {
		return await open(facts, { files: weights.files, tensors: weights.tensors }, options);
	} finally {
		await weights.close();
	}
}

/**
 * Opens an architecture that no folder describes, with random weights: for tests and benchmarks.
 * @param label what the model is called
 * @param options.random default: seed 0, std 0.02
 */
export async function openRandomModel(label: string, config: ModelConfig, options: OpenModelOptions = {}): Promise<Model> {
	const { seed = 0, std = 0.02 } = options.random ?? {};
	const facts = factsOf({ dir: "", label, config, stopIds: [] }, options);
	return open(facts, { files: [], tensors: [], random: { seed, std } }, options);
}

function factsOf(model: Pick<ModelFacts, "dir" | "label" | "config" | "stopIds">, options: OpenModelOptions): ModelFacts {
	const device = resolveDevice(options.device);
	return {
		...model,
		device: device.name,
		dtype: computeDtype(options.dtype, device),
		threads: threadCount(options.threads),
		trainable: options.trainable ?? false,
	};
}

async function open(
	facts: ModelFacts,
	source: Pick<NativeModelInit, "files" | "tensors" | "random">,
	options: OpenModelOptions,
): Promise<Model> {
	const { config, device, dtype: compute, threads, trainable } = facts;
	const native = await nativeCall(() => engine().openModel({ config, device, compute, threads, trainable, ...source }));
	const model = new Model(native, facts);
	try {
		for (const adapter of options.adapters ?? []) await model.addAdapter(adapter);
	} catch (error) {
		model.dispose();
		throw error;
	}
	return model;
}

/** What {@link planTraining} plans for. */
export interface PlanTrainingOptions {
	device?: string | undefined;
	dtype?: DtypeName | undefined;
	threads?: number | undefined;
	/** Adapters of the stack from the bottom, the last one trains; none: all parameters train. */
	adapters?: readonly { r: number; targetModules?: readonly string[] | "all-linear" | undefined }[] | undefined;
	trainer?: TrainerOptions | undefined;
	shape: TrainingShape;
}

/**
 * Peak bytes of a training micro-batch, counted by the code that allocates, without opening the model: a folder with
 * nothing but config.json will do.
 * @param model as {@link openModel} takes it, or an architecture
 */
export async function planTraining(model: string | ModelConfig, options: PlanTrainingOptions): Promise<MemoryPlan> {
	return (await trainingPlanner(model, options))(options.shape);
}

/** {@link planTraining} of micro-batches of any shape. */
export async function trainingPlanner(
	model: string | ModelConfig,
	options: Omit<PlanTrainingOptions, "shape">,
): Promise<(shape: TrainingShape) => MemoryPlan> {
	const device = resolveDevice(options.device);
	const config = typeof model === "string" ? (await readModelConfig(resolveModel(model).dir)).config : model;
	const adapters = options.adapters ?? [];
	const lora = adapters.length > 0;
	const stack = adapters.map(({ r, targetModules }) =>
		linearModules(config)
			.filter((m) => targetModules === undefined || targetModules === "all-linear" || targetModules.includes(m.linear))
			.map((m) => ({ name: m.name, r })),
	);
	const trainer = nativeTrainerInit(options.trainer ?? {}, { parameters: lora ? "lora" : "full", dropout: 0 });
	const compute = computeDtype(options.dtype, device);
	const init = { config, device: device.name, compute, threads: threadCount(options.threads), trainable: !lora };
	return (shape) => nativeCall(() => engine().planModel(init, trainer, stack, ...planArguments(shape)));
}

/** Bytes of a plan over all kinds. */
export const totalBytes = (plan: MemoryPlan): number => Object.values(plan).reduce((a, b) => a + b, 0);
