/**
 * What `bench train` says of a model: the document, made from what was measured.
 * @module
 */
import { totalBytes } from "../engine/model.js";
import type { ComputeDtype, MemoryPlan } from "../engine/types.js";
import { type MachineFacts, machineFacts } from "./machine.js";
import type { StepPlan } from "./step_batch.js";
import { type StepFlops, stepFlops } from "./step_flops.js";
import { rounded, type Spread, spread } from "./timing.js";
import type { Subject, TrainBenchOptions } from "./train.js";

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
	/** Kernels that one layer more adds to a step: src/bench/layer_launches.ts. */
	launches_per_layer: number | null;
	/** Of one more step, which is metered and not timed above; null for devices without a clock of their own. */
	device_busy: DeviceBusy | null;
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

/** For how long a device had work in a step: `busyWhile` of src/engine/device.ts. */
export interface DeviceBusy {
	wall_ms: number;
	busy_ms: number;
	pct: number;
	/** Stretches of work: between two of them the device had run out of it. */
	spans: number;
}

/** What the steps have shown. */
export interface Measured {
	samples: number[];
	launches: number;
	targets: number;
	losses: number[];
	norms: number[];
	resident: number;
	/** TFLOP/s and GB/s of the yardsticks. */
	gemm: number;
	copied: number;
	peak: MemoryPlan;
	busy: DeviceBusy | null;
}
/** What was measured, and how. */
export interface Setting {
	options: TrainBenchOptions;
	subject: Subject;
	step: StepPlan;
	planned: MemoryPlan;
}

export function trainFigure(measured: Setting & Measured, launchesPerLayer: number | null): TrainFigure {
	const { options, subject, step, planned, samples, launches, targets, losses, norms, gemm, copied, peak } = measured;
	const tokens = step.lengths.reduce((a, b) => a + b, 0);
	const flops = stepFlops(subject.config, { lengths: step.lengths, targets, rank: options.rank });
	const ms = spread(samples);
	const speed = spread(samples.map((x) => (1e3 * tokens) / x));
	const tflops = flops.total / ms.p50 / 1e9;
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
		launches_per_layer: launchesPerLayer === null ? null : rounded(launchesPerLayer),
		device_busy: measured.busy,
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
