/**
 * The one training loop: every stage that trains hands it examples and gets a trained adapter or model. Order, packing,
 * schedule, validation, early stopping and metrics live here and nowhere else.
 * @module
 */
import { join } from "node:path";
import { epochOrder } from "../data/order.js";
import { packBatches } from "../data/pack.js";
import type { Trainer } from "../engine/trainer.js";
import type { StepResult, TrainingBatch } from "../engine/types.js";
import { FintuneError } from "../errors.js";
import { createEventWriter } from "../report/tensorboard.js";
import type { MetricRow, TrainingReport } from "../report/types.js";
import type { StageContext } from "./context.js";
import { JsonLinesFile } from "./files.js";
import { type LrSchedule, learningRateAt, warmupStepsOf } from "./lr_schedule.js";
import type { TrainingConfig } from "./schema.js";

/** Examples of one kind with what the loop has to know about them. */
export interface TrainingSet<Item> {
	items: readonly Item[];
	/** Tokens that item needs in a micro-batch (a pair: both answers with their prompts). */
	tokens(item: Item): number;
	/** One optimiser step over these items; micro-batches hold indices into `items`. */
	batch(items: readonly Item[], microBatches: number[][]): TrainingBatch;
	/** Indices to draw in an epoch, before shuffling (mixing weights); default: every item once. */
	draw?(epoch: number): readonly number[];
}

export interface LoopResult {
	rows: MetricRow[];
	report: TrainingReport;
	/** Step whose parameters were kept. */
	keptStep: number;
	bestEvalLoss?: number;
}

interface LoopOptions<Item> {
	context: StageContext;
	config: TrainingConfig;
	type: string;
	trainer: Trainer;
	set: TrainingSet<Item>;
	validation?: readonly Item[];
	microBatchTokens: number;
	/** Called with the first step's result before the update took effect on the next (the fresh-adapter check). */
	onFirstStep?(result: StepResult): void;
}

/**
 * Runs the loop; metrics.jsonl and TensorBoard events grow in the stage's folder as it goes. The trainer then holds the
 * kept parameters.
 */
export async function trainLoop<Item>(options: LoopOptions<Item>): Promise<LoopResult> {
	const { context, config, trainer, set } = options;
	const plan = planSteps(set, config, config.seed ?? context.seed);
	if (plan.totalSteps === 0) throw new FintuneError("E_DATA_EMPTY", "there is nothing to train on", { where: context.name });
	const schedule: LrSchedule = {
		type: config.lr_scheduler_type,
		learningRate: config.learning_rate,
		warmupSteps: warmupStepsOf(plan.totalSteps, config.warmup_steps, config.warmup_ratio),
		totalSteps: plan.totalSteps,
	};
	const metrics = await JsonLinesFile.create(join(context.folder, "metrics.jsonl"));
	const events = createEventWriter(join(context.folder, "tensorboard"));
	const rows: MetricRow[] = [];
	const best: { loss: number; step: number; parameters?: ReturnType<Trainer["parameters"]>; misses: number } = {
		loss: Number.POSITIVE_INFINITY,
		step: 0,
		misses: 0,
	};
	const started = context.now();
	let totalTokens = 0;
	let step = 0;
	try {
		for (const { epoch, items: indices } of plan.steps()) {
			const items = indices.map((i) => set.items[i]!);
			const microBatches = packed(set, items, options.microBatchTokens);
			const learningRate = learningRateAt(schedule, step);
			const before = context.now();
			const result = await trainer.step(set.batch(items, microBatches), {
				learningRate,
				...(context.signal ? { signal: context.signal } : {}),
			});
			const seconds = Math.max(1e-9, context.now() - before);
			const tokens = items.reduce((sum, item) => sum + set.tokens(item), 0);
			totalTokens += tokens;
			step += 1;
			if (step === 1) options.onFirstStep?.(result);
			const row = metricRow(step, epoch, learningRate, tokens / seconds, result);
			if (options.validation && config.validation && (step % config.validation.every_steps === 0 || step === plan.totalSteps)) {
				row.eval_loss = await validationLoss(options, options.validation);
				if (row.eval_loss < best.loss) {
					Object.assign(best, { loss: row.eval_loss, step, misses: 0 });
					if (config.validation.keep === "best") best.parameters = trainer.parameters();
				} else {
					best.misses += 1;
				}
			}
			rows.push(row);
			await metrics.append(row);
			for (const [tag, value] of Object.entries(row)) {
				if (tag !== "step" && value !== undefined) events.scalar(tag, value, step);
			}
			context.progress.update({
				stage: context.name,
				step,
				total: plan.totalSteps,
				loss: result.loss,
				tokensPerSecond: row.tokens_per_second,
			});
			if (config.validation?.patience !== undefined && best.misses >= config.validation.patience) {
				context.log(
					`${context.name}: stopped at step ${step} of ${plan.totalSteps}: no better validation loss since step ${best.step}`,
				);
				break;
			}
		}
	} finally {
		context.progress.end();
		try {
			events.close();
		} finally {
			await metrics.close();
		}
	}
	const keepBest = best.parameters !== undefined && best.step !== step;
	if (keepBest) trainer.setParameters(best.parameters!);
	const trainable = trainer.parameters().reduce((sum, p) => sum + p.data.length, 0);
	const report: TrainingReport = {
		stage: context.name,
		type: options.type,
		rows,
		seconds: context.now() - started,
		tokens: totalTokens,
		trainableParameters: trainable,
		microBatchTokens: options.microBatchTokens,
	};
	return {
		rows,
		report,
		keptStep: keepBest ? best.step : step,
		...(Number.isFinite(best.loss) ? { bestEvalLoss: best.loss } : {}),
	};
}

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

const packed = <Item>(set: TrainingSet<Item>, items: readonly Item[], budget: number): number[][] =>
	packBatches(
		items.map((item) => set.tokens(item)),
		budget,
	).map(({ indices }) => indices);

/** Mean over the validation items, weighted as a training step would weigh them. */
async function validationLoss<Item>(
	{ set, trainer, microBatchTokens }: LoopOptions<Item>,
	items: readonly Item[],
): Promise<number> {
	const microBatches = packed(set, items, microBatchTokens);
	return (await trainer.evaluate(set.batch(items, microBatches))).loss;
}

interface StepPlan {
	totalSteps: number;
	/** The items of every step in order, with the epoch reached after it. */
	steps(): Iterable<{ epoch: number; items: number[] }>;
}

/** How many steps there are and what is in them; the last batch of an epoch may be smaller. */
export function planSteps(
	set: Pick<TrainingSet<unknown>, "items" | "draw">,
	config: Pick<TrainingConfig, "batch_size" | "max_steps" | "num_train_epochs" | "shuffle">,
	seed: number,
): StepPlan {
	const draw = set.draw ?? (() => set.items.map((_, i) => i));
	const perEpoch = Math.ceil(draw(0).length / config.batch_size);
	const totalSteps = config.max_steps ?? Math.ceil((config.num_train_epochs ?? 1) * perEpoch);
	return {
		totalSteps: perEpoch === 0 ? 0 : totalSteps,
		*steps() {
			let done = 0;
			if (perEpoch === 0) return;
			for (let epoch = 0; done < totalSteps; epoch++) {
				const drawn = draw(epoch);
				const order = config.shuffle ? epochOrder(drawn.length, seed, epoch) : drawn.map((_, i) => i);
				for (let at = 0; at < order.length && done < totalSteps; at += config.batch_size) {
					const items = Array.from(order.slice(at, at + config.batch_size), (i) => drawn[i]!);
					done += 1;
					yield { epoch: epoch + Math.min(1, (at + items.length) / order.length), items };
				}
			}
		},
	};
}
