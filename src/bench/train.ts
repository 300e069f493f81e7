/**
 * `fintune bench train`: optimiser steps of a model of any shape on packed random tokens.
 * @module
 */
import { existsSync } from "node:fs";
import { initAdapter } from "../engine/adapter.js";
import type { NativeDevice } from "../engine/binding.js";
import { deviceLaunches } from "../engine/device.js";
import { kernels } from "../engine/kernels.js";
import { type Model, openModel, openRandomModel, planTraining, totalBytes } from "../engine/model.js";
import { readModelConfig } from "../engine/model_config.js";
import { resolveModel } from "../engine/resolve.js";
import type { Trainer } from "../engine/trainer.js";
import type { ComputeDtype, MemoryPlan, ModelConfig, TrainerOptions } from "../engine/types.js";
import { FintuneError } from "../errors.js";
import { type MachineFacts, machineFacts } from "./machine.js";
import { isModelShape, modelShape, modelShapeNames, unknownShape } from "./model_shapes.js";
import { productDtype } from "./op.js";
import { planStep, randomBatch, type StepPlan } from "./step_batch.js";
import { type StepFlops, stepFlops } from "./step_flops.js";
import { median, rounded, type Spread, spread } from "./timing.js";
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

/** The output. Spreads are over the timed steps; rates are made from the median step. */
export interface TrainFigure {
	bench: "train";
	model: string;
	/** The folder's own weights, or random ones. */
	weights: "stored" | "random";
	device: string;
	dtype: ComputeDtype;
	objective: "sft" | "dpo";
	rank: number;
	tokens: number;
	length: number;
	sequences: number;
	micro_batches: number;
	targets: number;
	recompute: string;
	steps: number;
	warmup: number;
	/** p20 is the slow side here: a fifth of the steps was slower. */
	tokens_per_second: Spread;
	ms_per_step: Spread;
	flops_per_token: number;
	/** Of one step, by part: src/bench/step_flops.ts. */
	flops: StepFlops;
	tflops: number;
	/** The square product between the steps, and the share of it, in percent. */
	measured_gemm_tflops: number;
	pct_measured_gemm_peak: number;
	measured_copy_gbs: number;
	/** Kernels started in a step; null where ops are plain functions. */
	launches_per_step: number | null;
	/** Bytes by kind: what the plan foretold, and what the arena and the buffers have served. */
	planned_bytes: MemoryPlan;
	planned_total: number;
	peak_bytes: MemoryPlan;
	peak_total: number;
	/** Highest resident memory of the whole process up to the end of the first step. */
	peak_resident_bytes: number;
	loss: { first: number; last: number };
	grad_norm: { first: number; last: number };
	samples_ms: number[];
	machine: MachineFacts;
}

interface Subject {
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
	const { device, dtype, threads, rank, steps, warmup } = options;
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
		return figure({
			options,
			subject,
			step,
			planned,
			trainer,
			samples,
			launches,
			targets,
			losses,
			norms,
			resident,
			gemm: yardsticks.product.flops / median(products) / 1e9,
			copied: yardsticks.copy.bytes / median(copies) / 1e6,
		});
	} finally {
		yardsticks?.dispose();
		model.dispose();
		kernels.setDevice("cpu");
	}
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

interface Measured {
	options: TrainBenchOptions;
	subject: Subject;
	step: StepPlan;
	planned: MemoryPlan;
	trainer: Trainer;
	samples: number[];
	launches: number;
	targets: number;
	losses: number[];
	norms: number[];
	resident: number;
	/** TFLOP/s and GB/s of the yardsticks. */
	gemm: number;
	copied: number;
}

function figure(measured: Measured): TrainFigure {
	const { options, subject, step, planned, trainer, samples, launches, targets, losses, norms, gemm, copied } = measured;
	const tokens = step.lengths.reduce((a, b) => a + b, 0);
	const flops = stepFlops(subject.config, { lengths: step.lengths, targets, rank: options.rank });
	const ms = spread(samples);
	const speed = spread(samples.map((x) => (1e3 * tokens) / x));
	const tflops = flops.total / ms.p50 / 1e9;
	const peak = trainer.memory();
	const shown = ({ p20, p50, p80 }: Spread): Spread => ({ p20: rounded(p20), p50: rounded(p50), p80: rounded(p80) });
	const ends = (values: readonly number[]) => ({ first: values[0] as number, last: values.at(-1) as number });
	return {
		bench: "train",
		model: subject.label,
		weights: subject.stored ? "stored" : "random",
		device: options.device.name,
		dtype: options.dtype,
		objective: options.objective,
		rank: options.rank,
		tokens,
		length: Math.max(...step.lengths),
		sequences: step.lengths.length,
		micro_batches: step.microBatches.length,
		targets,
		recompute: options.recompute,
		steps: options.steps,
		warmup: options.warmup,
		tokens_per_second: shown(speed),
		ms_per_step: shown(ms),
		flops_per_token: Math.round(flops.total / tokens),
		flops,
		tflops: rounded(tflops),
		measured_gemm_tflops: rounded(gemm),
		pct_measured_gemm_peak: rounded((100 * tflops) / gemm),
		measured_copy_gbs: rounded(copied),
		launches_per_step: launches > 0 ? launches : null,
		planned_bytes: planned,
		planned_total: totalBytes(planned),
		peak_bytes: peak,
		peak_total: totalBytes(peak),
		peak_resident_bytes: measured.resident,
		loss: ends(losses),
		grad_norm: ends(norms),
		samples_ms: samples.map(rounded),
		machine: machineFacts(options.device, options.threads),
	};
}
