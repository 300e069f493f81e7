/**
 * Evaluation: the model answers every row of the tasks, and the answers are scored as the leaderboard does, beside the
 * corrected scores, with bootstrap intervals and the trivial floor.
 * @module
 */
import { join } from "node:path";
import { epochOrder } from "../data/order.js";
import type { Model } from "../engine/model.js";
import type { Generation } from "../engine/types.js";
import { FintuneError } from "../errors.js";
import type { EvaluationReport, SampleGeneration, TaskReport } from "../report/types.js";
import { averages } from "../tasks/averages.js";
import type { ScoredBaseline } from "../tasks/baselines/baseline.js";
import { baselineCacheFolder } from "../tasks/baselines/cache.js";
import { againstBest, bestBaseline } from "../tasks/baselines/compare.js";
import { trivialBaselines } from "../tasks/baselines/trivial.js";
import { taskByName } from "../tasks/registry.js";
import type { Task, TaskRow, TaskScores } from "../tasks/task.js";
import { type Tokenizer, turnEndId } from "../text/tokenizer.js";
import type { StageContext, StageOutcome } from "./context.js";
import { writeJson, writeJsonLines } from "./files.js";
import type { EvaluateConfig, GenerationConfig } from "./schema.js";

/** One line of generations/TASK.jsonl; `evaluate --generations` reads `doc` and `output` back. */
export interface StoredGeneration {
	index: number;
	query: string;
	answer: string;
	/** Stripped: what is scored. */
	output: string;
	/** As generated, without the stop token. */
	output_ids: number[];
	finish_reason: "stop" | "length";
	/** Whether it counts as right by itself. */
	correct?: boolean;
	/** The prompt was wrapped by the chat template. */
	chat_template?: true;
	doc: Record<string, unknown>;
}

/** Rows shown in the report, per task. */
const samplesPerTask = 3;

/** Runs the tasks of an evaluate stage one after the other. */
export async function evaluate(context: StageContext, config: EvaluateConfig): Promise<StageOutcome> {
	const model = await context.session.model();
	const tokenizer = await context.session.tokenizer();
	const reports: TaskReport[] = [];
	const samples: SampleGeneration[] = [];
	const metrics: Record<string, number> = {};
	const scores: Record<string, unknown> = {};
	let rowsInAll = 0;
	let overlongInAll = 0;
	for (const name of config.tasks) {
		const task = taskByName(name);
		const rows = limitRows(await task.load(config.split, context.dataDirs), config.limit, context.seed);
		const generations = await answer(context, model, tokenizer, task, rows, config);
		const stored = rows.map((row, i) => storedGeneration(row, i, generations[i]!, tokenizer, config.chat_template));
		const result = task.score(
			rows.map((row) => row.doc),
			stored.map((g) => g.output),
		);
		markCorrect(stored, result);
		await writeJsonLines(join(context.folder, "generations", `${task.name}.jsonl`), stored);
		const overlong = stored.filter((g) => g.finish_reason === "length").length;
		const trivial = await trivialBaselines(task, config.split, rows, context.dataDirs, baselineCacheFolder());
		const docs = rows.map((row) => row.doc);
		const outputs = stored.map((g) => g.output);
		const against = {
			leaderboard: againstBest(task, docs, outputs, trivial.baselines, "leaderboard"),
			strict: againstBest(task, docs, outputs, trivial.baselines, "strict"),
		};
		const verdict = against[config.scoring]?.sentence;
		scores[task.name] = {
			split: config.split,
			...result,
			overlong: overlong / rows.length,
			mean_output_length: {
				tokens: meanOf(stored, (g) => g.output_ids.length),
				characters: meanOf(stored, (g) => [...g.output].length),
			},
			floors: trivial.baselines.map(({ name: floor, kind, scores: s }) => ({
				name: floor,
				kind,
				n: s.n,
				leaderboard: s.leaderboard,
				strict: s.strict,
			})),
			against_best_floor: { leaderboard: against.leaderboard ?? null, strict: against.strict ?? null },
		};
		rowsInAll += rows.length;
		overlongInAll += overlong;
		reports.push({
			...taskReport(task, result, overlong / rows.length, trivial.baselines, config.scoring),
			...(verdict === undefined ? {} : { verdict }),
		});
		if (verdict !== undefined) context.log(`${task.name}: ${verdict}`);
		for (const [metric, value] of metricsOf(task, result, overlong / rows.length)) metrics[metric] = value;
		for (const g of stored.slice(0, samplesPerTask)) {
			samples.push({
				task: task.name,
				stage: context.name,
				prompt: g.query,
				expected: g.answer,
				output: tokenizer.decode(g.output_ids, { skipSpecialTokens: true }),
				finishReason: g.finish_reason,
			});
		}
	}
	metrics.overlong = overlongInAll / rowsInAll;
	await writeJson(join(context.folder, "averages.json"), averagesOf(reports, scores));
	await writeJson(join(context.folder, "scores.json"), scores);
	const evaluation: EvaluationReport = { stage: context.name, split: config.split, tasks: reports };
	return {
		status: "done",
		metrics,
		evaluation,
		samples,
		read: config.tasks.map((name) => ({ task: taskByName(name).name, split: config.split })),
	};
}

/** A seeded choice of `limit` rows, in the data's order, so that a limit does not mean "the easy first file". */
export function limitRows<Row>(rows: readonly Row[], limit: number | undefined, seed: number): Row[] {
	if (limit === undefined || limit >= rows.length) return [...rows];
	return Array.from(epochOrder(rows.length, seed, 0).slice(0, limit))
		.sort((a, b) => a - b)
		.map((i) => rows[i]!);
}

/** Ids that a task's prompt becomes: the query as it stands, or wrapped by the chat template. */
export const promptIds = (query: string, tokenizer: Tokenizer, chatTemplate: boolean): number[] =>
	chatTemplate
		? tokenizer.encodeChat([{ role: "user", content: query }], { addGenerationPrompt: true }).inputIds
		: tokenizer.encode(query);

/** The token ids that end an answer: the model's own, and in a conversation the template's end of turn. */
export function stopIdsOf(model: Model, tokenizer: Tokenizer, chatTemplate: boolean): number[] {
	const turnEnd = chatTemplate ? turnEndId(tokenizer) : undefined;
	return [...new Set([...model.stopIds, tokenizer.eosId, ...(turnEnd === undefined ? [] : [turnEnd])])];
}

/** Sampling options of a stage under the engine's names. */
export const samplingOf = (config: GenerationConfig, seed: number) => ({
	temperature: config.temperature,
	topK: config.top_k,
	topP: config.top_p,
	minP: config.min_p,
	repetitionPenalty: config.repetition_penalty,
	maxBatch: config.generation_batch_size,
	seed,
});

async function answer(
	context: StageContext,
	model: Model,
	tokenizer: Tokenizer,
	task: Task,
	rows: readonly TaskRow[],
	config: EvaluateConfig,
): Promise<Generation[]> {
	const maxNewTokens = config.max_new_tokens ?? task.defaultMaxNewTokens;
	const prompts = rows.map((row) => promptIds(row.query, tokenizer, config.chat_template));
	const room = model.config.maxPositions - maxNewTokens;
	const long = prompts.findIndex((ids) => ids.length > room);
	if (long >= 0) {
		const { file, line } = rows[long]!.source;
		throw new FintuneError("E_DATA_TOO_LONG", `a prompt of task ${task.name} leaves no room for ${maxNewTokens} new tokens`, {
			where: `${file}:${line}`,
			expected: `at most ${room} tokens (the model has ${model.config.maxPositions} positions)`,
			found: `${prompts[long]!.length}`,
			hint: "lower max_new_tokens or use a model with more positions",
		});
	}
	let finished = 0;
	const started = context.now();
	try {
		return await model.generate(
			prompts.map((inputIds) => ({ inputIds })),
			{
				...samplingOf(config, context.seed),
				maxNewTokens,
				stopIds: stopIdsOf(model, tokenizer, config.chat_template),
			},
			{
				onFinished: () => {
					finished += 1;
					context.progress.update({ stage: `${context.name} ${task.name}`, step: finished, total: rows.length, unit: "row" });
				},
				onTokens: (total) =>
					context.progress.update({
						stage: `${context.name} ${task.name}`,
						step: finished,
						total: rows.length,
						unit: "row",
						tokensPerSecond: total / Math.max(1e-3, context.now() - started),
					}),
				...(context.signal ? { signal: context.signal } : {}),
			},
		);
	} finally {
		context.progress.end();
	}
}

function storedGeneration(
	row: TaskRow,
	index: number,
	generation: Generation,
	tokenizer: Tokenizer,
	chatTemplate: boolean,
): StoredGeneration {
	const ids = Array.from(generation.outputIds);
	return {
		index,
		query: row.query,
		answer: row.answer,
		output: tokenizer.decode(ids, { skipSpecialTokens: true }).trim(),
		output_ids: ids,
		finish_reason: generation.finishReason,
		...(chatTemplate ? { chat_template: true as const } : {}),
		doc: row.doc,
	};
}

/** Right by itself: the task's own value for the document is perfect, or the output is the answer. */
function markCorrect(stored: readonly StoredGeneration[], scores: TaskScores): void {
	const values = scores.perDocument?.acc ?? scores.perDocument?.entity_f1;
	for (const [i, generation] of stored.entries()) {
		generation.correct = generation.output === generation.answer.trim() || values?.[i] === 1;
	}
}

/** The board's category means and overall mean by both scorings; tasks whose metric is an error are named in it. */
function averagesOf(reports: readonly TaskReport[], scores: Record<string, unknown>): Record<string, unknown> {
	const by = (scoring: "leaderboard" | "strict") =>
		averages(
			reports.map(({ task: name }) => {
				const task = taskByName(name);
				return { task, value: (scores[name] as TaskScores)[scoring][task.headline] ?? null };
			}),
		);
	return { leaderboard: by("leaderboard"), strict: by("strict") };
}

function meanOf<T>(items: readonly T[], value: (item: T) => number): number {
	return items.reduce((sum, item) => sum + value(item), 0) / items.length;
}

/** `task.metric` for conditions: the board's values, `strict_metric` beside them, and overlong. */
function metricsOf(task: Task, scores: TaskScores, overlong: number): [string, number][] {
	const named = (prefix: string, values: Record<string, number | null>): [string, number][] =>
		Object.entries(values).flatMap(([metric, value]) =>
			value === null ? [] : [[`${task.name}.${prefix}${metric}`, value] as [string, number]],
		);
	return [...named("", scores.leaderboard), ...named("strict_", scores.strict), [`${task.name}.overlong`, overlong]];
}

function taskReport(
	task: Task,
	scores: TaskScores,
	overlong: number,
	floors: readonly ScoredBaseline[],
	scoring: EvaluateConfig["scoring"],
): TaskReport {
	const chosen = scoring === "strict" ? scores.strict : scores.leaderboard;
	const interval = scoring === "strict" ? scores.strictInterval : scores.interval;
	const floor = bestBaseline(task, floors, scoring);
	return {
		task: task.name,
		title: task.title,
		metric: task.headline,
		n: scores.n,
		score: chosen[task.headline] ?? null,
		...(interval ? { low: interval.low, high: interval.high } : {}),
		overlong,
		...(task.metrics[task.headline]?.higherIsBetter === false ? { lowIsGood: true as const } : {}),
		...(typeof chosen.missing === "number" ? { missing: chosen.missing } : {}),
		...(floor ? { floor: { name: floor.baseline.name, score: floor.score } } : {}),
		all: {
			...scores.leaderboard,
			...Object.fromEntries(Object.entries(scores.strict).map(([metric, value]) => [`strict_${metric}`, value])),
		},
	};
}
