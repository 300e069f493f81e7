/**
 * fintune: LoRA fine-tuning of language models, natively in Node.
 * @module
 */
export {
	checkAdapterFits,
	foldAdapterFolders,
	foldAdapters,
	initAdapter,
	loadAdapter,
	saveAdapter,
} from "./engine/adapter.js";
export { kernels } from "./engine/kernels.js";
export { type Model, openModel, type PlanTrainingOptions, planTraining } from "./engine/model.js";
export { readModelConfig } from "./engine/model_config.js";
export { type ResolvedModel, resolveModel } from "./engine/resolve.js";
export { readSafetensors, writeSafetensors } from "./engine/safetensors.js";
export { saveModel } from "./engine/save_model.js";
export type { Trainer } from "./engine/trainer.js";
export type * from "./engine/types.js";
export { type ErrorCode, type ErrorDetails, ExitStatus, FintuneError, FintuneErrors } from "./errors.js";
export { type LoadedPipeline, loadPipeline, parsePipeline } from "./pipeline/config.js";
export { type PipelinePlan, planPipeline, type StagePlan } from "./pipeline/plan.js";
export { runPipeline } from "./pipeline/runner.js";
export { type PipelineConfig, pipelineJsonSchema } from "./pipeline/schema.js";
export type { RunOptions, RunResult, StageSummary } from "./pipeline/types.js";
