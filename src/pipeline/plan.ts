/**
 * What a pipeline would do: rows, tokens, steps and bytes of every stage, without writing anything and without weights.
 * @module
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { resolveDevice } from "../engine/device.js";
import { planTraining, resolveModel, totalBytes } from "../engine/model.js";
import { readModelConfig } from "../engine/model_config.js";
import type { MemoryPlan } from "../engine/types.js";
import { evaluatedRows, evaluatedTasks } from "../stages/choose_rows.js";
import type { StageContext } from "../stages/context.js";
import { LeakCheck, leakCacheFolder } from "../stages/leaks.js";
import { availableMemory, mostMicroBatchTokens, usableShare, wantedMicroBatchTokens } from "../stages/memory.js";
import type { StageConfig } from "../stages/schema.js";
import { ModelSession } from "../stages/session.js";
import { planSteps } from "../stages/step_plan.js";
import { readTrainingData, type TrainingData } from "../stages/training_data.js";
import { taskDataDirs } from "../tasks/data_dirs.js";
import { type LoadedPipeline, modelPath, resolvedConfig, resolvePath } from "./config.js";
import type { PipelineConfig } from "./schema.js";
import type { RunOptions } from "./types.js";

export interface StagePlan {
	name: string;
	type: string;
	when?: string;
	until?: string;
	/** Rows answered, or drawn in the first epoch of a training; absent where an earlier stage decides. */
	rows?: number;
	/** Tokens of the training rows drawn in the first epoch. */
	tokens?: number;
	steps?: number;
	microBatchTokens?: number;
	/** Peak bytes by kind of one micro-batch. */
	memory?: MemoryPlan;
	/** Where memory is short: whether a run would take fewer tokens at a time, or refuse. */
	short?: "smaller" | "refused";
	notes: string[];
}

export interface PipelinePlan {
	name: string;
	model: string;
	memoryAvailable: number;
	stages: StagePlan[];
	/** What happens after the stages, as sentences. */
	after: string[];
}

/** Is given the rows of each training stage that are there before the run. */
export type OnData = (stage: StagePlan, data: TrainingData) => void;

/** Plans every stage. @throws FintuneError for data and models that a run would refuse */
export async function planPipeline(
	pipeline: LoadedPipeline,
	options: Pick<RunOptions, "device" | "dtype" | "threads" | "dataDirs"> = {},
	onData: OnData = () => {},
): Promise<PipelinePlan> {
	const config = resolvedConfig(pipeline, options);
	const model = resolveModel(modelPath(pipeline));
	await readModelConfig(model.dir);
	const dataDirs = taskDataDirs([
		...(options.dataDirs ?? []),
		...(config.data_dir === undefined ? [] : [resolvePath(pipeline, config.data_dir)]),
	]);
	const session = new ModelSession(model.dir, [], { device: config.device, dtype: config.dtype, threads: config.threads });
	const leaks = new LeakCheck(dataDirs, leakCacheFolder());
	const ranks: { r: number; targetModules?: readonly string[] | "all-linear" }[] = [];
	const stages: StagePlan[] = [];
	const device = resolveDevice(config.device).name;
	const memoryAvailable = availableMemory(device);
	for (const stage of config.stages) {
		const plan: StagePlan = {
			name: stage.name,
			type: stage.type,
			...(stage.when === undefined ? {} : { when: stage.when }),
			...(stage.type === "dpo" && stage.until !== undefined ? { until: stage.until } : {}),
			notes: [],
		};
		stages.push(plan);
		if (stage.type === "evaluate") {
			const tasks = await evaluatedTasks(stage, dataDirs);
			plan.rows = evaluatedRows(tasks, stage, config.seed).reduce((sum, rows) => sum + rows.length, 0);
			continue;
		}
		if (stage.type === "synthesize") {
			plan.notes.push(`${stage.samples} samples for each text of ${stage.corpus ?? `the train split of ${stage.task}`}`);
			continue;
		}
		const trained = stage.lora ? [...ranks, { r: stage.lora.r, targetModules: stage.lora.target_modules }] : [];
		const lengths = await trainingRows(plan, stage, session, pipeline, { dataDirs, leaks }, onData);
		const longest = Math.min(stage.max_length, lengths.length > 0 ? Math.max(...lengths) : stage.max_length);
		const whole = lengths.length > 0 ? lengths.reduce((a, b) => a + b, 0) : Number.POSITIVE_INFINITY;
		const auto = stage.micro_batch_tokens === "auto";
		plan.microBatchTokens = wantedMicroBatchTokens(
			longest,
			whole,
			auto ? mostMicroBatchTokens(device) : Number(stage.micro_batch_tokens),
		);
		plan.memory = await planTraining(model.dir, {
			device: config.device,
			dtype: config.dtype,
			threads: config.threads || undefined,
			adapters: trained,
			trainer: { parameters: stage.lora ? "lora" : "full", recompute: stage.recompute },
			shape: {
				lengths: fill(plan.microBatchTokens, longest, stage.type === "dpo"),
				objective: stage.type === "dpo" ? (stage.loss_type === "kto" ? "kto" : "dpo") : "sft",
			},
		});
		const bytes = totalBytes(plan.memory);
		if (auto && bytes > usableShare * memoryAvailable) {
			plan.short = "smaller";
			plan.notes.push("micro_batch_tokens auto: memory is short, so a run would take fewer and round otherwise");
		} else if (!auto && bytes > memoryAvailable) {
			plan.short = "refused";
			plan.notes.push("micro_batch_tokens does not fit the memory that is available: a run would refuse it; auto fits");
		}
		if (stage.lora) ranks.push(...trained.slice(-1));
	}
	return { name: config.name, model: config.model, memoryAvailable, stages, after: afterStages(config) };
}

function afterStages({ promote, keep }: Pick<PipelineConfig, "promote" | "keep">): string[] {
	const after: string[] = [];
	if (promote) {
		const opponent = promote.against === "champion" ? "the champion" : promote.against;
		after.push(
			`promote: moves ${promote.champion ?? "the link champion beside the run"} here where ${promote.metric} is better than that of ${opponent} by ${promote.min_gain} or more with p < ${promote.significance}; status 3 otherwise`,
		);
	}
	const limits = Object.entries(keep ?? {}).map(([unit, most]) => `${most} ${unit}`);
	if (limits.length > 0) after.push(`keep: deletes runs of this pipeline beside this one beyond ${limits.join(", ")}`);
	return after;
}

/** Lengths of sequences that fill a micro-batch; pairs come in twos. */
function fill(tokens: number, longest: number, pairs: boolean): number[] {
	const lengths: number[] = [];
	for (let left = tokens; left > 0; left -= longest) lengths.push(Math.min(longest, left));
	if (pairs && lengths.length % 2 === 1) lengths.push(longest);
	return lengths;
}

/** Counts of the rows that are there before the run; empty where earlier stages make them or there is no tokenizer. */
async function trainingRows(
	plan: StagePlan,
	stage: Extract<StageConfig, { data: unknown }>,
	session: ModelSession,
	pipeline: LoadedPipeline,
	data: Pick<StageContext, "dataDirs" | "leaks">,
	onData: OnData,
): Promise<number[]> {
	if (stage.data.some((s) => "from" in s)) {
		plan.notes.push("its rows come from earlier stages");
		return [];
	}
	const { dir } = session.folder();
	if (!existsSync(join(dir, "tokenizer.json")) && stage.data.some((s) => "task" in s)) {
		plan.notes.push("no tokenizer in the model folder: tokens are not known");
		return [];
	}
	const context: StageContext = {
		name: stage.name,
		folder: "",
		identity: "",
		session,
		seed: pipeline.config.seed,
		...data,
		resolvePath: (path) => resolvePath(pipeline, path),
		stageFolder: () => "",
		progress: { update() {}, message() {}, end() {} },
		log: (message) => plan.notes.push(message.replace(`${stage.name}: `, "")),
		now: () => 0,
	};
	const training = await readTrainingData(context, stage);
	onData(plan, training);
	const { sequences, pairs, draw } = training;
	const lengths = [
		...sequences.map((s) => [s.inputIds.length]),
		...pairs.map((p) => [p.promptIds.length + p.chosenIds.length, p.promptIds.length + p.rejectedIds.length]),
	];
	const drawn = draw ? draw(0).map((row) => lengths[row]!) : lengths;
	if (draw) plan.notes.push(`weights draw ${drawn.length} rows an epoch, of ${lengths.length}`);
	plan.rows = drawn.length;
	plan.tokens = drawn.flat().reduce((a, b) => a + b, 0);
	plan.steps = planSteps(
		{ items: sequences.length > 0 ? sequences : pairs, ...(draw ? { draw } : {}) },
		stage,
		context.seed,
	).totalSteps;
	return lengths.flat();
}
