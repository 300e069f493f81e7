/**
 * A model's answers to the rows of a task: longest prompts first, kept on disk as they come, so that an interrupted
 * evaluation goes on where it stopped. Answers do not depend on which others are made beside them, so the ones kept and
 * the ones made later are those of an uninterrupted run.
 * @module
 */
import type { Model } from "../engine/model.js";
import type { GenerateStatistics } from "../engine/types.js";
import type { Task, TaskRow } from "../tasks/task.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { StageContext } from "./context.js";
import { KeptAnswers } from "./kept_answers.js";
import { OutputWatch } from "./output_watch.js";
import { fittingPrompt, promptIds, type Shot, samplingOf, stopIdsOf } from "./prompts.js";
import type { EvaluateConfig } from "./schema.js";

/** What the model answered to one row. */
export interface Answer {
	outputIds: number[];
	finishReason: "stop" | "length";
	/** The prompt as asked: of a later turn of a dialogue, filled with the answers before. */
	query: string;
	/** The left end of the prompt was cut away. */
	cut: boolean;
}

interface Work {
	context: StageContext;
	model: Model;
	tokenizer: Tokenizer;
	task: Task;
	config: EvaluateConfig;
	shots: readonly Shot[];
}

/** Answers to `rows`, in their order; turns of a dialogue one after the other, each with the answers before it. */
export async function answerRows(work: Work, rows: readonly TaskRow[]): Promise<Answer[]> {
	const { context, task } = work;
	const kept = await KeptAnswers.open(context, task.name, rows.length);
	const answers: Answer[] = new Array(rows.length);
	const progress = progressOf(context, task, rows.length, kept.found.size);
	const watch = new OutputWatch((message) => context.log(`${task.name}: ${message}`));
	try {
		for (const turn of turnsOf(task, rows)) {
			const asked = turn.map((index) => ({ index, ...question(work, rows, index, answers) }));
			for (const { index, query, cut } of asked) {
				const answer = kept.found.get(index);
				if (!answer) continue;
				answers[index] = { outputIds: answer.output_ids, finishReason: answer.finish_reason, query, cut };
				watch.add(answers[index]);
			}
			const open = asked.filter(({ index }) => answers[index] === undefined).sort((a, b) => b.ids.length - a.ids.length);
			await generate(work, open, answers, { kept, progress, watch });
		}
	} finally {
		context.progress.end();
		await kept.close();
	}
	const cut = answers.filter((answer) => answer.cut).length;
	if (cut > 0) context.log(`${task.name}: ${cut} of ${rows.length} prompts cut from the left to fit`);
	return answers;
}

interface Question {
	index: number;
	ids: number[];
	query: string;
	cut: boolean;
}

async function generate(
	{ context, model, tokenizer, task, config }: Work,
	questions: readonly Question[],
	answers: Answer[],
	{
		kept,
		progress,
		watch,
	}: { kept: KeptAnswers; progress: { finished(): void; tokens(total: number): void }; watch: OutputWatch },
): Promise<void> {
	await model.generate(
		questions.map(({ index, ids }) => ({ inputIds: ids, stream: index })),
		{
			...samplingOf(config, context.seed),
			maxNewTokens: config.max_new_tokens ?? task.defaultMaxNewTokens,
			stopIds: stopIdsOf(model, tokenizer, config.chat_template),
		},
		{
			onFinished: (generation) => {
				const { index, query, cut } = questions[generation.index]!;
				const outputIds = Array.from(generation.outputIds);
				answers[index] = { outputIds, finishReason: generation.finishReason, query, cut };
				watch.add(answers[index]);
				kept.add({ index, output_ids: outputIds, finish_reason: generation.finishReason });
				progress.finished();
			},
			onTokens: progress.tokens,
			onStatistics: (statistics) => context.log(`${task.name}: ${whatItTook(statistics)}`),
			...(context.signal ? { signal: context.signal } : {}),
		},
	);
}

function whatItTook(s: GenerateStatistics): string {
	const prompts = `${s.promptTokens} prompt tokens, of which ${s.sharedTokens} were beginnings already read for another row`;
	if (s.decodeLaunches === 0) return prompts;
	const launches = Math.round(s.decodeLaunches / s.decodeSteps);
	return `${prompts}; ${s.decodeSteps} decoding steps of ${launches} launches, ${s.replayedSteps} of them replayed`;
}

function question({ model, tokenizer, task, config, shots }: Work, rows: readonly TaskRow[], index: number, answers: Answer[]) {
	const row = rows[index]!;
	let { query } = row;
	if (task.followUp) {
		const { dialogue, turn } = task.followUp.place(row.doc);
		const earlier: string[] = [];
		for (const [i, other] of rows.entries()) {
			const place = task.followUp.place(other.doc);
			if (place.dialogue !== dialogue || place.turn >= turn) continue;
			earlier[place.turn] = tokenizer.decode(answers[i]!.outputIds, { skipSpecialTokens: true });
		}
		query = task.followUp.query(query, turn, earlier);
	}
	const { ids, cut } = fittingPrompt(promptIds(query, tokenizer, config.chat_template, shots), row.source, task, {
		maxPositions: model.config.maxPositions,
		maxNewTokens: config.max_new_tokens ?? task.defaultMaxNewTokens,
		truncation: config.prompt_truncation,
	});
	return { ids, query, cut };
}

/** Row indices that can be answered together, in rounds: of a dialogue, one turn a round. */
function turnsOf(task: Task, rows: readonly TaskRow[]): number[][] {
	if (!task.followUp) return [rows.map((_, i) => i)];
	const rounds = new Map<number, number[]>();
	for (const [i, { doc }] of rows.entries()) {
		const { turn } = task.followUp.place(doc);
		const round = rounds.get(turn);
		if (round) round.push(i);
		else rounds.set(turn, [i]);
	}
	return [...rounds].sort(([a], [b]) => a - b).map(([, round]) => round);
}

function progressOf(context: StageContext, task: Task, total: number, alreadyThere: number) {
	const stage = `${context.name} ${task.name}`;
	const started = context.now();
	let step = alreadyThere;
	const update = (tokens?: number): void =>
		context.progress.update({
			stage,
			step,
			total,
			unit: "row",
			...(tokens === undefined ? {} : { tokensPerSecond: tokens / Math.max(1e-3, context.now() - started) }),
		});
	return {
		finished: () => {
			step += 1;
			update();
		},
		tokens: update,
	};
}
