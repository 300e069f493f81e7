/**
 * `fintune bench`: how fast the ops and a training step are on this machine, beside what the machine could do.
 * @module
 */
import type { Command } from "commander";
import { compareFigures, readFigures } from "../bench/compare.js";
import { comparisonSummary, kernelTable } from "../bench/kernel_table.js";
import { benchKernels, type KernelFigure } from "../bench/kernels.js";
import { modelShapeNames } from "../bench/model_shapes.js";
import { benchesOf, opBenches, selectCases } from "../bench/registry.js";
import { benchTrain } from "../bench/train.js";
import { trainText } from "../bench/train_text.js";
import { computeDtype, resolveDevice } from "../engine/device.js";
import { defaultThreads } from "../engine/threads.js";
import type { DtypeName } from "../engine/types.js";
import { FintuneError } from "../errors.js";
import { addModelOptions, collect, oneOf, wholeNumber } from "./options.js";
import { printJson, stopSignal, terminalProgress, terminalWidth } from "./terminal.js";

interface ModelFlags {
	device?: string;
	dtype?: DtypeName;
	threads?: number;
	json?: boolean;
}

interface KernelFlags extends ModelFlags {
	op: string[];
	shapes: string[];
	tokens?: number;
	length?: number;
	r: number;
	rounds: number;
	against?: string;
}

interface TrainFlags extends ModelFlags {
	model: string;
	r: number;
	tokens?: number;
	length?: number;
	microBatchTokens?: number;
	steps: number;
	warmup: number;
	recompute: "none" | "selective" | "full";
	objective: "sft" | "dpo";
}

const models = modelShapeNames.join(", ");

export function addBench(program: Command): Command {
	const bench = program.command("bench").description("measure ops or training steps on this machine");
	addModelOptions(bench.command("kernels"))
		.description("time every op, forward and backward, at the shapes of a model, beside a square product and a copy")
		.option("--op <name>", `an op or a family of ops (repeatable; default all): ${familyNames()}`, collect, [])
		.option("--shapes <shape>", `${models}, or OP:LETTER=N,... as the output has it (repeatable)`, collect, [])
		.option("--tokens <t>", "tokens of the packed batch (default 512 on a CPU, 16384 on a GPU)", wholeNumber)
		.option("--length <s>", "tokens of a sequence (default 2048, at most --tokens)", wholeNumber)
		.option("--r <r>", "LoRA rank", wholeNumber, 128)
		.option("--rounds <n>", "timed runs of every op", wholeNumber, 20)
		.option("--against <file>", "JSON lines of an earlier run, or of a peer: says what is slower or faster beyond noise")
		.option("--json", "JSON lines on stdout, one an op and shape")
		.action(kernelsAction);
	addModelOptions(bench.command("train"))
		.description("time optimiser steps on packed random tokens")
		.requiredOption("--model <model>", `folder, hub id in the local cache, tiny, or a shape: ${models}`)
		.option("--r <r>", "LoRA rank, on all linears", wholeNumber, 128)
		.option("--tokens <t>", "tokens of a step (default 2048 on a CPU, 16384 on a GPU)", wholeNumber)
		.option("--length <s>", "tokens of a sequence (default 2048, at most --tokens and the model's positions)", wholeNumber)
		.option("--micro-batch-tokens <t>", "tokens of a micro-batch at most (default: all)", wholeNumber)
		.option("--steps <n>", "timed steps", wholeNumber, 10)
		.option("--warmup <n>", "steps before them", wholeNumber, 2)
		.option("--recompute <mode>", "none, selective or full", oneOf("none", "selective", "full"), "none")
		.option("--objective <name>", "sft or dpo", oneOf("sft", "dpo"), "sft")
		.option("--json", "one JSON document on stdout")
		.action(trainAction);
	return bench;
}

const familyNames = (): string => [...new Set(opBenches.map((b) => b.family))].join(", ");

async function kernelsAction(flags: KernelFlags): Promise<void> {
	const { device, dtype, threads } = where(flags);
	const tokens = positive("--tokens", flags.tokens ?? (device.kind === "cpu" ? 512 : 16384));
	const length = Math.min(positive("--length", flags.length ?? 2048), tokens);
	const shapes = flags.shapes.length > 0 ? flags.shapes : [device.kind === "cpu" ? "smollm2-135m" : "qwen2.5-1.5b"];
	const cases = selectCases(flags.op, shapes, { tokens, length, rank: flags.r }, benchesOf(device));
	const earlier = flags.against === undefined ? undefined : readFigures(flags.against);
	const progress = terminalProgress();
	const figures: KernelFigure[] = [];
	for await (const figure of benchKernels({
		cases,
		device,
		dtype,
		threads,
		rounds: positive("--rounds", flags.rounds),
		warmup: device.kind === "cpu" ? 100 : 500,
		onProgress: (text) => progress.message(`bench kernels: ${text}`),
	})) {
		figures.push(figure);
		// With a comparison the lines wait: it needs the yardsticks, which come last.
		if (flags.json && !earlier) process.stdout.write(`${JSON.stringify(figure)}\n`);
	}
	progress.end();
	const comparisons = earlier && compareFigures(figures, earlier);
	if (flags.json && comparisons) {
		for (const figure of figures) {
			const against = comparisons.find((c) => c.op === figure.op && c.shape === figure.shape && c.dtype === figure.dtype);
			const { ratio, low, high, verdict } = against ?? { ratio: null, low: null, high: null, verdict: null };
			process.stdout.write(`${JSON.stringify({ ...figure, against: { ratio, low, high, verdict } })}\n`);
		}
	}
	if (!flags.json) process.stdout.write(kernelTable(figures, comparisons, terminalWidth()));
	if (comparisons) {
		const text = `${comparisonSummary(comparisons, figures.length - comparisons.length)}\n`;
		if (flags.json) process.stderr.write(text);
		else process.stdout.write(text);
	}
}

async function trainAction(flags: TrainFlags): Promise<void> {
	const { device, dtype, threads } = where(flags);
	const tokens = positive("--tokens", flags.tokens ?? (device.kind === "cpu" ? 2048 : 16384));
	const progress = terminalProgress();
	const figure = await benchTrain({
		model: flags.model,
		device,
		dtype,
		threads,
		objective: flags.objective,
		rank: positive("--r", flags.r),
		tokens,
		length: flags.length === undefined ? undefined : Math.min(positive("--length", flags.length), tokens),
		microBatchTokens: flags.microBatchTokens === undefined ? undefined : positive("--micro-batch-tokens", flags.microBatchTokens),
		recompute: flags.recompute,
		steps: positive("--steps", flags.steps),
		warmup: flags.warmup,
		signal: stopSignal(),
		onProgress: (text) => progress.message(`bench train: ${text}`),
	});
	progress.end();
	if (flags.json) printJson(figure);
	else process.stdout.write(trainText(figure));
}

function where(flags: ModelFlags) {
	const device = resolveDevice(flags.device);
	return { device, dtype: computeDtype(flags.dtype, device), threads: flags.threads || defaultThreads() };
}

function positive(option: string, value: number): number {
	if (value > 0) return value;
	throw new FintuneError("E_USAGE", "a whole number of 1 or more is needed", { where: option, found: String(value) });
}
