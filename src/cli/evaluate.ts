/**
 * `fintune evaluate`: a model on tasks, or stored generations of a task.
 * @module
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import type { DtypeName } from "../engine/types.js";
import { FintuneError } from "../errors.js";
import { evaluationTable } from "../report/table.js";
import { evaluate } from "../stages/evaluate.js";
import { makeFolder } from "../stages/files.js";
import { LeakCheck } from "../stages/leaks.js";
import { evaluateSchema } from "../stages/schema.js";
import { ModelSession } from "../stages/session.js";
import { taskDataDirs } from "../tasks/data_dirs.js";
import { type EvaluationDocument, evaluateGenerationsFile, everyMetricCrashed } from "../tasks/evaluate_generations.js";
import { taskByName } from "../tasks/registry.js";
import type { Split } from "../tasks/task.js";
import { compareEvaluations } from "./compare.js";
import { addModelOptions, addSamplingOptions, collect, oneOf, type SamplingFlags, wholeNumber } from "./options.js";
import { printJson, stopSignal, terminalProgress, terminalWidth } from "./terminal.js";

interface EvaluateFlags extends SamplingFlags {
	model?: string;
	adapter: string[];
	task: string[];
	data: string[];
	split: Split;
	limit?: number;
	chatTemplate?: boolean;
	generations?: string;
	compare?: string[];
	out?: string;
	json?: boolean;
	device?: string;
	dtype?: DtypeName;
	threads?: number;
}

export function addEvaluate(program: Command): Command {
	return addSamplingOptions(addModelOptions(program.command("evaluate")))
		.description("score a model, or stored generations, on tasks of the leaderboard")
		.option("--model <dir>", "Hugging Face folder, hub id in the local cache, or tiny")
		.option("--adapter <dir>", "PEFT adapter to stack on the model (repeatable, in order)", collect, [])
		.option("--task <name...>", "task names", (value: string, previous: string[] | undefined) => [...(previous ?? []), value])
		.option("--data <dir>", "folder with task data (repeatable)", collect, [])
		.option("--split <split>", "train, valid or test", oneOf("train", "valid", "test"), "test")
		.option("--limit <n>", "a seeded choice of so many rows", wholeNumber)
		.option("--chat-template", "wrap the prompts in the chat template")
		.option("--generations <file>", 'score these rows {"doc", "output"} instead of a model')
		.option("--compare <evaluation...>", "test two evaluations of the same documents: folders of evaluations, or generations")
		.option("--out <dir>", "keep generations and scores here")
		.option("--json", "one JSON document on stdout")
		.action(async ({ task = [], ...others }: Partial<EvaluateFlags>) => {
			const flags = { ...others, task } as EvaluateFlags;
			if (flags.compare !== undefined) return compareTwo(flags.compare, flags);
			if (task.length === 0) {
				throw new FintuneError("E_USAGE", "evaluate needs a task", { expected: "--task NAME", hint: "fintune tasks lists them" });
			}
			return flags.generations === undefined ? fromModel(flags) : fromGenerations(flags, flags.generations);
		});
}

function compareTwo(paths: readonly string[], { task, json }: EvaluateFlags): Promise<void> {
	const [a, b] = paths;
	if (a === undefined || b === undefined || paths.length > 2) {
		throw new FintuneError("E_USAGE", "--compare takes two evaluations", { expected: "--compare A B", found: `${paths.length}` });
	}
	return compareEvaluations(a, b, task, json ?? false);
}

async function fromGenerations(flags: EvaluateFlags, file: string): Promise<void> {
	if (flags.task.length !== 1) {
		throw new FintuneError("E_USAGE", "--generations belong to one task", {
			expected: "one --task",
			found: `${flags.task.length}`,
		});
	}
	const task = taskByName(flags.task[0]!);
	const { document } = await evaluateGenerationsFile(task, file);
	if (flags.json) printJson(document);
	else printDocument(document);
	if (everyMetricCrashed(document)) {
		throw new FintuneError("E_SCORING", "the leaderboard's code crashes on these generations, in every metric", {
			where: file,
			found: Object.values(document.errors)[0] ?? "no metric",
		});
	}
}

function printDocument({ leaderboard, strict, errors }: EvaluationDocument): void {
	for (const [name, value] of Object.entries(leaderboard)) {
		const corrected = strict[name];
		process.stdout.write(`${name}: ${show(value)}${corrected === undefined ? "" : ` (strict ${show(corrected)})`}\n`);
	}
	for (const [name, reason] of Object.entries(errors)) process.stdout.write(`${name}: ${reason}\n`);
}

const show = (value: number | null): string => (value === null ? "null" : value.toFixed(4));

async function fromModel(flags: EvaluateFlags): Promise<void> {
	if (flags.model === undefined) {
		throw new FintuneError("E_USAGE", "evaluate needs a model or generations", { expected: "--model DIR or --generations FILE" });
	}
	const progress = terminalProgress();
	const session = new ModelSession(flags.model, flags.adapter, {
		device: flags.device ?? "auto",
		dtype: flags.dtype ?? "auto",
		threads: flags.threads ?? 0,
	});
	const folder = flags.out ?? (await mkdtemp(join(tmpdir(), "fintune-evaluate-")));
	try {
		await makeFolder(folder);
		const config = evaluateSchema.parse({
			name: "evaluate",
			type: "evaluate",
			tasks: flags.task.map((name) => taskByName(name).name),
			split: flags.split,
			chat_template: flags.chatTemplate ?? false,
			...defined({
				limit: flags.limit,
				max_new_tokens: flags.maxNewTokens,
				temperature: flags.temperature,
				top_k: flags.topK,
				top_p: flags.topP,
				min_p: flags.minP,
				repetition_penalty: flags.repetitionPenalty,
				generation_batch_size: flags.batchSize,
			}),
		});
		const outcome = await evaluate(
			{
				name: "evaluate",
				folder,
				session,
				seed: flags.seed ?? 42,
				dataDirs: taskDataDirs(flags.data),
				leaks: new LeakCheck(taskDataDirs(flags.data)),
				resolvePath: (path) => path,
				stageFolder: () => folder,
				progress,
				log: (message) => progress.message(message),
				now: () => performance.now() / 1000,
				signal: stopSignal(),
			},
			config,
		);
		if (flags.json) printJson(JSON.parse(await readFile(join(folder, "scores.json"), "utf8")));
		else process.stdout.write(`${evaluationTable([outcome.evaluation!], terminalWidth())}\n`);
	} finally {
		await session.close();
		if (flags.out === undefined) await rm(folder, { recursive: true, force: true });
	}
}

const defined = (values: Record<string, unknown>): Record<string, unknown> =>
	Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
