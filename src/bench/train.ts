/**
 * `fintune bench train`: optimiser steps of a model of any shape on packed random tokens.
 * @module
 */
import { existsSync } from "node:fs";
import { initAdapter } from "../engine/adapter.js";
import type { NativeDevice } from "../engine/binding.js";
import { busyWhile, deviceLaunches } from "../engine/device.js";
import { kernels } from "../engine/kernels.js";
import { type Model, openModel, openRandomModel, planTraining, totalBytes } from "../engine/model.js";
import { readModelConfig } from "../engine/model_config.js";
import { resolveModel } from "../engine/resolve.js";
import type { Trainer } from "../engine/trainer.js";
import type { ComputeDtype, MemoryPlan, ModelConfig, TrainerOptions } from "../engine/types.js";
import { FintuneError } from "../errors.js";
import { layerLaunches } from "./layer_launches.js";
import { isModelShape, modelShape, modelShapeNames, unknownShape } from "./model_shapes.js";
import { productDtype } from "./op.js";
import { planStep, randomBatch, type StepPlan } from "./step_batch.js";
import { median, rounded } from "./timing.js";
import { type DeviceBusy, type Measured, type TrainFigure, trainFigure } from "./train_figure.js";
import { type YardstickSize, Yardsticks, yardstickSize } from "./yardstick.js";

export interface TrainBenchOptions {
	/** A folder, a hub id in the local cache, `tiny`, or the name of a shape. */
	model: string;
	device: NativeDevice;
	dtype: ComputeDtype;
	threads: number;
	objective: "sft" | "dpo";
	rank: number;
	/** Of one step. */
	tokens: number;
	/** Of a sequence; default 2048, at most the step's tokens and the model's positions. */
	length?: number | undefined;
	/** Of a micro-batch at most; default: all. */
	microBatchTokens?: number | undefined;
	recompute: "none" | "selective" | "full";
	/** Timed steps. */
	steps: number;
	/** Steps before them. */
	warmup: number;
	yardstick?: YardstickSize | undefined;
	onProgress?: ((text: string) => void) | undefined;
	signal?: AbortSignal | undefined;
}

/** What is measured. */
export interface Subject {
	label: string;
	config: ModelConfig;
	/** The folder, where there is one. */
	folder: string | undefined;
	stored: boolean;
}

/** @throws FintuneError E_USAGE for a name that is neither a model nor a shape; E_NOT_FOUND for a folder that is not there */
async function subjectOf(name: string): Promise<Subject> {
	if (isModelShape(name) && !existsSync(name)) {
		return { label: name, config: modelShape(name), folder: undefined, stored: false };
	}
	if (!/[/\\~]/.test(name) && name !== "tiny" && !existsSync(name)) {
		throw unknownShape(name, "neither a model nor a shape", `a folder, a hub id, tiny, or one of ${modelShapeNames.join(", ")}`);
	}
	const { dir, label, hasWeights } = resolveModel(name);
	return { label, config: (await readModelConfig(dir)).config, folder: dir, stored: hasWeights };
}

/** Measures a model; see {@link TrainFigure}. */
export async function benchTrain(options: TrainBenchOptions): Promise<TrainFigure> {
	const { device, dtype, threads, rank } = options;
	const subject = await subjectOf(options.model);
	const { config } = subject;
	const length = options.length ?? Math.min(2048, options.tokens, config.maxPositions);
	if (length > config.maxPositions) {
		throw new FintuneError("E_USAGE", "a sequence is longer than the model's positions", {
			where: "--length",
			expected: `at most ${config.maxPositions}`,
			found: String(length),
		});
	}
	const step = planStep({ ...options, length });
	const trainerOptions: TrainerOptions = { recompute: options.recompute };
	const open = { device: device.name, dtype, threads };
	const planned = await planTraining(config, {
		...open,
		adapters: [{ r: rank }],
		trainer: trainerOptions,
		shape: step.largest,
	});
	checkMemory(planned, device);
	const measured = await measure(options, subject, step, trainerOptions);
	const { launches } = measured;
	const perLayer =
		launches === 0
			? null
			: await layerLaunches({ config, launches, step, objective: options.objective, rank, trainer: trainerOptions, open });
	return trainFigure({ options, subject, step, planned, ...measured }, perLayer);
}

async function measure(
	options: TrainBenchOptions,
	subject: Subject,
	step: StepPlan,
	trainerOptions: TrainerOptions,
): Promise<Measured> {
	const { device, dtype, threads, rank, steps, warmup } = options;
	const { config } = subject;
	const open = { device: device.name, dtype, threads };
	options.onProgress?.(`opening ${subject.label}`);
	kernels.setDevice(device.name);
	kernels.setThreads(threads);
	const model = await openSubject(subject, open);
	let yardsticks: Yardsticks | undefined;
	let resident = 0;
	try {
		await model.addAdapter(initAdapter(config, { r: rank, alpha: 2 * rank, seed: 1 }));
		const trainer = model.createTrainer(trainerOptions);
		const samples: number[] = [];
		const products: number[] = [];
		const copies: number[] = [];
		const losses: number[] = [];
		const norms: number[] = [];
		let launches = 0;
		let targets = 0;
		for (let i = 0; i < warmup + steps; i++) {
			const timed = i >= warmup;
			const ready = await trainer.withReference(randomBatch(step, config.vocabSize, i, options.objective));
			const before = deviceLaunches(device.name);
			const start = performance.now();
			const result = await trainer.step(ready, { learningRate: 1e-4, signal: options.signal });
			const ms = performance.now() - start;
			options.onProgress?.(
				`step ${i + 1} of ${warmup + steps}: ${ms.toFixed(1)} ms, loss ${result.loss.toFixed(4)}${timed ? "" : " (warm-up)"}`,
			);
			targets = result.targets;
			losses.push(result.loss);
			norms.push(result.gradNorm);
			if (!yardsticks) {
				// The first step has taken all memory that a step takes; what follows is the benchmark's own.
				resident = process.resourceUsage().maxRSS * 1024;
				yardsticks = new Yardsticks(productDtype(dtype), options.yardstick ?? yardstickSize(device.kind, threads));
			}
			if (!timed) continue;
			samples.push(ms);
			launches = deviceLaunches(device.name) - before;
			for (const [stick, times] of [
				[yardsticks.product, products],
				[yardsticks.copy, copies],
			] as const) {
				kernels.startTimer();
				stick.run();
				times.push(kernels.stopTimer());
			}
		}
		if (!yardsticks) throw new FintuneError("E_USAGE", "no step was timed", { where: "steps", found: String(steps) });
		return {
			samples,
			launches,
			targets,
			losses,
			norms,
			resident,
			gemm: yardsticks.product.flops / median(products) / 1e9,
			copied: yardsticks.copy.bytes / median(copies) / 1e6,
			peak: trainer.memory(),
			busy: device.kind === "cuda" ? await meteredStep(trainer, step, options, config.vocabSize) : null,
		};
	} finally {
		yardsticks?.dispose();
		model.dispose();
		kernels.setDevice("cpu");
	}
}

async function meteredStep(
	trainer: Trainer,
	step: StepPlan,
	{ device, objective, steps, warmup, signal }: TrainBenchOptions,
	vocabSize: number,
): Promise<DeviceBusy | null> {
	const ready = await trainer.withReference(randomBatch(step, vocabSize, steps + warmup, objective));
	const { result: wall, busy } = await busyWhile(device, async () => {
		const start = performance.now();
		await trainer.step(ready, { learningRate: 1e-4, signal });
		return performance.now() - start;
	});
	if (!busy) return null;
	return { wall_ms: rounded(wall), busy_ms: rounded(busy.ms), pct: rounded((100 * busy.ms) / wall), spans: busy.spans };
}

function openSubject(subject: Subject, open: { device: string; dtype: ComputeDtype; threads: number }): Promise<Model> {
	if (subject.folder === undefined) return openRandomModel(subject.label, subject.config, open);
	return openModel(subject.folder, subject.stored ? open : { ...open, random: {} });
}

/** On the CPU the system grants what it cannot serve and ends the process later, so it is refused here. */
function checkMemory(planned: MemoryPlan, device: NativeDevice): void {
	const needed = totalBytes(planned);
	const available = process.availableMemory();
	if (device.kind !== "cpu" || needed <= available) return;
	throw new FintuneError("E_OUT_OF_MEMORY", "the step does not fit the memory of this machine", {
		expected: `at most ${Math.floor(available / 1e6)} MB`,
		found: `${Math.ceil(needed / 1e6)} MB`,
		hint: "lower --tokens or --micro-batch-tokens, or set --recompute full",
	});
}
