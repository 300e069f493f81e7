/**
 * Evaluation: the model answers every row of the tasks, and the answers are scored as the leaderboard does, beside the
 * corrected scores, with bootstrap intervals and a test against the best trivial baseline.
 * @module
 */
import { join } from "node:path";
import type { SampleGeneration, TaskReport } from "../report/types.js";
import { averages } from "../tasks/averages.js";
import type { ScoredBaseline } from "../tasks/baselines/baseline.js";
import { baselineCacheFolder } from "../tasks/baselines/cache.js";
import { againstBest, bestBaseline, type Scoring } from "../tasks/baselines/compare.js";
import { trivialBaselines } from "../tasks/baselines/trivial.js";
import type { Split, Task, TaskRow, TaskScores } from "../tasks/task.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { type Answer, answerRows } from "./answers.js";
import { openWhenFree } from "./busy_gpu.js";
import { evaluatedRows, evaluatedTasks } from "./choose_rows.js";
import type { StageContext, StageOutcome } from "./context.js";
import { writeJson, writeJsonLines } from "./files.js";
import { dropKeptAnswers } from "./kept_answers.js";
import { shareRepetitive } from "./output_watch.js";
import { shotsOf } from "./prompts.js";
import type { EvaluateConfig } from "./schema.js";

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
	/** The left end of the prompt was cut away (`prompt_truncation: leaderboard`). */
	cut?: true;
	/** The prompt was wrapped by the chat template. */
	chat_template?: true;
	doc: Record<string, unknown>;
}

/** Rows shown in the report, per task. */
const samplesPerTask = 3;

/** Everything known of one evaluated task. */
interface Evaluated {
	task: Task;
	rows: readonly TaskRow[];
	generations: readonly StoredGeneration[];
	scores: TaskScores;
	overlong: number;
	repetition: number;
	baselines: readonly ScoredBaseline[];
	/** By each way of scoring, the model against the best of the baselines. */
	against: Record<Scoring, ReturnType<typeof againstBest>>;
}

/** Runs the tasks of an evaluate stage one after the other. */
export async function evaluate(context: StageContext, config: EvaluateConfig): Promise<StageOutcome> {
	const tasks = await evaluatedTasks(config, context.dataDirs);
	for (const { task } of tasks) context.session.tellLicence(task, context.log);
	const chosen = evaluatedRows(tasks, config, context.seed);
	const evaluated: Evaluated[] = [];
	for (const [t, { task }] of tasks.entries()) evaluated.push(await evaluateTask(context, config, task, chosen[t]!));

	const reports = evaluated.map((one) => taskReport(one, config.scoring));
	const scores = Object.fromEntries(evaluated.map((one) => [one.task.name, scoresDocument(one, config.split)]));
	await writeJson(join(context.folder, "averages.json"), averagesOf(evaluated));
	await writeJson(join(context.folder, "scores.json"), scores);
	await dropKeptAnswers(context);

	const generations = evaluated.flatMap((one) => one.generations);
	const tokenizer = await context.session.tokenizer();
	return {
		status: "done",
		metrics: {
			...Object.fromEntries(evaluated.flatMap(metricsOf)),
			overlong: shareOverlong(generations),
			repetition: shareRepetitive(generations),
		},
		evaluation: { stage: context.name, split: config.split, tasks: reports },
		samples: evaluated.flatMap((one) => samplesOf(context, one, tokenizer)),
		read: tasks.map(({ task }) => ({ task: task.name, split: config.split })),
	};
}

async function evaluateTask(
	context: StageContext,
	config: EvaluateConfig,
	task: Task,
	rows: readonly TaskRow[],
): Promise<Evaluated> {
	const model = await openWhenFree(context);
	const tokenizer = await context.session.tokenizer();
	const shots = await shotsOf(context, task, config);
	const answers = await answerRows({ context, model, tokenizer, task, config, shots }, rows);
	const generations = rows.map((row, i) => storedGeneration(row, i, answers[i]!, tokenizer, config.chat_template));
	const docs = rows.map((row) => row.doc);
	const outputs = generations.map((g) => g.output);
	const scores = task.score(docs, outputs);
	markCorrect(generations, scores);
	await writeJsonLines(join(context.folder, "generations", `${task.name}.jsonl`), generations);

	const { baselines } = await trivialBaselines(task, config.split, rows, context.dataDirs, baselineCacheFolder());
	const against = {
		leaderboard: againstBest(task, docs, outputs, baselines, "leaderboard"),
		strict: againstBest(task, docs, outputs, baselines, "strict"),
	};
	const verdict = against[config.scoring]?.sentence;
	if (verdict !== undefined) context.log(`${task.name}: ${verdict}`);
	return {
		task,
		rows,
		generations,
		scores,
		overlong: shareOverlong(generations),
		repetition: shareRepetitive(generations),
		baselines,
		against,
	};
}

const shareOverlong = (generations: readonly StoredGeneration[]): number =>
	generations.filter((g) => g.finish_reason === "length").length / generations.length;

/** A task's part of scores.json. */
function scoresDocument({ generations, scores, overlong, repetition, baselines, against }: Evaluated, split: Split) {
	const cut = generations.filter((g) => g.cut).length;
	return {
		split,
		...scores,
		overlong,
		repetition,
		...(cut > 0 ? { prompts_cut: cut } : {}),
		mean_output_length: {
			tokens: meanOf(generations, (g) => g.output_ids.length),
			characters: meanOf(generations, (g) => [...g.output].length),
		},
		baselines: baselines.map(({ name, kind, scores: { n, leaderboard, strict } }) => ({ name, kind, n, leaderboard, strict })),
		against_best_baseline: { leaderboard: against.leaderboard ?? null, strict: against.strict ?? null },
	};
}

const samplesOf = ({ name }: StageContext, { task, generations }: Evaluated, tokenizer: Tokenizer): SampleGeneration[] =>
	generations.slice(0, samplesPerTask).map((g) => ({
		task: task.name,
		stage: name,
		prompt: g.query,
		expected: g.answer,
		output: tokenizer.decode(g.output_ids, { skipSpecialTokens: true }),
		finishReason: g.finish_reason,
	}));

function storedGeneration(
	row: TaskRow,
	index: number,
	{ outputIds, finishReason, query, cut }: Answer,
	tokenizer: Tokenizer,
	chatTemplate: boolean,
): StoredGeneration {
	return {
		index,
		query,
		answer: row.answer,
		output: tokenizer.decode(outputIds, { skipSpecialTokens: true }).trim(),
		output_ids: outputIds,
		finish_reason: finishReason,
		...(cut ? { cut: true as const } : {}),
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
function averagesOf(evaluated: readonly Evaluated[]): Record<Scoring, unknown> {
	const by = (scoring: Scoring) =>
		averages(evaluated.map(({ task, scores }) => ({ task, value: scores[scoring][task.headline] ?? null })));
	return { leaderboard: by("leaderboard"), strict: by("strict") };
}

function meanOf<T>(items: readonly T[], value: (item: T) => number): number {
	return items.reduce((sum, item) => sum + value(item), 0) / items.length;
}

/** `task.metric` for conditions: the board's values, `strict_metric` beside them, overlong and repetition. */
function metricsOf({ task, scores, overlong, repetition }: Evaluated): [string, number][] {
	const named = (prefix: string, values: Record<string, number | null>): [string, number][] =>
		Object.entries(values).flatMap(([metric, value]) =>
			value === null ? [] : [[`${task.name}.${prefix}${metric}`, value] as [string, number]],
		);
	return [
		...named("", scores.leaderboard),
		...named("strict_", scores.strict),
		[`${task.name}.overlong`, overlong],
		[`${task.name}.repetition`, repetition],
	];
}

function taskReport({ task, scores, overlong, baselines, against }: Evaluated, scoring: Scoring): TaskReport {
	const [shown, interval, other] =
		scoring === "strict"
			? ([scores.strict, scores.strictInterval, scores.leaderboard] as const)
			: ([scores.leaderboard, scores.interval, scores.strict] as const);
	const floor = bestBaseline(task, baselines, scoring);
	const verdict = against[scoring]?.sentence;
	return {
		task: task.name,
		title: task.title,
		metric: task.headline,
		n: scores.n,
		score: shown[task.headline] ?? null,
		...(interval ? { low: interval.low, high: interval.high } : {}),
		otherScoring: { name: scoring === "strict" ? "leaderboard" : "strict", score: other[task.headline] ?? null },
		overlong,
		...(task.metrics[task.headline]?.higherIsBetter === false ? { lowIsGood: true as const } : {}),
		...(typeof shown.missing === "number" ? { missing: shown.missing } : {}),
		...(floor ? { floor: { name: floor.baseline.name, score: floor.score } } : {}),
		...(verdict === undefined ? {} : { verdict }),
		all: {
			...scores.leaderboard,
			...Object.fromEntries(Object.entries(scores.strict).map(([metric, value]) => [`strict_${metric}`, value])),
		},
	};
}
