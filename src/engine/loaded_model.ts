/**
 * A model: weights, a stack of adapters, and what can be done with them.
 * @module
 */
import { FintuneError } from "../errors.js";
import { checkAdapterFits, loadAdapter } from "./adapter.js";
import { checkMask } from "./batches.js";
import type { NativeModel, NativeSampling } from "./binding.js";
import { nativeCall, runJob } from "./job.js";
import { checkIds, packIds } from "./rows.js";
import { nativeTrainerInit, Trainer } from "./trainer.js";
import type {
	Adapter,
	ComputeDtype,
	GenerateCallbacks,
	GenerateOptions,
	GenerateRow,
	Generation,
	MemoryPlan,
	ModelConfig,
	NamedTensor,
	SamplingOptions,
	Score,
	ScoreOptions,
	ScoreRow,
	TokenIds,
	TrainerOptions,
	TrainingShape,
} from "./types.js";

/** What {@link openModel} found out about a model before native code opened it. */
export interface ModelFacts {
	/** Absolute path of the folder. */
	dir: string;
	/** Hub id, `tiny`, or the folder's own name: how an adapter names its base. No path. */
	label: string;
	config: ModelConfig;
	stopIds: number[];
	device: string;
	dtype: ComputeDtype;
	threads: number;
	trainable: boolean;
}

/** Made by `openModel`. Calls on one model run one after the other on its own threads; the event loop stays free. */
export class Model {
	readonly dir: string;
	readonly label: string;
	readonly config: ModelConfig;
	/** End tokens of generation_config.json, else of config.json. */
	readonly stopIds: readonly number[];
	readonly dtype: ComputeDtype;
	/** "cpu" or "cuda:N". */
	readonly device: string;
	readonly threads: number;
	/** All parameters may be trained. */
	readonly trainable: boolean;
	readonly #native: NativeModel;
	readonly #stack: Adapter[] = [];
	#trainer: Trainer | undefined;
	#disposed = false;

	/** @internal */
	constructor(native: NativeModel, facts: ModelFacts) {
		this.#native = native;
		this.dir = facts.dir;
		this.label = facts.label;
		this.config = facts.config;
		this.stopIds = facts.stopIds;
		this.device = facts.device;
		this.dtype = facts.dtype;
		this.threads = facts.threads;
		this.trainable = facts.trainable;
	}

	/** Height of the adapter stack. */
	get adapterCount(): number {
		return this.#stack.length;
	}

	/** The stack from the bottom, the top as training has left it. */
	get adapters(): readonly Adapter[] {
		const live = this.#liveTrainer();
		if (live?.parametersKind !== "lora") return [...this.#stack];
		return [...this.#stack.slice(0, -1), live.adapter()];
	}

	/**
	 * Puts an adapter on top of the stack.
	 * @param adapter a PEFT folder, or an adapter in memory
	 * @returns the new height of the stack
	 * @throws FintuneError E_ADAPTER, E_NOT_FOUND; E_ARGUMENT while a trainer is live
	 */
	async addAdapter(adapter: string | Adapter): Promise<number> {
		const loaded = typeof adapter === "string" ? await loadAdapter(adapter, this.config) : adapter;
		if (typeof adapter !== "string") checkAdapterFits(adapter, this.config);
		this.#checkIdle("add an adapter");
		nativeCall(() =>
			this.#native.addAdapter(loaded.modules.map((m) => ({ name: m.name, r: m.r, scale: m.scale, a: m.a, b: m.b }))),
		);
		this.#stack.push(loaded);
		return this.#stack.length;
	}

	/** Takes the top adapter off the stack and returns it. */
	popAdapter(): Adapter {
		this.#checkIdle("remove an adapter");
		const top = this.#stack.at(-1);
		if (!top) throw new FintuneError("E_ARGUMENT", "the adapter stack is empty");
		nativeCall(() => this.#native.popAdapter());
		this.#stack.pop();
		return top;
	}

	/**
	 * Log-probabilities of given token ids, row by row.
	 * @throws FintuneError E_ARGUMENT naming the row; E_ABORTED
	 */
	async score(rows: readonly ScoreRow[], options: ScoreOptions = {}): Promise<Score[]> {
		rows.forEach((row, i) => {
			this.#checkRow(row.inputIds, `rows[${i}].inputIds`);
			checkMask(row.completionMask, row.inputIds.length, `rows[${i}]`);
		});
		if (rows.length === 0) return [];
		const packed = packIds(rows.map((r) => r.inputIds));
		const logits = options.logits ?? false;
		const logitBytes = packed.ids.length * this.config.vocabSize * 4;
		if (logits && logitBytes > maxLogitBytes) {
			throw new FintuneError("E_ARGUMENT", "the logits of these rows are too many for one call", {
				expected: `at most ${maxLogitBytes} bytes`,
				found: `${packed.ids.length} tokens x ${this.config.vocabSize} x 4 = ${logitBytes} bytes`,
				hint: "score fewer rows at a time, or leave the logits out",
			});
		}
		const scores = await runJob(options.signal, (job) =>
			this.#live().score(
				{
					...packed,
					batchTokens: options.batchTokens ?? 2048,
					entropy: options.entropy ?? false,
					logits,
					adapters: this.#active(options.adapters),
				},
				job,
			),
		);
		return rows.map((row, i) => {
			const begin = packed.cuSeqlens[i] as number;
			const length = row.inputIds.length;
			// Each row before this one has one log-probability less than tokens.
			const logprobs = scores.logprobs.slice(begin - i, begin - i + length - 1);
			let sum = 0;
			let n = 0;
			for (let t = 1; t < length; t++) {
				if (row.completionMask !== undefined && !row.completionMask[t]) continue;
				sum += logprobs[t - 1] as number;
				n++;
			}
			const score: Score = { logprobs, sum, n };
			if (scores.entropy) score.entropy = scores.entropy.slice(begin - i, begin - i + length - 1);
			if (scores.logits) {
				score.logits = scores.logits.slice(begin * this.config.vocabSize, (begin + length) * this.config.vocabSize);
			}
			return score;
		});
	}

	/**
	 * Continues each prompt. Greedy without penalty unless asked otherwise; the output of a prompt depends on nothing but
	 * the prompt, the options and its stream.
	 * @throws FintuneError E_ARGUMENT for an empty prompt, or prompt + maxNewTokens beyond the model's positions; E_ABORTED
	 */
	async generate(
		rows: readonly GenerateRow[],
		options: GenerateOptions = {},
		callbacks: GenerateCallbacks = {},
	): Promise<Generation[]> {
		const maxNewTokens = options.maxNewTokens ?? 256;
		wholeNumber("maxNewTokens", maxNewTokens, 0);
		rows.forEach((row, i) => {
			this.#checkRow(row.inputIds, `rows[${i}].inputIds`, maxNewTokens);
		});
		const sampling = this.#sampling(options, maxNewTokens);
		const maxBatch = wholeNumber("maxBatch", options.maxBatch ?? 32, 1);
		const prefillTokens = wholeNumber("prefillTokens", options.prefillTokens ?? 2048, 1);
		const cacheTokens = wholeNumber("cacheTokens", options.cacheTokens ?? 0, 0);
		const { prefixSharing = true, recording = true } = options;
		if (rows.length === 0) return [];
		const results: Generation[] = new Array(rows.length);
		let failure: unknown;
		let failed = false;
		// A callback that throws must not throw inside the addon's own call: it stops the generation and is thrown here.
		const stop = new AbortController();
		const guarded = <A>(callback: ((value: A) => void) | undefined, value: A): void => {
			if (failed) return;
			try {
				callback?.(value);
			} catch (error) {
				failed = true;
				failure = error;
				stop.abort();
			}
		};
		const signal = callbacks.signal ? AbortSignal.any([callbacks.signal, stop.signal]) : stop.signal;
		try {
			const statistics = await runJob(signal, (job) =>
				this.#live().generate(
					{
						...packIds(rows.map((r) => r.inputIds)),
						sampling,
						streams: Int32Array.from(rows, (r, i) => r.stream ?? i),
						maxBatch,
						prefillTokens,
						cacheTokens,
						prefixSharing,
						recording,
						adapters: this.#active(options.adapters),
					},
					(generation) => {
						results[generation.index] = generation;
						guarded(callbacks.onFinished, generation);
					},
					(total) => guarded(callbacks.onTokens, total),
					job,
				),
			);
			guarded(callbacks.onStatistics, statistics);
		} catch (error) {
			throw failed ? failure : error;
		}
		if (failed) throw failure;
		return results;
	}

	/**
	 * The distribution [V] from which the first token after the prompt is drawn: penalty, temperature, top-k, top-p and
	 * min-p applied, renormalised; 0 for tokens that are never drawn.
	 */
	async nextTokenDistribution(
		row: { inputIds: TokenIds },
		sampling: SamplingOptions & { adapters?: number | undefined } = {},
	): Promise<Float32Array> {
		this.#checkRow(row.inputIds, "inputIds");
		const native = this.#sampling(sampling, 1);
		return nativeCall(() =>
			this.#live().nextTokenDistribution(Int32Array.from(row.inputIds), native, this.#active(sampling.adapters)),
		);
	}

	/**
	 * A trainer of the top adapter, or of all parameters where the stack is empty and the model was opened as trainable.
	 * One trainer at a time.
	 * @throws FintuneError E_ARGUMENT when there is nothing to train, or another trainer is live
	 */
	createTrainer(options: TrainerOptions = {}): Trainer {
		this.#checkIdle("make a second trainer");
		const top = this.#stack.at(-1);
		const init = nativeTrainerInit(options, { parameters: top ? "lora" : "full", dropout: top?.config.dropout ?? 0 });
		if (init.parameters === "lora" && !top) {
			throw new FintuneError("E_ARGUMENT", "there is no adapter to train", {
				hint: "addAdapter(initAdapter(model.config, { r, alpha })) makes one",
			});
		}
		if (init.parameters === "full" && !this.trainable) {
			throw new FintuneError("E_ARGUMENT", "all parameters train only in a model opened with trainable: true");
		}
		this.#trainer = new Trainer(
			this,
			nativeCall(() => this.#live().createTrainer(init)),
			init,
			top,
		);
		return this.#trainer;
	}

	/** @internal The trainer hands back what it trained. */
	trainerEnds(trainer: Trainer, top: Adapter): void {
		if (this.#trainer === trainer) this.#stack[this.#stack.length - 1] = top;
	}

	/** Peak bytes of one training micro-batch, counted by the code that allocates. */
	planTraining(options: TrainerOptions, shape: TrainingShape): MemoryPlan {
		const top = this.#stack.at(-1);
		const init = nativeTrainerInit(options, { parameters: top ? "lora" : "full", dropout: top?.config.dropout ?? 0 });
		return nativeCall(() => this.#live().planTraining(init, ...planArguments(shape)));
	}

	/** Peak bytes of generation. */
	planGeneration(shape: { maxBatch?: number; promptTokens: number; maxNewTokens: number }): MemoryPlan {
		return nativeCall(() => this.#live().planGeneration(shape.maxBatch ?? 32, shape.promptTokens, shape.maxNewTokens));
	}

	/** Every parameter of the base as f32 (copies), named as in the weight file. */
	parameters(): NamedTensor[] {
		return nativeCall(() => this.#live().parameters());
	}

	/** Bytes that the model holds now. */
	memoryBytes(): number {
		return nativeCall(() => this.#live().memoryBytes());
	}

	/** Gives back the memory that the largest call so far has taken; the next call takes what it needs. */
	releaseMemory(): void {
		nativeCall(() => this.#live().releaseMemory());
	}

	/** Frees everything; the model cannot be used afterwards. */
	dispose(): void {
		if (this.#disposed) return;
		this.#liveTrainer()?.dispose();
		this.#disposed = true;
		this.#native.dispose();
	}

	#live(): NativeModel {
		if (this.#disposed) throw new FintuneError("E_ARGUMENT", "the model was disposed");
		return this.#native;
	}

	#liveTrainer(): Trainer | undefined {
		return this.#trainer && !this.#trainer.disposed ? this.#trainer : undefined;
	}

	#checkIdle(what: string): void {
		if (!this.#liveTrainer()) return;
		throw new FintuneError("E_ARGUMENT", `cannot ${what} while a trainer is live`, { hint: "dispose the trainer first" });
	}

	#active(adapters: number | undefined): number {
		const count = adapters ?? this.#stack.length;
		if (Number.isInteger(count) && count >= 0 && count <= this.#stack.length) return count;
		throw new FintuneError("E_ARGUMENT", "the stack does not hold that many adapters", {
			where: "adapters",
			expected: `0..${this.#stack.length}`,
			found: String(count),
		});
	}

	#checkRow(ids: TokenIds, where: string, maxNewTokens = 0): void {
		checkIds(ids, where, this.config.vocabSize);
		if (ids.length + maxNewTokens <= this.config.maxPositions) return;
		throw new FintuneError("E_ARGUMENT", "longer than the model's positions", {
			where,
			expected: `at most ${this.config.maxPositions} tokens`,
			found: maxNewTokens ? `${ids.length} of the prompt + ${maxNewTokens} new` : String(ids.length),
		});
	}

	#sampling(options: SamplingOptions & { stopIds?: readonly number[] | undefined }, maxNewTokens: number): NativeSampling {
		const stopIds = options.stopIds ?? this.stopIds;
		for (const id of stopIds) wholeNumber("stopIds", id, 0);
		return {
			maxNewTokens,
			temperature: between("temperature", options.temperature ?? 0, 0, Number.MAX_VALUE),
			topK: wholeNumber("topK", options.topK ?? 0, 0),
			topP: between("topP", options.topP ?? 1, Number.MIN_VALUE, 1),
			minP: between("minP", options.minP ?? 0, 0, 1),
			repetitionPenalty: between("repetitionPenalty", options.repetitionPenalty ?? 1, Number.MIN_VALUE, Number.MAX_VALUE),
			seed: wholeNumber("seed", options.seed ?? 0, 0),
			stopIds: [...stopIds],
		};
	}
}

const maxLogitBytes = 2 ** 31;

/** @internal */
export function planArguments(shape: TrainingShape) {
	const lengths = Int32Array.from(shape.lengths);
	const targets = shape.targets ?? shape.lengths.reduce((n, l) => n + Math.max(0, l - 1), 0);
	const objective = {
		sft: { type: "sft" },
		dpo: { type: "preference", loss: "sigmoid", beta: 0.1, labelSmoothing: 0, gamma: 0 },
		kto: { type: "kto", beta: 0.1, desirableWeight: 1, undesirableWeight: 1 },
	} as const;
	return [lengths, targets, objective[shape.objective ?? "sft"]] as const;
}

function wholeNumber(name: string, value: number, low: number): number {
	if (Number.isSafeInteger(value) && value >= low) return value;
	throw new FintuneError("E_ARGUMENT", `${name} is a whole number >= ${low}`, { where: name, found: String(value) });
}

function between(name: string, value: number, low: number, high: number): number {
	if (value >= low && value <= high) return value;
	const expected = low === Number.MIN_VALUE ? "more than 0" : `${low} or more`;
	throw new FintuneError("E_ARGUMENT", `${name} is outside its range`, {
		where: name,
		expected: high === Number.MAX_VALUE ? expected : `${expected}, at most ${high}`,
		found: String(value),
	});
}
