/**
 * What a pipeline would do: rows, tokens, steps and bytes of every stage, without writing anything and without weights.
 * @module
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { resolveDevice } from "../engine/device.js";
import { resolveModel, totalBytes, trainingPlanner } from "../engine/model.js";
import { readModelConfig } from "../engine/model_config.js";
import type { MemoryPlan } from "../engine/types.js";
import { evaluatedRows, evaluatedTasks } from "../stages/choose_rows.js";
import type { StageContext } from "../stages/context.js";
import { LeakCheck } from "../stages/leaks.js";
import {
	availableMemory,
	halvedUntilFitting,
	largestFitting,
	longestDoesNotFit,
	mostMicroBatchTokens,
	usableShare,
	wantedMicroBatchTokens,
} from "../stages/memory.js";
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
	/** Where memory is short: the micro-batch that a run would take, or the largest that it would not refuse; absent: there is none. */
	fittingMicroBatchTokens?: number;
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
	const leaks = new LeakCheck(dataDirs);
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
		const shaped = await trainingPlanner(model.dir, {
			device: config.device,
			dtype: config.dtype,
			threads: config.threads || undefined,
			adapters: trained,
			trainer: { parameters: stage.lora ? "lora" : "full", recompute: stage.recompute },
		});
		const memory = (tokens: number): MemoryPlan =>
			shaped({
				lengths: fill(tokens, longest, stage.type === "dpo"),
				objective: stage.type === "dpo" ? (stage.loss_type === "kto" ? "kto" : "dpo") : "sft",
			});
		plan.memory = memory(plan.microBatchTokens);
		const budget = auto ? usableShare * memoryAvailable : memoryAvailable;
		whereShort(plan, (tokens) => totalBytes(memory(tokens)) <= budget, longest, auto);
		if (stage.lora) ranks.push(...trained.slice(-1));
	}
	return { name: config.name, model: config.model, memoryAvailable, stages, after: afterStages(config) };
}

/** Says what a run would do, and which micro-batch does fit, where the planned one does not. */
function whereShort(plan: StagePlan, fits: (tokens: number) => boolean, longest: number, auto: boolean): void {
	const wanted = plan.microBatchTokens as number;
	if (fits(wanted)) return;
	const halved = halvedUntilFitting(fits, longest, wanted);
	plan.short = auto && halved !== undefined ? "smaller" : "refused";
	if (halved === undefined) {
		plan.notes.push(
			`one micro-batch with the longest example (${longest} tokens) does not fit the memory that is available, and a run would refuse it: ${longestDoesNotFit}`,
		);
		return;
	}
	plan.fittingMicroBatchTokens = auto ? halved : largestFitting(fits, halved, wanted);
	plan.notes.push(
		auto
			? `micro_batch_tokens auto: memory is short, so a run would take ${halved} instead of ${wanted} and round otherwise`
			: `a micro-batch of ${wanted} tokens does not fit the memory that is available, and a run would refuse it: set micro_batch_tokens: ${plan.fittingMicroBatchTokens} or auto`,
	);
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
