/**
 * The one training loop: every stage that trains hands it examples and gets a trained adapter or model. Order, packing,
 * schedule, validation, early stopping, metrics and checkpoints live here and nowhere else.
 * @module
 */
import { join } from "node:path";
import type { Trainer } from "../engine/trainer.js";
import type { NamedTensor, StepResult } from "../engine/types.js";
import { FintuneError, isStop } from "../errors.js";
import { mendEventFiles } from "../report/event_files.js";
import { createEventWriter, type EventWriter } from "../report/tensorboard.js";
import type { MetricRow, TrainingReport } from "../report/types.js";
import type { Checkpoint, Checkpoints } from "./checkpoint.js";
import type { TrainingContext } from "./context.js";
import { waitForRoom } from "./disk.js";
import { JsonLinesFile, removeFolder } from "./files.js";
import { Guards } from "./guards.js";
import { type LrSchedule, learningRateAt, warmupStepsOf } from "./lr_schedule.js";
import { MemoryWatch, memoryShort, shortageText } from "./memory_watch.js";
import type { TrainingConfig } from "./schema.js";
import { planSteps, type StepPlan } from "./step_plan.js";
import { TimeLimit } from "./time_limit.js";
import { packed, type TrainingSet } from "./training_set.js";

/** TensorBoard's, below a stage's folder. */
export const eventsFolder = "tensorboard";

export interface LoopResult {
	rows: MetricRow[];
	report: TrainingReport;
	/** Step whose parameters were kept. */
	keptStep: number;
	bestEvalLoss?: number;
}

interface LoopOptions<Item> {
	context: TrainingContext;
	config: TrainingConfig;
	type: string;
	trainer: Trainer;
	set: TrainingSet<Item>;
	validation?: readonly Item[];
	microBatchTokens: number;
	/** Gives back what steps have taken of the host's memory; absent where they take none of it. */
	releaseMemory?: () => void;
	checkpoints: Checkpoints;
	/** What a checkpoint takes. */
	checkpointBytes: number;
	/** Where an interrupted loop goes on; the trainer is brought to it. */
	resume?: Checkpoint;
}

/** The state of the loop besides the trainer's; a checkpoint holds both. */
interface LoopState {
	/** Optimiser steps done. */
	step: number;
	rows: MetricRow[];
	/** The row of a step whose validation is not done yet. */
	pending?: MetricRow | undefined;
	best: { loss: number; step: number; misses: number; parameters?: NamedTensor[] };
	tokens: number;
	/** Batches that a guard left out. */
	skipped: number;
	/** Times that a guard went back to a checkpoint. */
	rollbacks: number;
	/** What the scheduled learning rate is multiplied by. */
	lrScale: number;
}

/** Ends a pass of the loop: the next goes on from the newest checkpoint. */
class RollBack extends Error {}

/**
 * Runs the loop; metrics.jsonl and TensorBoard events grow in the stage's folder as it goes. The trainer then holds the
 * kept parameters.
 * @throws FintuneError E_ABORTED once the context's signal has fired, E_MEMORY_SHORT; after a checkpoint was saved
 */
export async function trainLoop<Item>(options: LoopOptions<Item>): Promise<LoopResult> {
	const loop = new Loop(options);
	await loop.run();
	return loop.result();
}

class Loop<Item> {
	readonly #options: LoopOptions<Item>;
	readonly #plan: StepPlan;
	readonly #schedule: LrSchedule;
	readonly #seed: number;
	readonly #state: LoopState = {
		step: 0,
		rows: [],
		best: { loss: Number.POSITIVE_INFINITY, step: 0, misses: 0 },
		tokens: 0,
		skipped: 0,
		rollbacks: 0,
		lrScale: 1,
	};
	readonly #guards: Guards;
	#microBatchTokens: number;
	/** The moment at which an uninterrupted loop would have begun. */
	readonly #started: number;
	#saved = { step: 0, at: 0 };
	readonly #limit: TimeLimit;
	readonly #memory: MemoryWatch;

	constructor(options: LoopOptions<Item>) {
		const { context, config, set, resume } = options;
		this.#options = options;
		this.#seed = config.seed ?? context.seed;
		this.#guards = new Guards(config.guards);
		this.#microBatchTokens = options.microBatchTokens;
		this.#plan = planSteps(set, config, this.#seed);
		const { totalSteps } = this.#plan;
		if (totalSteps === 0) throw new FintuneError("E_DATA_EMPTY", "there is nothing to train on", { where: context.name });
		this.#schedule = {
			type: config.lr_scheduler_type,
			learningRate: config.learning_rate,
			warmupSteps: warmupStepsOf(totalSteps, config.warmup_steps, config.warmup_ratio),
			totalSteps,
		};
		if (resume) this.#restore(resume);
		this.#saved = { step: this.#state.step, at: context.now() };
		this.#started = context.now() - (resume?.state.seconds ?? 0);
		this.#limit = new TimeLimit(context, options.checkpointBytes);
		this.#memory = new MemoryWatch(config.guards, options.checkpointBytes, context.now);
	}

	async run(): Promise<void> {
		let goesOn = this.#options.resume !== undefined;
		while (true) {
			try {
				return await this.#pass(goesOn);
			} catch (error) {
				if (!(error instanceof RollBack)) throw error;
				await this.#rollBack(error);
				goesOn = true;
			}
		}
	}

	/** From where the state is to the end, or to what ends it before. */
	async #pass(goesOn: boolean): Promise<void> {
		const { context } = this.#options;
		const state = this.#state;
		const metrics = await JsonLinesFile.create(join(context.folder, "metrics.jsonl"), state.rows);
		const eventsPath = join(context.folder, eventsFolder);
		if (!goesOn) await removeFolder(eventsPath);
		for (const { path, lost } of mendEventFiles(eventsPath))
			context.log(`${path}: its last ${lost} bytes were damaged, and are cut off`);
		const events = createEventWriter(eventsPath, goesOn ? { resumedAtStep: (state.rows.at(-1)?.step ?? 0) + 1 } : {});
		try {
			if (!goesOn && this.#guards.rollsBack) await this.#save("start", events);
			if (state.pending) await this.#endStep(metrics, events);
			for (const { epoch, items } of this.#plan.steps(state.step)) {
				if (this.#outOfPatience()) break;
				this.#limit.check();
				await this.#watchMemory();
				if (await this.#trainStep(epoch, items)) await this.#endStep(metrics, events);
				if (this.#saveIsDue()) await this.#save("interval", events);
			}
		} catch (error) {
			if (isStop(error)) await this.#save("stopped", events);
			throw error;
		} finally {
			context.progress.end();
			try {
				events.close();
			} finally {
				await metrics.close();
			}
		}
	}

	/** Keeps the parameters that the config asks for, and tells what was done. */
	result(): LoopResult {
		const { context, trainer, type } = this.#options;
		const { best, rows, step, tokens } = this.#state;
		const keepBest = best.parameters !== undefined && best.step !== step;
		if (keepBest) trainer.setParameters(best.parameters!);
		const report: TrainingReport = {
			stage: context.name,
			type,
			rows,
			seconds: context.now() - this.#started,
			tokens,
			trainableParameters: trainer.parameters().reduce((sum, p) => sum + p.data.length, 0),
			microBatchTokens: this.#microBatchTokens,
		};
		return {
			rows,
			report,
			keptStep: keepBest ? best.step : step,
			...(Number.isFinite(best.loss) ? { bestEvalLoss: best.loss } : {}),
		};
	}

	/** One optimiser step; its row is pending until {@link #endStep}. False where a guard left the batch out. */
	async #trainStep(epoch: number, indices: readonly number[]): Promise<boolean> {
		const { context, set } = this.#options;
		const state = this.#state;
		const items = indices.map((i) => set.items[i]!);
		const learningRate = learningRateAt(this.#schedule, state.step) * state.lrScale;
		const before = context.now();
		let result: StepResult;
		try {
			result = await this.#optimise(items, learningRate);
		} catch (error) {
			if (this.#guards.action(error, state) === "rollback") throw new RollBack((error as Error).message, { cause: error });
			state.step += 1;
			state.skipped += 1;
			await this.#tell({ event: "skipped batch", step: state.step, reason: (error as Error).message, items: indices });
			return false;
		}
		const seconds = Math.max(1e-9, context.now() - before);
		this.#limit.stepTook(seconds, this.#plan.totalSteps - state.step - 1);
		const tokens = items.reduce((sum, item) => sum + set.tokens(item), 0);
		state.tokens += tokens;
		state.step += 1;
		state.pending = metricRow(state.step, epoch, learningRate, tokens / seconds, result);
		const warning = this.#guards.warning(state.rows, result);
		if (warning) await this.#tell({ event: "loss spike", step: state.step, reason: warning });
		return true;
	}

	/**
	 * Smaller micro-batches where the host's memory runs short; the end of the run where these do not help.
	 * @throws FintuneError E_MEMORY_SHORT
	 */
	async #watchMemory(): Promise<void> {
		const { context, set, releaseMemory } = this.#options;
		const shortage = this.#memory.shortage();
		if (shortage === undefined) return;
		const longest = set.items.reduce((most, item) => Math.max(most, set.tokens(item)), 0);
		if (releaseMemory && this.#microBatchTokens > longest) {
			releaseMemory();
			await this.#shrink(longest, shortageText(shortage));
		} else if (this.#memory.stops) {
			throw memoryShort(context.name, shortage);
		}
	}

	/** Halves the packing budget, down to what is needed: the loss is normalised over all micro-batches of a step. */
	async #shrink(least: number, reason: string): Promise<void> {
		const from = this.#microBatchTokens;
		this.#microBatchTokens = Math.max(Math.ceil(from / 2), least);
		await this.#tell({
			event: "memory short",
			step: this.#state.step + 1,
			reason: `${reason}; micro_batch_tokens ${from} becomes ${this.#microBatchTokens}, bits may differ from those of a run with enough memory`,
		});
	}

	/** The step itself, in smaller micro-batches where memory falls short. */
	async #optimise(items: readonly Item[], learningRate: number): Promise<StepResult> {
		const { context, trainer, set } = this.#options;
		const limits = this.#guards.limits(this.#state.rows);
		while (true) {
			try {
				return await trainer.step(set.batch(items, packed(set, items, this.#microBatchTokens)), {
					learningRate,
					limits,
					...(context.signal ? { signal: context.signal } : {}),
				});
			} catch (error) {
				const least = Math.max(...items.map((item) => set.tokens(item)));
				if (!(error instanceof FintuneError && error.code === "E_OUT_OF_MEMORY") || least >= this.#microBatchTokens) throw error;
				await this.#shrink(least, error.message);
			}
		}
	}

	/** Back to the newest checkpoint, with a smaller learning rate from there. */
	async #rollBack(why: RollBack): Promise<void> {
		const { context, config, checkpoints } = this.#options;
		const { step, rollbacks, lrScale } = this.#state;
		const newest = await checkpoints.newest();
		if (newest === undefined) throw why.cause;
		this.#restore(newest.checkpoint);
		this.#state.rollbacks = rollbacks + 1;
		this.#state.lrScale = lrScale * config.guards.rollback_lr_factor;
		this.#saved = { step: this.#state.step, at: context.now() };
		await this.#tell({
			event: "rolled back",
			step: step + 1,
			checkpoint: newest.name,
			learning_rate_scale: this.#state.lrScale,
			reason: why.message,
		});
	}

	/** What a guard did, for the journal and the reader. */
	async #tell({ event, step, reason, ...more }: { event: string; step: number; reason: string; [key: string]: unknown }) {
		const { context } = this.#options;
		await context.journal({ event, step, reason, ...more });
		context.log(`${context.name}: step ${step}: ${event}: ${reason}`);
	}

	/** Validates where it is time to, and publishes the row of the newest step. */
	async #endStep(metrics: JsonLinesFile, events: EventWriter): Promise<void> {
		const { context, config, trainer, validation } = this.#options;
		const state = this.#state;
		const { best, step } = state;
		const { totalSteps } = this.#plan;
		const row = state.pending!;
		if (validation && config.validation && (step % config.validation.every_steps === 0 || step === totalSteps)) {
			row.eval_loss = await validationLoss({ ...this.#options, microBatchTokens: this.#microBatchTokens }, validation);
			if (row.eval_loss < best.loss) {
				Object.assign(best, { loss: row.eval_loss, step, misses: 0 });
				if (config.validation.keep === "best") best.parameters = trainer.parameters();
			} else {
				best.misses += 1;
			}
		}
		delete state.pending;
		state.rows.push(row);
		await metrics.append(row);
		for (const [tag, value] of Object.entries(row)) {
			if (tag !== "step" && value !== undefined) events.scalar(tag, value, step);
		}
		context.progress.update({
			stage: context.name,
			step,
			total: totalSteps,
			loss: row.loss,
			tokensPerSecond: row.tokens_per_second,
		});
		if (this.#outOfPatience()) {
			context.log(`${context.name}: stopped at step ${step} of ${totalSteps}: no better validation loss since step ${best.step}`);
		}
	}

	#outOfPatience(): boolean {
		const patience = this.#options.config.validation?.patience;
		return patience !== undefined && this.#state.best.misses >= patience;
	}

	/** Not after the last step: what was trained is written right then. */
	#saveIsDue(): boolean {
		const { context, config } = this.#options;
		const { step } = this.#state;
		if (step === this.#plan.totalSteps || this.#outOfPatience()) return false;
		if (config.save_steps !== undefined && step % config.save_steps === 0) return true;
		return config.save_minutes > 0 && context.now() - this.#saved.at >= config.save_minutes * 60;
	}

	async #save(reason: "start" | "interval" | "stopped", events: EventWriter): Promise<void> {
		const { context, config, trainer, checkpoints, checkpointBytes } = this.#options;
		const { step, rows, pending, best, tokens, skipped, rollbacks, lrScale } = this.#state;
		if (step === this.#saved.step && reason !== "start") return;
		const { disk_wait_minutes: patience } = config.guards;
		if (reason !== "stopped") await waitForRoom(context, 1.1 * checkpointBytes + spareBytes, 60 * patience);
		const began = context.now();
		events.flush();
		const { m, v, lossScale, lossScaleSteps } = trainer.optimizerState();
		const name = await checkpoints.save({
			state: {
				step,
				rows,
				...(pending ? { pending } : {}),
				best: { loss: Number.isFinite(best.loss) ? best.loss : null, step: best.step, misses: best.misses },
				tokens,
				...(skipped > 0 ? { skipped } : {}),
				...(rollbacks > 0 ? { rollbacks, lrScale } : {}),
				seconds: context.now() - this.#started,
				microBatchTokens: this.#microBatchTokens,
				...(lossScale === undefined ? {} : { lossScale, lossScaleSteps: lossScaleSteps ?? 0 }),
				data: { ...this.#plan.cursor(step), seed: this.#seed },
				dropout: { seed: this.#seed, step: step - skipped },
				schedule: this.#schedule,
			},
			parameters: trainer.parameters(),
			optimizer: { m, v },
			...(best.parameters ? { best: best.parameters } : {}),
		});
		this.#saved = { step, at: context.now() };
		const seconds = Number((context.now() - began).toFixed(3));
		this.#limit.saveTook(seconds);
		await context.journal({ event: "checkpoint", checkpoint: name, step, reason, seconds });
	}

	#restore({ state, parameters, optimizer, best }: Checkpoint): void {
		const { trainer } = this.#options;
		const { step, rows, pending, tokens, lossScale, lossScaleSteps, skipped = 0, rollbacks = 0, lrScale = 1 } = state;
		trainer.setParameters(parameters);
		trainer.setOptimizerState({ step: step - skipped, ...optimizer, lossScale, lossScaleSteps });
		Object.assign(this.#state, {
			step,
			rows: [...rows],
			pending,
			best: { ...state.best, loss: state.best.loss ?? Number.POSITIVE_INFINITY, ...(best ? { parameters: best } : {}) },
			tokens,
			skipped,
			rollbacks,
			lrScale,
		});
	}
}

/** Room beside a checkpoint: the journal, metrics, what a stage leaves. */
const spareBytes = 1 << 20;

function metricRow(step: number, epoch: number, learningRate: number, tokensPerSecond: number, result: StepResult): MetricRow {
	const row: MetricRow = {
		step,
		epoch: Number(epoch.toFixed(6)),
		loss: result.loss,
		grad_norm: result.gradNorm,
		learning_rate: learningRate,
		tokens_per_second: Math.round(tokensPerSecond),
	};
	if (result.rewardsMargins !== undefined) {
		row["rewards/chosen"] = result.rewardsChosen;
		row["rewards/rejected"] = result.rewardsRejected;
		row["rewards/accuracies"] = result.rewardsAccuracies;
		row["rewards/margins"] = result.rewardsMargins;
	}
	return row;
}

/** Mean over the validation items, weighted as a training step would weigh them. */
async function validationLoss<Item>(
	{ context, set, trainer, microBatchTokens }: LoopOptions<Item>,
	items: readonly Item[],
): Promise<number> {
	const microBatches = packed(set, items, microBatchTokens);
	return (await trainer.evaluate(set.batch(items, microBatches), { signal: context.signal })).loss;
}
