/**
 * One trainer: optimiser steps on given token ids.
 * @module
 */
import { FintuneError } from "../errors.js";
import { moduleOfTensor, saveAdapter } from "./adapter.js";
import { lossAtMarginZero, nativeMicroBatches, nativeObjective, usesReference, withMismatchedRows } from "./batches.js";
import type { NativeParameter, NativeTrainer, NativeTrainerInit } from "./binding.js";
import { nativeCall, runJob } from "./job.js";
import type {
	Adapter,
	GradientsResult,
	MemoryPlan,
	NamedTensor,
	OptimizerState,
	Score,
	ScoreOptions,
	ScoreRow,
	StepOptions,
	StepResult,
	StopOptions,
	TrainerOptions,
	TrainingBatch,
} from "./types.js";

const prefix = "base_model.model.";

/** @throws FintuneError E_ARGUMENT for a value outside its range */
export function nativeTrainerInit(
	options: TrainerOptions,
	defaults: { parameters: "lora" | "full"; dropout: number },
): NativeTrainerInit {
	const init: NativeTrainerInit = {
		parameters: options.parameters ?? defaults.parameters,
		beta1: options.adamBeta1 ?? 0.9,
		beta2: options.adamBeta2 ?? 0.999,
		eps: options.adamEpsilon ?? 1e-8,
		weightDecay: options.weightDecay ?? 0,
		maxGradNorm: options.maxGradNorm ?? 1,
		recompute: options.recompute ?? "none",
		dropout: options.dropout ?? defaults.dropout,
		seed: options.seed ?? 0,
		recording: options.recording ?? true,
	};
	const inRange = (name: string, value: number, low: number, high: number) => {
		if (!(value >= low && value < high)) {
			throw new FintuneError("E_ARGUMENT", "a trainer option is outside its range", {
				where: name,
				expected: `${low} <= ${name} < ${high}`,
				found: String(value),
			});
		}
	};
	inRange("adamBeta1", init.beta1, 0, 1);
	inRange("adamBeta2", init.beta2, 0, 1);
	inRange("adamEpsilon", init.eps, 0, 1);
	inRange("weightDecay", init.weightDecay, 0, Number.POSITIVE_INFINITY);
	inRange("maxGradNorm", init.maxGradNorm, 0, Number.POSITIVE_INFINITY);
	inRange("dropout", init.dropout, 0, 1);
	inRange("seed", init.seed, 0, 2 ** 53);
	return init;
}

/** What a trainer needs of the model that it trains. */
interface TrainedModel {
	readonly adapterCount: number;
	readonly config: { vocabSize: number; maxPositions: number };
	readonly dtype: string;
	readonly label: string;
	score(rows: readonly ScoreRow[], options: ScoreOptions): Promise<Score[]>;
	/** The trainer is disposed of; this is what it has made of the top adapter. */
	trainerEnds(trainer: Trainer, top: Adapter): void;
}

/**
 * Trains the top adapter of a model's stack, or all parameters of a model opened as trainable. Made by
 * {@link Model.createTrainer}; the model generates and scores with the weights as they stand after each step.
 */
export class Trainer {
	/** "lora": the top adapter; "full": every parameter. */
	readonly parametersKind: "lora" | "full";
	readonly #model: TrainedModel;
	readonly #native: NativeTrainer;
	readonly #dropout: number;
	/** Adapter as it stood when the trainer was made: names, ranks and scales of the top. */
	readonly #template: Adapter | undefined;
	#steps = 0;
	#fresh: boolean;
	#disposed = false;

	/** @internal */
	constructor(model: TrainedModel, native: NativeTrainer, init: NativeTrainerInit, top: Adapter | undefined) {
		this.#model = model;
		this.#native = native;
		this.#dropout = init.dropout;
		this.parametersKind = init.parameters;
		this.#template = init.parameters === "lora" ? top : undefined;
		this.#fresh = this.#template?.modules.every((m) => m.b.every((x) => x === 0)) ?? false;
	}

	/**
	 * One optimiser step. Loss and gradient norm are those before the update.
	 *
	 * Reference log-probabilities that a batch lacks are computed by the stack without its top ({@link withReference}
	 * computes them once for many epochs). On the first step of a fresh adapter a loss with a reference must have its
	 * value of margin zero ({@link checkInitialLoss}).
	 * @throws FintuneError E_ABORTED, E_NUMERIC, E_STEP_LIMIT, E_OUT_OF_MEMORY (nothing has changed then), E_REFERENCE, E_ARGUMENT
	 */
	async step(batch: TrainingBatch, options: StepOptions): Promise<StepResult> {
		if (!(Number.isFinite(options.learningRate) && options.learningRate >= 0)) {
			throw new FintuneError("E_ARGUMENT", "learningRate is a number >= 0", { found: String(options.learningRate) });
		}
		const ready = await this.withReference(batch, options);
		const micro = nativeMicroBatches(ready, this.#limits());
		const { refused, ...result } = await runJob(options.signal, (job) =>
			this.#native.step(micro, nativeObjective(ready), options.learningRate, options.limits, job),
		);
		if (refused) {
			const { loss, gradNorm } = options.limits ?? {};
			throw new FintuneError("E_STEP_LIMIT", "the step was refused, nothing was changed", {
				expected: [loss && `a loss of at most ${loss}`, gradNorm && `a gradient norm of at most ${gradNorm}`]
					.filter(Boolean)
					.join(", "),
				found: `loss ${result.loss}, gradient norm ${result.gradNorm}`,
			});
		}
		const first = this.#steps++ === 0;
		if (first && this.#fresh && this.#dropout === 0) this.checkInitialLoss(ready, result.loss);
		return result;
	}

	/** Loss and gradients (not clipped) without an update, for any objective. */
	async gradients(batch: TrainingBatch): Promise<GradientsResult> {
		const ready = await this.withReference(batch);
		const result = await nativeCall(() =>
			this.#native.gradients(nativeMicroBatches(ready, this.#limits()), nativeObjective(ready)),
		);
		return { ...result, gradients: result.gradients.map((g) => this.#published(g)) };
	}

	/** Loss (and rewards) without gradients or dropout: validation. @throws FintuneError E_ABORTED */
	async evaluate(batch: TrainingBatch, options: StopOptions = {}): Promise<StepResult> {
		const ready = await this.withReference(batch, options);
		const micro = nativeMicroBatches(ready, this.#limits());
		return runJob(options.signal, (job) => this.#native.evaluate(micro, nativeObjective(ready), job));
	}

	/**
	 * The batch with every reference log-probability filled in (and every mismatched row of kto), so that it can be
	 * stepped on many times without computing them again. Batches without a reference are returned as they are.
	 * @throws FintuneError E_ARGUMENT where all parameters train, because the reference is gone then
	 */
	async withReference(batch: TrainingBatch, options: StopOptions = {}): Promise<TrainingBatch> {
		if (!usesReference(batch)) return batch;
		const full = batch.objective === "kto" ? withMismatchedRows(batch) : batch;
		const rows: ScoreRow[] = [];
		if (full.objective === "dpo") {
			for (const pair of full.pairs) {
				if (pair.referenceChosen === undefined) rows.push(pair.chosen);
				if (pair.referenceRejected === undefined) rows.push(pair.rejected);
			}
		} else if (full.objective === "kto") {
			for (const row of full.rows) {
				if (row.referenceLogprob === undefined) rows.push(row);
				if (row.mismatched && row.mismatched.referenceLogprob === undefined) rows.push(row.mismatched);
			}
		}
		if (rows.length === 0) return full;
		if (this.parametersKind === "full") {
			throw new FintuneError("E_ARGUMENT", "a loss with a reference needs its reference log-probabilities", {
				expected: "referenceChosen and referenceRejected (kto: referenceLogprob) on every row",
				found: `${rows.length} missing`,
				hint: "training all parameters changes the model itself; score the batch before the first step and pass the sums",
			});
		}
		const scores = await this.#model.score(rows, { adapters: this.#model.adapterCount - 1, signal: options.signal });
		let next = 0;
		const take = (known: number | undefined): number => known ?? (scores[next++] as { sum: number }).sum;
		if (full.objective === "dpo") {
			return {
				...full,
				pairs: full.pairs.map((p) => ({
					...p,
					referenceChosen: take(p.referenceChosen),
					referenceRejected: take(p.referenceRejected),
				})),
			};
		}
		if (full.objective !== "kto") return full;
		return {
			...full,
			rows: full.rows.map((row) => ({
				...row,
				referenceLogprob: take(row.referenceLogprob),
				mismatched: row.mismatched && { ...row.mismatched, referenceLogprob: take(row.mismatched.referenceLogprob) },
			})),
		};
	}

	/**
	 * The rule of a fresh adapter: with B = 0 and no dropout, policy and reference are the same model, so a loss with a
	 * reference has its value of margin zero (sigmoid: ln 2) within 1e-5 in f32 and 1e-2 in bf16. Anything else means
	 * that the reference is not the model under the adapter. {@link step} applies it by itself on the first step.
	 * @throws FintuneError E_REFERENCE
	 */
	checkInitialLoss(batch: TrainingBatch, loss: number): void {
		const expected = lossAtMarginZero(batch);
		if (expected === undefined) return;
		const tolerance = (this.#model.dtype === "f32" ? 1e-5 : 1e-2) * Math.max(1, expected);
		if (Math.abs(loss - expected) <= tolerance) return;
		throw new FintuneError("E_REFERENCE", "a fresh adapter does not start at the loss of margin zero", {
			expected: `${expected} +- ${tolerance}`,
			found: String(loss),
			hint: "the reference log-probabilities belong to another model, other adapters, other rows or another dtype",
		});
	}

	/** Bytes by kind that the steps so far have really taken, at their highest moment; {@link Model.planTraining} foretells them. */
	memory(): MemoryPlan {
		return nativeCall(() => this.#native.memory());
	}

	/** Micro-batches so far that a GPU has replayed from a recording. */
	replayed(): number {
		return nativeCall(() => this.#native.replayed());
	}

	/** Trained parameters (copies). LoRA: names as PEFT saves them; full: names of the weight file. */
	parameters(): NamedTensor[] {
		return nativeCall(() => this.#native.parameters()).map((p) => this.#published(p));
	}

	/** Replaces trained parameters; names as {@link parameters} gives them, all of them. */
	setParameters(parameters: readonly NamedTensor[]): void {
		nativeCall(() => this.#native.setParameters(parameters.map((p) => this.#internal(p))));
		this.#fresh =
			this.parametersKind === "lora" &&
			parameters.filter((p) => p.name.endsWith(".lora_B.weight")).every((p) => p.data.every((x) => x === 0));
	}

	optimizerState(): OptimizerState {
		const state = nativeCall(() => this.#native.optimizerState());
		return { ...state, m: state.m.map((p) => this.#published(p)), v: state.v.map((p) => this.#published(p)) };
	}

	setOptimizerState(state: OptimizerState): void {
		nativeCall(() =>
			this.#native.setOptimizerState({
				step: state.step,
				m: state.m.map((p) => this.#internal(p)),
				v: state.v.map((p) => this.#internal(p)),
				...(state.lossScale === undefined ? {} : { lossScale: state.lossScale, lossScaleSteps: state.lossScaleSteps ?? 0 }),
			}),
		);
		this.#steps = state.step;
	}

	/**
	 * The trained adapter as it stands.
	 * @throws FintuneError E_ARGUMENT where all parameters train
	 */
	adapter(): Adapter {
		const template = this.#template;
		if (!template) throw new FintuneError("E_ARGUMENT", "this trainer trains all parameters, there is no adapter");
		const data = new Map(this.parameters().map((p) => [p.name, p.data]));
		return {
			config: template.config,
			modules: template.modules.map((m) => ({
				...m,
				a: data.get(`${prefix}${m.name}.lora_A.weight`) ?? m.a,
				b: data.get(`${prefix}${m.name}.lora_B.weight`) ?? m.b,
			})),
		};
	}

	/** Writes the trained adapter as a PEFT folder. */
	async saveAdapter(dir: string): Promise<void> {
		await saveAdapter(dir, this.adapter(), { baseModel: this.#model.label });
	}

	get disposed(): boolean {
		return this.#disposed;
	}

	/** Frees optimiser state and gradients; what was trained stays in the model. */
	dispose(): void {
		if (this.#disposed) return;
		if (this.#template) this.#model.trainerEnds(this, this.adapter());
		this.#disposed = true;
		this.#native.dispose();
	}

	#limits() {
		return { vocabSize: this.#model.config.vocabSize, maxPositions: this.#model.config.maxPositions };
	}

	#published(p: NativeParameter): NamedTensor {
		return this.parametersKind === "lora" ? { ...p, name: prefix + moduleOfTensor(p.name) } : p;
	}

	#internal(p: NamedTensor): NativeParameter {
		return this.parametersKind === "lora" ? { ...p, name: moduleOfTensor(p.name) } : p;
	}
}
