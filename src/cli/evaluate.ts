/**
 * `fintune evaluate`: a model on tasks, or stored generations of a task.
 * @module
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { addonIdentity } from "../engine/environment.js";
import { resolveModel } from "../engine/model.js";
import type { DtypeName } from "../engine/types.js";
import { FintuneError } from "../errors.js";
import { hashFolder, InputHasher, stageIdentity } from "../pipeline/identity.js";
import { evaluationTable } from "../report/table.js";
import { evaluate } from "../stages/evaluate.js";
import { makeFolder } from "../stages/files.js";
import { LeakCheck } from "../stages/leaks.js";
import { type EvaluateConfig, evaluateSchema } from "../stages/schema.js";
import { ModelSession } from "../stages/session.js";
import { taskDataDirs } from "../tasks/data_dirs.js";
import { type EvaluationDocument, evaluateGenerationsFile, everyMetricCrashed } from "../tasks/evaluate_generations.js";
import { taskByName } from "../tasks/registry.js";
import type { Split } from "../tasks/task.js";
import { compareEvaluations } from "./compare_evaluations.js";
import { addModelOptions, addSamplingOptions, collect, number, oneOf, type SamplingFlags, wholeNumber } from "./options.js";
import { printJson, stopSignal, terminalProgress, terminalWidth } from "./terminal.js";

interface EvaluateFlags extends SamplingFlags {
	model?: string;
	adapter: string[];
	task: string[];
	data: string[];
	split: Split;
	limit?: number;
	limitRule?: "seeded" | "leaderboard";
	numFewshot?: number;
	promptTruncation?: "refuse" | "leaderboard";
	scoring?: "leaderboard" | "strict";
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
		.option("--limit <n>", "so many rows of each task, below 1 a share of them", limit)
		.option("--limit-rule <rule>", "which: seeded, or leaderboard (its harness's)", oneOf("seeded", "leaderboard"))
		.option("--num-fewshot <k>", "train rows shown with their answers before each question (default 0)", wholeNumber)
		.option("--prompt-truncation <rule>", "of too long prompts: refuse (default) or leaderboard", oneOf("refuse", "leaderboard"))
		.option("--scoring <rule>", "the score that is shown first: leaderboard (default) or strict", oneOf("leaderboard", "strict"))
		.option("--chat-template", "wrap the prompts in the chat template")
		.option("--generations <file>", 'score these rows {"doc", "output"} instead of a model')
		.option("--compare <evaluation...>", "test two evaluations of the same documents: folders of evaluations, or generations")
		.option("--out <dir>", "keep generations and scores here; an interrupted evaluation goes on from what is there")
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
		const dataDirs = taskDataDirs(flags.data);
		const seed = flags.seed ?? 42;
		const config = evaluateSchema.parse({
			name: "evaluate",
			type: "evaluate",
			tasks: flags.task.map((name) => taskByName(name).name),
			split: flags.split,
			chat_template: flags.chatTemplate ?? false,
			...defined({
				limit: flags.limit,
				limit_rule: flags.limitRule,
				num_fewshot: flags.numFewshot,
				prompt_truncation: flags.promptTruncation,
				scoring: flags.scoring,
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
				identity: flags.out === undefined ? "" : await evaluationIdentity(flags, config, dataDirs, seed),
				session,
				seed,
				dataDirs,
				leaks: new LeakCheck(dataDirs),
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

/** What the answers depend on, so that those of another model or other rows are not taken for this evaluation's. */
async function evaluationIdentity(
	{ model = "", adapter, dtype, device }: EvaluateFlags,
	stage: EvaluateConfig,
	dataDirs: readonly string[],
	seed: number,
): Promise<string> {
	return stageIdentity({
		stage,
		seed,
		dtype: dtype ?? "auto",
		device: device ?? "auto",
		addon: await addonIdentity(),
		model: await hashFolder(resolveModel(model).dir),
		stack: await Promise.all(adapter.map(hashFolder)),
		inputs: await new InputHasher(dataDirs, (path) => path, new LeakCheck(dataDirs)).inputs(stage, () => ""),
		from: [],
	});
}

function limit(text: string): number {
	const value = number(text);
	if (value <= 0 || (value >= 1 && !Number.isInteger(value))) {
		throw new InvalidArgumentError("Expected a whole number of 1 or more, or a share between 0 and 1.");
	}
	return value;
}

const defined = (values: Record<string, unknown>): Record<string, unknown> =>
	Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
