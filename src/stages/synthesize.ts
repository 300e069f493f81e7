/**
 * Self-training, the RL iteration of arXiv 2504.13125 in its first form: the present model annotates texts with a chain
 * of thought, the answer is cut out of each sample, what agrees over several samples is kept, and the pairs go to the
 * next sft or dpo stage. Agreement as in Wang et al. 2023 (self-consistency).
 * @module
 */
import { join } from "node:path";
import { readRows } from "../data/readers.js";
import { FintuneError } from "../errors.js";
import { taskByName } from "../tasks/registry.js";
import type { Task } from "../tasks/task.js";
import { queryFor } from "../tasks/unlabelled.js";
import { openWhenFree } from "./busy_gpu.js";
import { limitRows } from "./choose_rows.js";
import type { StageContext, StageOutcome } from "./context.js";
import { writeJsonLines } from "./files.js";
import { dropKeptAnswers, KeptAnswers } from "./kept_answers.js";
import { admitted, corpusRows, LeakTally } from "./leaks.js";
import { promptIds, samplingOf, stopIdsOf } from "./prompts.js";
import { AnswerExtractor, reasoningPrompt } from "./reasoning.js";
import type { SynthesizeConfig } from "./schema.js";

interface Sample {
	output: string;
	answer: string | undefined;
	finishReason: "stop" | "length";
}

export async function synthesize(context: StageContext, config: SynthesizeConfig): Promise<StageOutcome> {
	const task = taskByName(config.task);
	context.session.tellLicence(task, context.log);
	const tally = new LeakTally(config.allow_leaks);
	const queries = limitRows(await readQueries(context, task, config, tally), config.limit, context.seed);
	const leaks = tally.note();
	if (queries.length === 0) {
		return { status: "skipped", note: ["the corpus has no text", leaks].filter(Boolean).join(": "), metrics: tally.metrics() };
	}
	const prompts = queries.map((query) => reasoningPrompt(query, config.instruction));
	const samples = await sampleAnswers(context, task, prompts, config);

	const rows: Record<string, unknown>[] = [];
	let unread = 0;
	let agreed = 0;
	samples.forEach((group, i) => {
		unread += group.filter((s) => s.answer === undefined).length;
		const winner = majority(group, config.agreement);
		if (winner === undefined) return;
		agreed += 1;
		const row = trainingRow(queries[i]!, prompts[i]!, group, winner, config);
		if (row) rows.push(row);
	});
	await writeJsonLines(
		join(context.folder, "generations", `${task.name}.jsonl`),
		samples.flatMap((group, i) =>
			group.map((s) => ({
				index: i,
				prompt: prompts[i],
				output: s.output,
				answer: s.answer ?? null,
				finish_reason: s.finishReason,
			})),
		),
	);
	await writeJsonLines(join(context.folder, "rows.jsonl"), rows);
	await dropKeptAnswers(context);
	const all = queries.length * config.samples;
	const metrics = {
		texts: queries.length,
		kept: rows.length,
		agreement: agreed / queries.length,
		unread: unread / all,
		overlong: samples.flat().filter((s) => s.finishReason === "length").length / all,
		...tally.metrics(),
	};
	const made = `${rows.length} of ${queries.length} texts kept (${unread} of ${all} samples without a readable answer)`;
	const note = [made, ...(leaks === undefined ? [] : [`${leaks} before sampling`])].join(", ");
	return rows.length === 0 ? { status: "skipped", note, metrics } : { status: "done", note, metrics };
}

async function readQueries(context: StageContext, task: Task, config: SynthesizeConfig, tally: LeakTally): Promise<string[]> {
	const { rows, leaks } = task.hasSplit("train") ? await context.leaks.taskRows(task, "train") : { rows: [], leaks: undefined };
	if (config.corpus === undefined) {
		return rows.filter((row) => tally.admit(leaks?.get(row))).map((row) => row.query);
	}
	const wording = rows.find((row) => !leaks?.has(row)) ?? (await task.load("test", context.dataDirs))[0];
	if (!wording) throw new FintuneError("E_TASK_DATA", `task ${task.name} has no row to take the wording from`);
	const queries: string[] = [];
	const files = context.resolvePath(config.corpus);
	const kinds = await context.leaks.files(files, corpusRows);
	for await (const { value, source } of admitted(readRows(files), (_, place) => kinds.get(place), tally)) {
		if (typeof value.text !== "string" || value.text.trim() === "") {
			throw new FintuneError("E_DATA_ROW", "a corpus row has no text", {
				where: `${source.file}:${source.line}`,
				expected: '{"text": "..."}',
				found: `keys ${Object.keys(value).join(", ")}`,
			});
		}
		queries.push(queryFor(task, wording, value.text));
	}
	return queries;
}

async function sampleAnswers(
	context: StageContext,
	task: Task,
	prompts: readonly string[],
	config: SynthesizeConfig,
): Promise<Sample[][]> {
	const model = await openWhenFree(context);
	const tokenizer = await context.session.tokenizer();
	const extractor = new AnswerExtractor(task.labels, config.answer_pattern);
	// Each sample has a stream of its own, so a sample does not depend on which others there are.
	const requests = prompts.flatMap((prompt, i) => {
		const inputIds = promptIds(prompt, tokenizer, config.chat_template);
		return Array.from({ length: config.samples }, (_, k) => ({ inputIds, stream: i * config.samples + k }));
	});
	const kept = await KeptAnswers.open(context, task.name, requests.length);
	const answers = new Map(kept.found);
	const open = requests.filter(({ stream }) => !answers.has(stream));
	try {
		await model.generate(
			open,
			{
				...samplingOf(config, context.seed),
				maxNewTokens: config.max_new_tokens ?? 192,
				stopIds: stopIdsOf(model, tokenizer, config.chat_template),
			},
			{
				onFinished: ({ index: position, outputIds, finishReason }) => {
					const index = open[position]!.stream;
					const answer = { index, output_ids: Array.from(outputIds), finish_reason: finishReason };
					answers.set(index, answer);
					kept.add(answer);
					context.progress.update({ stage: context.name, step: answers.size, total: requests.length, unit: "sample" });
				},
				...(context.signal ? { signal: context.signal } : {}),
			},
		);
	} finally {
		context.progress.end();
		await kept.close();
	}
	return prompts.map((_, i) =>
		Array.from({ length: config.samples }, (_, k) => {
			const { output_ids: ids, finish_reason: finishReason } = answers.get(i * config.samples + k)!;
			const output = tokenizer.decode(ids, { skipSpecialTokens: true }).trim();
			return { output, answer: finishReason === "stop" ? extractor.extract(output) : undefined, finishReason };
		}),
	);
}

/** The answer that at least `agreement` of all samples give; the first to reach the highest count among equals. */
export function majority(samples: readonly { answer: string | undefined }[], agreement: number): string | undefined {
	const counts = new Map<string, number>();
	for (const { answer } of samples) if (answer !== undefined) counts.set(answer, (counts.get(answer) ?? 0) + 1);
	const [best] = [...counts].sort((a, b) => b[1] - a[1]);
	// A share such as 0.55 of 20 is a hair more than 11 in binary.
	return best && best[1] >= agreement * samples.length - 1e-9 ? best[0] : undefined;
}

function trainingRow(
	query: string,
	prompt: string,
	group: readonly Sample[],
	answer: string,
	config: SynthesizeConfig,
): Record<string, unknown> | undefined {
	const agreeing = group.find((s) => s.answer === answer)!;
	const [asked, completion] = config.keep_reasoning ? [prompt, agreeing.output] : [query, answer];
	if (config.pairs === "sft") return { prompt: asked, completion: ` ${completion}` };
	const rejected = group.find((s) => s.answer !== answer);
	if (!rejected) return undefined;
	return {
		prompt: asked,
		chosen: ` ${completion}`,
		rejected: ` ${rejected.output}`,
		rejected_finish_reason: rejected.finishReason,
	};
}
