/**
 * The typed declaration of the native addon, one section per area. Nothing but src/engine imports this.
 * Long-running calls return a promise, work on the engine's own thread and take a {@link NativeJob} for progress and
 * stopping. All errors carry a `code` of the error catalogue.
 * @module
 */
import type { NativeBusy, NativeDevice, NativeGpuInfo } from "./binding_devices.js";
import type { NativeSimt } from "./binding_simt.js";

export type { NativeBusy, NativeDevice, NativeGpu, NativeGpuInfo } from "./binding_devices.js";

/** Architecture of a decoder, normalised from config.json. All sizes in elements. */
export interface NativeModelConfig {
	family: "qwen2" | "llama" | "qwen3" | "mistral";
	vocabSize: number;
	hiddenSize: number;
	numLayers: number;
	numHeads: number;
	numKvHeads: number;
	headDim: number;
	intermediateSize: number;
	rmsNormEps: number;
	tieWordEmbeddings: boolean;
	/** q, k and v have a bias (qwen2; llama with attention_bias, where o has one too). */
	qkvBias: boolean;
	oBias: boolean;
	mlpBias: boolean;
	/** RMSNorm over each head of q and k before RoPE (qwen3). */
	qkNorm: boolean;
	maxPositions: number;
	ropeTheta: number;
	/** Frequencies are scaled as "llama3" or divided by factor ("linear"); undefined: plain. */
	ropeScaling?:
		| { type: "llama3"; factor: number; lowFreqFactor: number; highFreqFactor: number; originalMaxPositions: number }
		| { type: "linear"; factor: number };
}

/** One tensor of a safetensors file; begin and end are absolute byte offsets in the file. */
export interface NativeTensorSource {
	name: string;
	dtype: "F32" | "F16" | "BF16";
	shape: number[];
	file: number;
	begin: number;
	end: number;
}

export interface NativeModelInit {
	config: NativeModelConfig;
	/** Open file descriptors (the caller closes them after `openModel` has resolved; the mapping stays). */
	files: { fd: number; size: number }[];
	tensors: NativeTensorSource[];
	/** Instead of files: normal(0, std) weights from a seed (norms 1, biases 0). */
	random?: { seed: number; std: number };
	/** A name of {@link NativeEngine.devices}. */
	device: string;
	compute: "f32" | "bf16" | "fp16";
	threads: number;
	/** All parameters are trained: weights are copied to f32. */
	trainable: boolean;
}

/** LoRA factors of one linear, f32, row-major: a [r, in], b [out, r]; y += scale (x a^T) b^T. */
export interface NativeLoraModule {
	/** e.g. "model.layers.0.self_attn.q_proj" */
	name: string;
	r: number;
	scale: number;
	a: Float32Array;
	b: Float32Array;
}

/** Progress and stopping of one long call. `onProgress` is called on the JS thread. */
export interface NativeJob {
	abort(): void;
}

export interface NativeSequences {
	/** Token ids of all sequences, one behind the other. */
	ids: Int32Array;
	/** [N+1] starts; the last is ids.length. */
	cuSeqlens: Int32Array;
}

export interface NativeScoreRequest extends NativeSequences {
	/** Sequences per pass are packed up to this many tokens (a longer one goes alone). */
	batchTokens: number;
	entropy: boolean;
	/** Logits of every position [T, V] f32 (small inputs only). */
	logits: boolean;
	/** How many adapters of the stack are active, from the bottom; -1: all. */
	adapters: number;
}
export interface NativeScores {
	/** Per token after the first of each sequence, T - N values in order. */
	logprobs: Float32Array;
	entropy?: Float32Array;
	logits?: Float32Array;
}

export type NativeLossType = "sigmoid" | "ipo" | "hinge" | "robust" | "sigmoid_norm" | "simpo" | "orpo" | "kto";

export type NativeObjective =
	/** loss = -sum(weight * logprob) over supervised tokens; weight 1/n over the whole step unless given per token. */
	| { type: "sft" }
	/** Sequences come in pairs: chosen, rejected, chosen, rejected, ... */
	| { type: "preference"; loss: Exclude<NativeLossType, "kto">; beta: number; labelSmoothing: number; gamma: number }
	/** One label per sequence (1 desirable). Sequences come in pairs: the row, then the mismatched row of the KL estimate. */
	| { type: "kto"; beta: number; desirableWeight: number; undesirableWeight: number };

/** One micro-batch of an optimiser step. */
export interface NativeMicroBatch extends NativeSequences {
	/** [T] 1: predicting this token counts (never the first of a sequence). */
	mask: Uint8Array;
	/** [T] optional explicit weights of the log-probabilities instead of 1/n (sft only). */
	weights?: Float32Array;
	/** [N] summed log-probabilities of the counted tokens under the reference (losses with a reference). */
	referenceLogprobs?: Float64Array;
	/** [N] kto: 1 desirable, 0 not. */
	labels?: Uint8Array;
}

export interface NativeTrainerInit {
	/** "lora": the top adapter of the stack; "full": every parameter (model opened as trainable). */
	parameters: "lora" | "full";
	beta1: number;
	beta2: number;
	eps: number;
	/** Applied to 2-D parameters only (linear weights, embeddings, LoRA A and B), as transformers' Trainer. */
	weightDecay: number;
	/** 0: no clipping. */
	maxGradNorm: number;
	recompute: "none" | "selective" | "full";
	/** LoRA dropout of the trained adapter. */
	dropout: number;
	seed: number;
	/** Micro-batches of the same sizes are recorded on a GPU. */
	recording: boolean;
}

export interface NativeStepResult {
	loss: number;
	/** Global L2 norm before clipping. */
	gradNorm: number;
	/** Supervised tokens of the step. */
	targets: number;
	/** Preference: means over the step's pairs. */
	rewardsChosen?: number;
	rewardsRejected?: number;
	rewardsAccuracies?: number;
	rewardsMargins?: number;
	/** The loss or gradient norm is above its limit; the step was not done. */
	refused?: true;
}

export interface NativeGradients extends NativeStepResult {
	/** PEFT or parameter names with f32 gradients (not clipped). */
	gradients: { name: string; shape: number[]; data: Float32Array }[];
}

export interface NativeParameter {
	name: string;
	shape: number[];
	data: Float32Array;
}

export interface NativeOptimizerState {
	step: number;
	m: NativeParameter[];
	v: NativeParameter[];
	/** fp16 only: the loss scale and the steps since it changed. */
	lossScale?: number;
	lossScaleSteps?: number;
}

/** Bytes by kind (weights, adapters, gradients, optimizer, activations, logits, workspace, kv_cache) at the peak. */
export type NativeMemoryPlan = Record<string, number>;

export interface NativeTrainer {
	/** One optimiser step over the micro-batches. Resolves with E_ABORTED if stopped; nothing is changed then. */
	step(
		batch: NativeMicroBatch[],
		objective: NativeObjective,
		learningRate: number,
		limits: { loss?: number; gradNorm?: number } | undefined,
		job?: NativeJob,
	): Promise<NativeStepResult>;
	/** Loss and gradients without an update. */
	gradients(batch: NativeMicroBatch[], objective: NativeObjective): Promise<NativeGradients>;
	/** Loss only (validation). */
	evaluate(batch: NativeMicroBatch[], objective: NativeObjective, job?: NativeJob): Promise<NativeStepResult>;
	/** Trained parameters (copies). lora: `<module>.lora_A.weight` and `.lora_B.weight`; full: names of the file. */
	parameters(): NativeParameter[];
	/** Bytes by kind that the steps so far have really taken, at their highest moment. */
	memory(): NativeMemoryPlan;
	/** Micro-batches so far that were replayed from a recording. */
	replayed(): number;
	setParameters(parameters: NativeParameter[]): void;
	/** Optimiser state: step count and moments, same order as parameters(). */
	optimizerState(): NativeOptimizerState;
	setOptimizerState(state: NativeOptimizerState): void;
	dispose(): void;
}

export interface NativeSampling {
	maxNewTokens: number;
	temperature: number;
	topK: number;
	topP: number;
	minP: number;
	repetitionPenalty: number;
	seed: number;
	stopIds: number[];
}
export interface NativeGenerateRequest extends NativeSequences {
	sampling: NativeSampling;
	/** Philox stream of each prompt (its index in the caller's whole list), so results do not depend on batching. */
	streams: Int32Array;
	/** Sequences decoded together at most; the rest queue and enter as places fall free. */
	maxBatch: number;
	/** Prompt tokens per prefill pass. */
	prefillTokens: number;
	/** Room of the key/value cache; 0: as much as maxBatch can come to need. */
	cacheTokens: number;
	prefixSharing: boolean;
	recording: boolean;
	adapters: number;
}
export interface NativeGenerateStatistics {
	promptTokens: number;
	sharedTokens: number;
	generatedTokens: number;
	cacheTokens: number;
	decodeSteps: number;
	replayedSteps: number;
	decodeLaunches: number;
}
export interface NativeGeneration {
	/** Index of the prompt in the request. */
	index: number;
	outputIds: Int32Array;
	finishReason: "stop" | "length";
}

export interface NativeModel {
	addAdapter(modules: NativeLoraModule[]): number;
	/** Removes the top adapter. */
	popAdapter(): void;
	adapterCount(): number;
	score(request: NativeScoreRequest, job?: NativeJob): Promise<NativeScores>;
	/** onFinished is called once per prompt as it finishes; resolves when all are done. */
	generate(
		request: NativeGenerateRequest,
		onFinished: (g: NativeGeneration) => void,
		onTokens: (total: number) => void,
		job?: NativeJob,
	): Promise<NativeGenerateStatistics>;
	/** The distribution [V] from which the first token after the prompt is drawn. */
	nextTokenDistribution(ids: Int32Array, sampling: NativeSampling, adapters: number): Promise<Float32Array>;
	createTrainer(init: NativeTrainerInit): NativeTrainer;
	/** Peak bytes of a training micro-batch of these sequence lengths, by the allocating code itself. */
	planTraining(init: NativeTrainerInit, lengths: Int32Array, targets: number, objective: NativeObjective): NativeMemoryPlan;
	planGeneration(maxBatch: number, promptTokens: number, maxNewTokens: number): NativeMemoryPlan;
	/** Every base parameter (copies); names as in the file. */
	parameters(): NativeParameter[];
	memoryBytes(): number;
	/** Gives the memory of jobs back; the next one takes what it needs. */
	releaseMemory(): void;
	dispose(): void;
}

/** Section: model, trainer, generator, devices. */
export interface NativeEngine {
	openModel(init: NativeModelInit): Promise<NativeModel>;
	createJob(): NativeJob;
	/** A plan without weights: nothing is mapped, only sizes are known. */
	planModel(
		init: Omit<NativeModelInit, "files" | "tensors">,
		trainer: NativeTrainerInit | null,
		adapterRanks: NativeAdapterShape[],
		lengths: Int32Array,
		targets: number,
		objective: NativeObjective,
	): NativeMemoryPlan;
	/** The CPU first, then what else this build and machine have. */
	devices(): NativeDevice[];
	/** Kernels started so far on a device; 0 where ops are plain functions. */
	deviceLaunches(device: string): number;
	/** Bytes of a GPU's memory; null for the host. */
	deviceMemory(device: string): { free: number; total: number } | null;
	/** `measure` opens every GPU to learn how much of its memory is free, which takes a moment. */
	gpuInfo(measure: boolean): NativeGpuInfo;
	/** Marks the beginning of what {@link stopBusyMeter} measures, on the GPU of that index. */
	startBusyMeter(index: number): void;
	/** Waits for all that is queued: milliseconds in which the GPU had work, in how many stretches. */
	stopBusyMeter(index: number): NativeBusy;
	/** Files that may be cuBLASLt, tried before the system's own; heeded until the first product. */
	setProductLibraries(files: string[]): void;
	/** The descriptor of a locked file (flock), null where somebody else holds it; errors carry an `errno`. */
	lockFile(path: string): number | null;
	cpuInfo(): { isa: string; isas: string[]; hasBf16: boolean; cpus: number };
}
/** Shapes of an adapter to plan for: module name and rank. */
export type NativeAdapterShape = { name: string; r: number }[];

/** Section: kernels. Native memory that JavaScript holds by handle; row-major. */
export interface NativeTensor {
	readonly dtype: "f32" | "bf16" | "f16" | "i32";
	readonly shape: number[];
	/** A view of columns [first, first + count) of the last dimension, sharing the memory. */
	columns(first: number, count: number): NativeTensor;
	/** A view of indices [first, first + count) of the first dimension, sharing the memory. */
	slice(first: number, count: number): NativeTensor;
	/** Copies in: Float32Array (f32; bf16 and f16, rounded to nearest even), Uint16Array (bits of bf16, f16), Int32Array (i32). */
	set(values: Float32Array | Uint16Array | Int32Array): NativeTensor;
	/** Copies out, widened. */
	toFloat32Array(): Float32Array;
	/** Elements of i32, or the bits of f32. */
	toInt32Array(): Int32Array;
	/** Bits of bf16 or f16. */
	toUint16Array(): Uint16Array;
	/** Whether the poisoned margins of a guarded tensor are untouched (true without guards). */
	checkGuards(): boolean;
	/** Frees the memory now, not when the handle is collected. */
	dispose(): void;
}

/** Named arguments of a kernel: tensors, numbers, flags, lists. native/addon/kernels.cc checks every one. */
export type NativeArguments = Record<string, unknown>;

export interface NativePreferenceLoss {
	loss: number;
	perPair: Float64Array;
	dpolicyChosen: Float64Array;
	dpolicyRejected: Float64Array;
}

/** One function an op, with the fields of its header in native/ops; outputs are the caller's tensors. */
export interface NativeKernels {
	Tensor: new (dtype: NativeTensor["dtype"], shape: readonly number[], guard?: boolean) => NativeTensor;
	embeddingForward(args: NativeArguments): void;
	embeddingBackward(args: NativeArguments): void;
	rmsnormForward(args: NativeArguments): void;
	rmsnormBackward(args: NativeArguments): void;
	rope(args: NativeArguments): void;
	attentionForward(args: NativeArguments): void;
	attentionBackward(args: NativeArguments): void;
	attentionDecode(args: NativeArguments): void;
	swigluForward(args: NativeArguments): void;
	swigluBackward(args: NativeArguments): void;
	linearForward(args: NativeArguments): void;
	linearBackward(args: NativeArguments): void;
	linearLogprob(args: NativeArguments): void;
	adamw(args: NativeArguments): void;
	globalNorm(args: NativeArguments): number;
	gatherRows(args: NativeArguments): void;
	scatterRows(args: NativeArguments): void;
	storeRows(args: NativeArguments): void;
	convert(args: NativeArguments): void;
	sample(args: NativeArguments): { tokens: Int32Array; logprobs: Float32Array };
	preferenceLoss(args: NativeArguments): NativePreferenceLoss;
	/** from, to: all of a contiguous tensor into another of the same size and type. */
	copyTensor(args: NativeArguments): void;
	/** Marks a place in the device's queue. */
	startTimer(): void;
	/** Waits for all queued work: milliseconds from the mark to here, by the device's own clock where it has one. */
	stopTimer(): number;
	/** Kernels started so far; 0 where ops are plain functions. */
	launches(): number;
	ropeTables(args: NativeArguments): { frequencies: Float32Array; cos: Float32Array; sin: Float32Array };
	isas(): string[];
	isa(): string;
	setIsa(name: string): void;
	threads(): number;
	setThreads(threads: number): void;
	hopper(): boolean;
	setHopper(on: boolean): void;
	/** Where kernels run, and where new tensors lie: a name of {@link NativeEngine.devices}. */
	device(): string;
	setDevice(name: string): void;
	/** Test builds only. */
	simt?: NativeSimt;
}

/** A place in a CUDA kernel that is there for synchronisation or layout only; tests switch it off. */

/** Everything that the addon exports. */
export type NativeBinding = NativeEngine & NativeKernels;
