/**
 * The public kernels: every op of the engine on native tensors, at once and on the calling thread's behalf (the ops
 * themselves use all threads of {@link setThreads}). The benchmark and the tests use this door and no other.
 *
 * Letters: T tokens, N sequences, D model width, H query heads, G key/value heads, K head dim, F ffn width,
 * V vocabulary, R LoRA rank. Activations are f32 or bf16; statistics and parameter gradients are f32. The mathematics
 * of each op stands in its header under native/ops. An output that the caller does not give is made by the call.
 * @module
 */
import type { NativeTensor } from "./binding.js";
import { dpoLoss, preferenceLoss } from "./kernel_preference.js";
import { call, kernelSettings, type Simt, simt } from "./kernel_settings.js";

export type { Simt, SimtSite, SimtTraffic } from "./kernel_settings.js";

export type Tensor = NativeTensor;
export type TensorDtype = NativeTensor["dtype"];
/** What the operands of products are rounded to. */
export type ProductDtype = Exclude<TensorDtype, "i32">;

export interface TensorOptions {
	/** f32 unless said otherwise, i32 for an Int32Array. */
	dtype?: TensorDtype;
	/** Poisons 4 KiB of memory on each side (NaN), for {@link Tensor.checkGuards}. */
	guard?: boolean;
}

/**
 * A tensor of up to four dimensions: zeros, or a copy of the values.
 * @param values Float32Array, Int32Array, Uint16Array (bits of bf16 or f16) or plain numbers, in row-major order
 */
function tensor(
	shape: readonly number[],
	values?: Float32Array | Int32Array | Uint16Array | readonly number[],
	options: TensorOptions = {},
): Tensor {
	const dtype = options.dtype ?? (values instanceof Int32Array ? "i32" : "f32");
	return call((k) => {
		const t = new k.Tensor(dtype, shape, options.guard ?? false);
		if (values === undefined) return t;
		const typed = ArrayBuffer.isView(values) ? values : dtype === "i32" ? Int32Array.from(values) : Float32Array.from(values);
		return t.set(typed as Float32Array | Int32Array | Uint16Array);
	});
}

const like = (t: Tensor): Tensor => tensor(t.shape, undefined, { dtype: t.dtype });
const rowsOf = (t: Tensor): number => t.shape.slice(0, -1).reduce((a, b) => a * b, 1);
const last = (t: Tensor): number => t.shape[t.shape.length - 1] ?? 0;

/** y[t] = weight[ids[t]]. ids [T] i32, weight [V, D]; y [T, D]. */
function embedding(ids: Tensor, weight: Tensor, options: { dtype?: ProductDtype; y?: Tensor } = {}): Tensor {
	const y = options.y ?? tensor([...ids.shape, last(weight)], undefined, { dtype: options.dtype ?? "f32" });
	call((k) => k.embeddingForward({ ids, weight, y }));
	return y;
}

/** dweight[ids[t]] += dy[t], in rising t. dweight [V, D] f32. */
function embeddingBackward(ids: Tensor, dy: Tensor, dweight: Tensor): Tensor {
	call((k) => k.embeddingBackward({ ids, dy, dweight }));
	return dweight;
}

export interface RmsNormOptions {
	eps: number;
	/** Added to x before the norm; the sum is `xOut`. */
	delta?: Tensor;
	/** Where x + delta goes; may be x. */
	xOut?: Tensor;
	y?: Tensor;
	rstd?: Tensor;
}

/** RMSNorm over the last dimension. x [.., D], weight [D] f32; returns y like x, rstd [T] f32, and x + delta. */
function rmsnorm(x: Tensor, weight: Tensor, options: RmsNormOptions): { y: Tensor; rstd: Tensor; xOut: Tensor } {
	const y = options.y ?? like(x);
	const rstd = options.rstd ?? tensor([rowsOf(x)]);
	const xOut = options.xOut ?? (options.delta ? like(x) : undefined);
	call((k) => k.rmsnormForward({ x, weight, eps: options.eps, delta: options.delta, xOut, y, rstd }));
	return { y, rstd, xOut: xOut ?? x };
}

/**
 * Gradient of {@link rmsnorm}. `accumulate` adds to dx; dweight [D] f32 is added to where given.
 * @param x what was normalised (xOut)
 */
function rmsnormBackward(
	dy: Tensor,
	x: Tensor,
	weight: Tensor,
	rstd: Tensor,
	options: { dx?: Tensor; accumulate?: boolean; dweight?: Tensor } = {},
): Tensor {
	const dx = options.dx ?? like(x);
	call((k) => k.rmsnormBackward({ dy, x, weight, rstd, dx, accumulate: options.accumulate ?? false, dweight: options.dweight }));
	return dx;
}

export type RopeScaling =
	| { type: "linear"; factor: number }
	| { type: "llama3"; factor: number; lowFreqFactor: number; highFreqFactor: number; originalMaxPositions: number };

/** cos and sin of positions 0 .. positions-1, [positions, K/2] f32, as the models use them (float32 angles). */
function ropeTables(options: { headDim: number; theta: number; positions: number; scaling?: RopeScaling }): {
	frequencies: Float32Array;
	cos: Tensor;
	sin: Tensor;
} {
	const t = call((k) => k.ropeTables(options));
	const shape = [options.positions, options.headDim / 2];
	return { frequencies: t.frequencies, cos: tensor(shape, t.cos), sin: tensor(shape, t.sin) };
}

export interface RopeOptions {
	heads: number;
	/** [T] i32 */
	positions: Tensor;
	cos: Tensor;
	sin: Tensor;
	/** Turns back: the backward pass. */
	inverse?: boolean;
}

/** Rotary position embedding of x [T, H, K] (or [T, H*K]) in place. */
function rope(x: Tensor, options: RopeOptions): Tensor {
	call((k) => k.rope({ x, inverse: false, ...options }));
	return x;
}

export interface AttentionOptions {
	/** [N+1] i32 starts of the packed sequences. */
	cuSeqlens: Tensor;
	heads: number;
	kvHeads: number;
	/** 1 / sqrt(K) unless given. */
	scale?: number;
	/** [N] i32, of the forward pass: y and lse of rows of a sequence before this one may be left unwritten. */
	wantedFrom?: Tensor;
	/** On a GPU, the type of the operands of products: f32 (as given) unless bf16 or f16 asks for tensor cores. */
	compute?: "f32" | "bf16" | "f16";
	y?: Tensor;
	lse?: Tensor;
}

const headDim = (q: Tensor, heads: number): number => q.shape.slice(1).reduce((a, b) => a * b, 1) / heads;

/** Packed causal attention. q [T, H, K], k, v [T, G, K] (or flat rows); returns y like q and lse [T, H] f32. */
function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): { y: Tensor; lse: Tensor } {
	const dim = headDim(q, options.heads);
	const y = options.y ?? like(q);
	const lse = options.lse ?? tensor([q.shape[0] ?? 0, options.heads]);
	call((n) => n.attentionForward({ scale: 1 / Math.sqrt(dim), ...options, q, k, v, headDim: dim, y, lse }));
	return { y, lse };
}

/** Gradient of {@link attention}; forward = what it returned. */
function attentionBackward(
	q: Tensor,
	k: Tensor,
	v: Tensor,
	forward: { y: Tensor; lse: Tensor },
	dy: Tensor,
	options: Omit<AttentionOptions, "y" | "lse"> & { dq?: Tensor; dk?: Tensor; dv?: Tensor },
): { dq: Tensor; dk: Tensor; dv: Tensor } {
	const dim = headDim(q, options.heads);
	const out = { dq: options.dq ?? like(q), dk: options.dk ?? like(k), dv: options.dv ?? like(v) };
	const { y, lse } = forward;
	call((n) => n.attentionBackward({ scale: 1 / Math.sqrt(dim), ...options, q, k, v, y, lse, dy, headDim: dim, ...out }));
	return out;
}

export interface DecodeOptions extends Omit<AttentionOptions, "cuSeqlens"> {
	/** Tokens of a page: a power of two, at least 16. */
	pageTokens: number;
}

/**
 * One query per row against that row's own keys and values, which lie in pages of a pool.
 * @param q [T, H*K]
 * @param keys the pool [pages * pageTokens, G*K], of any float dtype; `values` alike
 * @param pageTable [T, maxPages] i32: key j of row t is row `pageTable[t, floor(j / pageTokens)] * pageTokens + j % pageTokens`
 * @param lengths [T] i32, how many keys of each are seen (1 or more)
 */
function attentionDecode(
	q: Tensor,
	keys: Tensor,
	values: Tensor,
	pageTable: Tensor,
	lengths: Tensor,
	options: DecodeOptions,
): Tensor {
	const dim = headDim(q, options.heads);
	const y = options.y ?? like(q);
	call((n) => n.attentionDecode({ scale: 1 / Math.sqrt(dim), ...options, q, keys, values, pageTable, lengths, headDim: dim, y }));
	return y;
}

/** silu(gate) * up. All [T, F]. */
function swiglu(gate: Tensor, up: Tensor, options: { h?: Tensor } = {}): Tensor {
	const h = options.h ?? like(gate);
	call((k) => k.swigluForward({ gate, up, h }));
	return h;
}

/** Gradient of {@link swiglu}; `h` (optional) receives the forward value again. dgate may be gate, dup may be up. */
function swigluBackward(
	gate: Tensor,
	up: Tensor,
	dh: Tensor,
	options: { dgate?: Tensor; dup?: Tensor; h?: Tensor } = {},
): { dgate: Tensor; dup: Tensor } {
	const out = { dgate: options.dgate ?? like(gate), dup: options.dup ?? like(up) };
	call((k) => k.swigluBackward({ gate, up, dh, h: options.h, ...out }));
	return out;
}

/** One adapter's factors: a [R, IN], b [OUT, R], f32; y += scale (x a^T) b^T. */
export interface LoraFactors {
	a: Tensor;
	b: Tensor;
	scale: number;
	/**
	 * Copies of both lie beside the weight, rounded to its type: b in columns IN + beside .., a in rows OUT + beside ..
	 * (native/ops/linear.h).
	 */
	beside?: number;
}

export interface LoraDropoutOptions {
	p: number;
	seed?: number | bigint;
	step?: number;
	site?: number;
	firstRow?: number;
}

export interface LoraLinearOptions {
	/** [OUT] f32 */
	bias?: Tensor;
	/** The same numbers in the weight's type of 16 bits, which a library can add. */
	exactBias?: Tensor;
	/** A stack; the last one is the trained one. */
	adapters?: readonly LoraFactors[];
	/** On the input of the last adapter. */
	dropout?: LoraDropoutOptions;
	/** Operands of the products are rounded to this type. */
	compute?: ProductDtype;
	/** The kernel of decoding, in which a row's bits do not depend on the other rows. */
	rowwise?: boolean;
	y?: Tensor;
	/** f32; of the weight's type, where copies lie beside it: then scale * x a^T, rounded. */
	u?: Tensor;
	/** Columns behind x's in each row that may be written to. */
	xRoom?: number;
}

/**
 * x W^T + bias + the adapters' low-rank products, as one op. x [T, IN], weight [OUT, IN] f32, bf16 or f16.
 * Returns y [T, OUT] like x, and u = x a^T [T, R] f32 of the last adapter, for the backward pass.
 */
function loraLinear(x: Tensor, weight: Tensor, options: LoraLinearOptions = {}): { y: Tensor; u: Tensor | undefined } {
	const top = options.adapters?.at(-1);
	const y = options.y ?? tensor([...x.shape.slice(0, -1), weight.shape[0] ?? 0], undefined, { dtype: x.dtype });
	const u = options.u ?? (top && tensor([rowsOf(x), top.a.shape[0] ?? 0]));
	call((k) => k.linearForward({ ...options, x, weight, y, u }));
	return { y, u };
}

export interface LoraLinearBackwardOptions extends Omit<LoraLinearOptions, "y" | "bias" | "xRoom"> {
	/** As {@link loraLinear} returned it; computed again where it is absent. */
	u?: Tensor;
	dx?: Tensor;
	/** Columns behind dy's in each row that may be written to. */
	dyRoom?: number;
	accumulateDx?: boolean;
	/** Gradients of the last adapter, f32, added to. */
	da?: Tensor;
	db?: Tensor;
	/** Full training: [OUT, IN] and [OUT] f32, added to. */
	dweight?: Tensor;
	dbias?: Tensor;
}

/** Gradient of {@link loraLinear}: returns dx; da, db, dweight and dbias are added to where given. */
function loraLinearBackward(dy: Tensor, x: Tensor, weight: Tensor, options: LoraLinearBackwardOptions = {}): Tensor {
	const dx = options.dx ?? like(x);
	call((k) => k.linearBackward({ ...options, dy, x, weight, dx }));
	return dx;
}

export interface LinearLogprobOptions {
	/** [T] f32: dL/dlogprob. With it, dhidden is computed. */
	weights?: Tensor;
	/** [V, D] f32, added to. */
	dweight?: Tensor;
	entropy?: boolean;
	/** Stores the logits [T, V] f32, which are otherwise never whole. */
	logits?: boolean;
	compute?: ProductDtype;
	logprob?: Tensor;
	dhidden?: Tensor;
}

export interface LinearLogprobResult {
	/** [T] f32 */
	logprob: Tensor;
	entropy: Tensor | undefined;
	logits: Tensor | undefined;
	dhidden: Tensor | undefined;
}

/** Log-probability of targets [T] i32 under softmax(hidden W^T), hidden [T, D], weight [V, D]; and its gradient. */
function linearLogprob(hidden: Tensor, weight: Tensor, targets: Tensor, options: LinearLogprobOptions = {}): LinearLogprobResult {
	const rows = rowsOf(hidden);
	const result: LinearLogprobResult = {
		logprob: options.logprob ?? tensor([rows]),
		entropy: options.entropy ? tensor([rows]) : undefined,
		logits: options.logits ? tensor([rows, weight.shape[0] ?? 0]) : undefined,
		dhidden: options.weights ? (options.dhidden ?? like(hidden)) : undefined,
	};
	const { weights, dweight, compute } = options;
	call((k) => k.linearLogprob({ hidden, weight, targets, weights, dweight, compute, ...result }));
	return result;
}

/**
 * Cross-entropy of a linear head, loss = sum over t of weight[t] * -log p(target[t]), with its gradient.
 * @param options.weights [T] f32 tensor; 1/T each unless given
 */
function linearCrossEntropy(
	hidden: Tensor,
	weight: Tensor,
	targets: Tensor,
	options: Omit<LinearLogprobOptions, "entropy" | "logits"> = {},
): { loss: number; logprob: Tensor; dhidden: Tensor } {
	const rows = rowsOf(hidden);
	const given = options.weights?.toFloat32Array() ?? new Float32Array(rows).fill(1 / rows);
	const weights = tensor(
		[rows],
		given.map((w) => -w),
	);
	const { logprob, dhidden } = linearLogprob(hidden, weight, targets, { ...options, weights });
	const loss = logprob.toFloat32Array().reduce((sum, l, t) => sum - (given[t] ?? 0) * l, 0);
	return { loss, logprob, dhidden: dhidden as Tensor };
}

export interface AdamWOptions {
	/** Counts from 1. */
	step: number;
	lr: number;
	beta1?: number;
	beta2?: number;
	eps?: number;
	/** Multiplies every gradient: min(1, max_norm / (norm + 1e-6)). */
	gradScale?: number;
}

/** One step of AdamW on all tensors (f32, in place), in torch's order of operations. `copy` gets p, rounded to its type. */
function adamw(
	tensors: readonly { p: Tensor; g: Tensor; m: Tensor; v: Tensor; weightDecay?: number; copy?: Tensor }[],
	options: AdamWOptions,
): void {
	call((k) => k.adamw({ beta1: 0.9, beta2: 0.999, eps: 1e-8, gradScale: 1, ...options, tensors }));
}

/** The L2 norm over all elements of all tensors (f32), summed in double in a fixed order. */
function globalNorm(gradients: readonly Tensor[]): number {
	return call((k) => k.globalNorm({ gradients }));
}

/** y[i] = x[rows[i]]. x [T, C], rows [n] i32; y [n, C] like x. */
function gatherRows(x: Tensor, rows: Tensor, options: { y?: Tensor } = {}): Tensor {
	const y = options.y ?? tensor([last(rows), last(x)], undefined, { dtype: x.dtype });
	call((k) => k.gatherRows({ x, rows, y }));
	return y;
}

/** y = 0 but y[rows[i]] = x[i]. x [n, C], rows [n] i32, each once; y [T, C] like x. */
function scatterRows(x: Tensor, rows: Tensor, y: Tensor): Tensor {
	call((k) => k.scatterRows({ x, rows, y }));
	return y;
}

/** y[rows[i]] = x[i], the rest of y stays. x [n, C], rows [n] i32, each once; y [T, C] like x. */
function storeRows(x: Tensor, rows: Tensor, y: Tensor): Tensor {
	call((k) => k.storeRows({ x, rows, y }));
	return y;
}

/** y = x, rounded to y's type. Both [T, C], f32, bf16 or f16. */
function convert(x: Tensor, y: Tensor): Tensor {
	call((k) => k.convert({ x, y }));
	return y;
}

export interface KernelSampling {
	/** 0: greedy. */
	temperature?: number;
	topK?: number;
	topP?: number;
	minP?: number;
	repetitionPenalty?: number;
	seed?: number | bigint;
	/** The request's own number: its draws depend on seed, stream and position only. */
	stream?: number | bigint;
	/** Index of the token to draw, 0 for the first. */
	position?: number;
	/** Ids of prompt and output, for the penalty. */
	seen?: Int32Array;
}

/**
 * Draws a token from each row of logits [n, V] f32, which are modified, each row with options of its own; logprobs are
 * those of the final distributions.
 * @param distributions [n, V] f32 receives them: 0 for tokens that are not kept
 */
function sampleRows(
	logits: Tensor,
	rows: readonly KernelSampling[],
	distributions?: Tensor,
): { tokens: Int32Array; logprobs: Float32Array } {
	return call((k) => k.sample({ logits, rows, distributions }));
}

/** Draws a token from logits [V] f32, which are modified. logprob is that of the final distribution. */
function sample(logits: Tensor, options: KernelSampling = {}): { token: number; logprob: number } {
	const { tokens, logprobs } = sampleRows(logits, [options]);
	return { token: tokens[0] as number, logprob: logprobs[0] as number };
}

/** The distribution [V] that {@link sample} draws from: 0 for tokens that are not kept. logits are modified. */
function samplingDistribution(logits: Tensor, options: KernelSampling = {}): Float32Array {
	const distribution = tensor(logits.shape);
	sampleRows(logits, [options], distribution);
	return distribution.toFloat32Array();
}

/** Copies all of a contiguous tensor into another of the same size and type: what a benchmark compares traffic with. */
function copy(from: Tensor, to: Tensor): Tensor {
	call((k) => k.copyTensor({ from, to }));
	return to;
}

export const kernels = {
	tensor,
	embedding,
	embeddingBackward,
	rmsnorm,
	rmsnormBackward,
	ropeTables,
	rope,
	attention,
	attentionBackward,
	attentionDecode,
	swiglu,
	swigluBackward,
	loraLinear,
	loraLinearBackward,
	linearLogprob,
	linearCrossEntropy,
	adamw,
	globalNorm,
	gatherRows,
	scatterRows,
	storeRows,
	convert,
	sample,
	sampleRows,
	samplingDistribution,
	preferenceLoss,
	dpoLoss,
	copy,
	...kernelSettings,
	get simt(): Simt | undefined {
		return simt();
	},
};
