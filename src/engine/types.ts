/**
 * Public types of the engine's face. Token ids are plain numbers; log-probabilities are natural logarithms.
 * @module
 */
import type { NativeMemoryPlan, NativeModelConfig } from "./binding.js";

/** Token ids of one sequence, in 0..V-1. */
export type TokenIds = Int32Array | readonly number[];

/** One flag per token; `mask[t]` = 1 means that predicting token t counts. The first token never counts. */
export type TokenMask = Uint8Array | readonly (number | boolean)[];

/** Architecture of a decoder, normalised from config.json. */
export type ModelConfig = NativeModelConfig;

/** Bytes by kind at the peak: weights, adapters, gradients, optimizer, activations, logits, workspace, kv_cache. */
export type MemoryPlan = NativeMemoryPlan;

/** `auto`: bf16 where the hardware multiplies it, else fp16 on a GPU and f32 on a CPU. fp16 is for CUDA devices only. */
export type DtypeName = "auto" | "f32" | "bf16" | "fp16";
export type ComputeDtype = "f32" | "bf16" | "fp16";

/** Progress and stopping of a long call. */
export interface StopOptions {
	/** Stops at the next micro-batch or decoding step; the call then rejects with E_ABORTED. */
	signal?: AbortSignal | undefined;
}

export interface OpenModelOptions {
	/** auto (the first GPU, else the CPU) | cpu | cuda | cuda:N. E_DEVICE where the build or machine has it not. */
	device?: string | undefined;
	dtype?: DtypeName | undefined;
	/** Threads in all. Default: the CPUs that affinity and the cgroup's quota leave to this process. */
	threads?: number | undefined;
	/** Adapter folders (PEFT) or adapters in memory, stacked in this order. */
	adapters?: readonly (string | Adapter)[] | undefined;
	/** All parameters will be trained: the weights are copied to f32. */
	trainable?: boolean | undefined;
	/** Random weights (normal, `std`; norms 1, biases 0) instead of the folder's own; the folder may then have none. */
	random?: { seed?: number | undefined; std?: number | undefined } | undefined;
}

// ---- scoring

export interface ScoreRow {
	inputIds: TokenIds;
	/** Default: every token after the first counts. */
	completionMask?: TokenMask | undefined;
}
export interface ScoreOptions extends StopOptions {
	/** Also the entropy of each distribution, in nats. */
	entropy?: boolean | undefined;
	/** Also the logits of every position; small inputs only. */
	logits?: boolean | undefined;
	/** How many adapters of the stack are active, from the bottom. Default: all. */
	adapters?: number | undefined;
	/** Tokens of one pass; rows are packed up to it. Default 2048. */
	batchTokens?: number | undefined;
}
export interface Score {
	/** log p(ids[t+1] | ids[0..t]), one value per token after the first. */
	logprobs: Float32Array;
	/** Sum (in double) and number of the log-probabilities that count. */
	sum: number;
	n: number;
	/** Same positions as `logprobs`. */
	entropy?: Float32Array;
	/** [T, V] row-major, one row for every token of the sequence. */
	logits?: Float32Array;
}

// ---- generation

export interface GenerateRow {
	inputIds: TokenIds;
	/** The number of this prompt's random stream; default: its index. Results depend on (seed, stream) and the prompt only. */
	stream?: number | undefined;
}
/** Names as in transformers' GenerationConfig, in camel case. */
export interface SamplingOptions {
	/** 0: greedy (the default). */
	temperature?: number | undefined;
	/** 0: all. */
	topK?: number | undefined;
	/** 1: all. */
	topP?: number | undefined;
	minP?: number | undefined;
	/** 1: none. Counts prompt and output. */
	repetitionPenalty?: number | undefined;
	seed?: number | undefined;
}
export interface GenerateOptions extends SamplingOptions {
	/** Default 256. */
	maxNewTokens?: number | undefined;
	/** Default: the model's own (`Model.stopIds`). An empty list never stops early. */
	stopIds?: readonly number[] | undefined;
	/** Prompts decoded together at most. Default 32. */
	maxBatch?: number | undefined;
	/** Prompt tokens of one prefill pass. Default 2048. */
	prefillTokens?: number | undefined;
	/**
	 * Tokens that the key/value cache has room for, taken before the start; sequences enter while it holds all that they can
	 * come to need. Default: what `maxBatch` of the longest rows can come to need, and room for prefixes in between.
	 */
	cacheTokens?: number | undefined;
	/**
	 * Rows that begin with the same tokens (a task's instruction) compute whole pages of these (32 tokens) once. Changes no
	 * bit of the outputs. Default true.
	 */
	prefixSharing?: boolean | undefined;
	/**
	 * On a GPU, a decoding step is recorded once for a batch size and replayed from then on (a CUDA graph). Changes no bit
	 * of the outputs. Default true.
	 */
	recording?: boolean | undefined;
	/** How many adapters of the stack are active, from the bottom. Default: all. */
	adapters?: number | undefined;
}
export interface GenerateCallbacks extends StopOptions {
	/** Called once per prompt, in order of finishing. */
	onFinished?: ((generation: Generation) => void) | undefined;
	/** Tokens generated so far, over all prompts; at most about five calls a second. */
	onTokens?: ((total: number) => void) | undefined;
	/** Called once, at the end. */
	onStatistics?: ((statistics: GenerateStatistics) => void) | undefined;
}
/** What a generation took, in tokens over all rows. */
export interface GenerateStatistics {
	promptTokens: number;
	/** Of the prompt tokens, those taken from another row's prefix; the others were computed. */
	sharedTokens: number;
	generatedTokens: number;
	/** Room of the key/value cache. */
	cacheTokens: number;
	/** Passes of one token for every running row. */
	decodeSteps: number;
	/** Of these, replays of a recording. */
	replayedSteps: number;
	/** Kernels started by all decoding steps, without the sampler's; 0 on a CPU. */
	decodeLaunches: number;
}
export interface Generation {
	/** Index of the prompt in the rows. */
	index: number;
	/** Without the stop token. */
	outputIds: Int32Array;
	/** "length": overlong, maxNewTokens were generated without a stop token. */
	finishReason: "stop" | "length";
}

// ---- adapters

/** LoRA factors of one linear, f32, row-major; y += scale (x a^T) b^T. */
export interface LoraModule {
	/** e.g. `model.layers.0.self_attn.q_proj` */
	name: string;
	r: number;
	inFeatures: number;
	outFeatures: number;
	/** alpha / r, or alpha / sqrt(r) with rsLoRA. */
	scale: number;
	/** [r, in] */
	a: Float32Array;
	/** [out, r] */
	b: Float32Array;
}
/** What adapter_config.json says. */
export interface LoraConfig {
	r: number;
	alpha: number;
	useRslora: boolean;
	/** Last parts of module names ("q_proj"), sorted. */
	targetModules: string[];
	/** PEFT patterns: module name (suffix or regular expression) to rank or alpha. */
	rankPattern: Record<string, number>;
	alphaPattern: Record<string, number>;
	dropout: number;
}
/** A LoRA adapter in memory. */
export interface Adapter {
	/** What its config names as its base, where it was read from a folder. */
	baseModel?: string | undefined;
	config: LoraConfig;
	/** Sorted as the model runs: by layer, then q k v o gate up down. */
	modules: LoraModule[];
}
/** A new adapter. */
export interface InitAdapterOptions {
	r: number;
	alpha: number;
	/** Last parts of module names, or `all-linear`: the seven linears of every layer. Default `all-linear`. */
	targetModules?: readonly string[] | "all-linear" | undefined;
	useRslora?: boolean | undefined;
	dropout?: number | undefined;
	seed?: number | undefined;
}

// ---- training

export interface TrainerOptions {
	/** "lora": the top adapter of the stack (default where there is one); "full": every parameter of a trainable model. */
	parameters?: "lora" | "full" | undefined;
	adamBeta1?: number | undefined;
	adamBeta2?: number | undefined;
	adamEpsilon?: number | undefined;
	/** On 2-D parameters only. Default 0. */
	weightDecay?: number | undefined;
	/** Default 1; 0: no clipping. */
	maxGradNorm?: number | undefined;
	recompute?: "none" | "selective" | "full" | undefined;
	/** LoRA dropout. Default: what the adapter's config says. */
	dropout?: number | undefined;
	/** Of dropout. */
	seed?: number | undefined;
	/**
	 * On a GPU, micro-batches of SFT whose sizes come again are recorded and replayed (without dropout). Default true; the
	 * bits are the same.
	 */
	recording?: boolean | undefined;
}

export interface TrainSequence {
	inputIds: TokenIds;
	/** Default: every token after the first counts. */
	completionMask?: TokenMask | undefined;
}
export interface SftSequence extends TrainSequence {
	/** Weight of each token's log-probability in the sum that is minimised with a minus sign, instead of 1/n; one per token. */
	weights?: Float32Array | readonly number[] | undefined;
}
/** loss = -sum of log-probabilities of the counted tokens / their number, over all micro-batches. */
export interface SftBatch {
	objective?: "sft" | undefined;
	sequences: readonly SftSequence[];
	/** Indices of `sequences` that are computed together. Default: all together. Does not change the result. */
	microBatches?: readonly (readonly number[])[] | undefined;
}

export type PreferenceLoss = "sigmoid" | "ipo" | "hinge" | "robust" | "sigmoid_norm" | "simpo" | "orpo";

export interface PreferencePair {
	chosen: TrainSequence;
	rejected: TrainSequence;
	/** Summed log-probabilities of the counted tokens under the reference. Default: computed by the stack without its top. */
	referenceChosen?: number | undefined;
	referenceRejected?: number | undefined;
}
export interface PreferenceBatch {
	objective: "dpo";
	/** Default sigmoid. simpo and orpo have no reference. */
	lossType?: PreferenceLoss | undefined;
	/** Default 0.1. */
	beta?: number | undefined;
	/** Of `robust`. Default 0. */
	labelSmoothing?: number | undefined;
	/** The target margin of `simpo`. Default 0.5. */
	gamma?: number | undefined;
	pairs: readonly PreferencePair[];
	/** Indices of `pairs`. */
	microBatches?: readonly (readonly number[])[] | undefined;
}

export interface KtoRow extends TrainSequence {
	/** Is the completion desirable. */
	label: boolean;
	referenceLogprob?: number | undefined;
	/** This prompt with another row's completion, for the KL estimate. Default: the completion of the row before it. */
	mismatched?: (TrainSequence & { referenceLogprob?: number | undefined }) | undefined;
}
export interface KtoBatch {
	objective: "kto";
	/** Default 0.1. */
	beta?: number | undefined;
	desirableWeight?: number | undefined;
	undesirableWeight?: number | undefined;
	rows: readonly KtoRow[];
	/** Indices of `rows`. */
	microBatches?: readonly (readonly number[])[] | undefined;
}
export type TrainingBatch = SftBatch | PreferenceBatch | KtoBatch;

export interface StepOptions extends StopOptions {
	learningRate: number;
	/** A step whose loss, or whose gradient norm before clipping, is above these ends in E_STEP_LIMIT and changes nothing. */
	limits?: { loss?: number; gradNorm?: number };
}
export interface StepResult {
	loss: number;
	/** Global L2 norm of the gradient before clipping; 0 from `evaluate`. */
	gradNorm: number;
	/** Counted tokens. */
	targets: number;
	/** Preference losses and kto: means over the step. */
	rewardsChosen?: number;
	rewardsRejected?: number;
	rewardsAccuracies?: number;
	rewardsMargins?: number;
}
export interface NamedTensor {
	name: string;
	shape: number[];
	data: Float32Array;
}
export interface GradientsResult extends StepResult {
	/** Not clipped. LoRA: names as PEFT saves them (`base_model.model....lora_A.weight`); full: names of the weight file. */
	gradients: NamedTensor[];
}
/** Step count and moments of AdamW, in the order of `parameters()`. */
export interface OptimizerState {
	step: number;
	m: NamedTensor[];
	v: NamedTensor[];
	/** fp16 only: the dynamic loss scale and the steps since it changed. */
	lossScale?: number | undefined;
	lossScaleSteps?: number | undefined;
}
/** What a training micro-batch is planned for. */
export interface TrainingShape {
	/** Sequence lengths of one micro-batch. */
	lengths: readonly number[];
	/** Counted tokens of it. Default: all but the first of each sequence. */
	targets?: number | undefined;
	objective?: "sft" | "dpo" | "kto" | undefined;
}
