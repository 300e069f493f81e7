/**
 * `fintune bench kernels`: every op of the engine, forward and backward, at the shapes of a model.
 * @module
 */
import type { NativeDevice } from "../engine/binding.js";
import { kernels } from "../engine/kernels.js";
import type { ComputeDtype } from "../engine/types.js";
import { repeats } from "./bits.js";
import { type MachineFacts, machineFacts } from "./machine.js";
import { productDtype, shapeText } from "./op.js";
import type { OpCase } from "./registry.js";
import { BenchTensors } from "./tensors.js";
import { median, rounded, type Spread, spread, type TimedCase, timeInterleaved } from "./timing.js";
import { type YardstickSize, Yardsticks, yardstickSize } from "./yardstick.js";

/** One line of the output. Rates are made from the median time; null where a rate means nothing. */
export interface KernelFigure {
	op: string;
	/** "T=512,D=576" */
	shape: string;
	dtype: ComputeDtype;
	device: string;
	ms: Spread;
	/** Operations of matrix products a second / 1e12. */
	tflops: number | null;
	/** Bytes that must be moved a second / 1e9: every operand once. */
	gbs: number;
	/** Shares, in percent, of what the square product and the copy of the same rounds reached. */
	pct_measured_gemm_peak: number | null;
	pct_measured_copy: number | null;
	/** Two runs made the same bits; null: of a yardstick, which is only timed. */
	deterministic: boolean | null;
	/** Kernels that one run starts; null where ops are plain functions. */
	launches: number | null;
	/** Milliseconds of every round. */
	samples_ms: number[];
	machine: MachineFacts;
}

export interface KernelBenchOptions {
	cases: readonly OpCase[];
	device: NativeDevice;
	dtype: ComputeDtype;
	threads: number;
	rounds: number;
	/** Milliseconds of warm-up before each group of ops. */
	warmup: number;
	/** Default: by the kind of device. */
	yardstick?: YardstickSize | undefined;
	/** Called before each group of ops. */
	onProgress?: ((text: string) => void) | undefined;
}

/**
 * Measures the cases, family by family, each family in rounds of its own together with the two yardsticks (which are
 * reported at the end, over all rounds, as ops `gemm` and `copy`).
 */
export async function* benchKernels(options: KernelBenchOptions): AsyncGenerator<KernelFigure> {
	const { cases, device, dtype, rounds } = options;
	kernels.setDevice(device.name);
	kernels.setThreads(options.threads);
	const machine = machineFacts(device, options.threads);
	const product = productDtype(dtype);
	const yardsticks = new Yardsticks(product, options.yardstick ?? yardstickSize(device.kind, options.threads));
	const both = [yardsticks.product, yardsticks.copy];
	const ofYardsticks: [number[], number[]] = [[], []];
	try {
		const families = [...new Set(cases.map((c) => c.bench.family))];
		for (const [i, family] of families.entries()) {
			options.onProgress?.(`${family} (${i + 1} of ${families.length})`);
			const members = cases.filter((c) => c.bench.family === family);
			const tensors = new BenchTensors();
			try {
				const prepared = members.map(({ bench, shape }) => bench.prepare(shape, bench.dtype ?? product, tensors));
				const deterministic = prepared.map((op) => repeats(op));
				const launches = prepared.map(countLaunches);
				const times = await timeInterleaved([...prepared, ...both], {
					rounds,
					warmup: options.warmup,
					chill: yardsticks.chill,
				});
				const [productMs, copyMs] = times.slice(-2) as [Float64Array, Float64Array];
				ofYardsticks[0].push(...productMs);
				ofYardsticks[1].push(...copyMs);
				const peak = yardsticks.product.flops / median(productMs);
				const copied = yardsticks.copy.bytes / median(copyMs);
				for (const [j, { bench, shape }] of members.entries()) {
					yield figure({
						op: bench.name,
						shape: shapeText(shape),
						dtype: bench.dtype ?? dtype,
						device: device.name,
						flops: bench.flops(shape),
						bytes: bench.bytes(shape, bench.dtype ?? product),
						peak,
						copied,
						samples: times[j] as Float64Array,
						deterministic: deterministic[j] as boolean,
						launches: launches[j] as number | null,
						machine,
					});
				}
			} finally {
				tensors.dispose();
			}
		}
		for (const [op, stick, samples] of [
			["gemm", yardsticks.product, ofYardsticks[0]],
			["copy", yardsticks.copy, ofYardsticks[1]],
		] as const) {
			yield figure({
				op,
				shape: stick.shape,
				dtype: op === "gemm" ? dtype : "f32",
				device: device.name,
				flops: stick.flops,
				bytes: stick.bytes,
				peak: op === "gemm" ? stick.flops / median(samples) : null,
				copied: op === "copy" ? stick.bytes / median(samples) : null,
				samples,
				deterministic: null,
				launches: countLaunches(stick),
				machine,
			});
		}
	} finally {
		yardsticks.dispose();
		kernels.setDevice("cpu");
	}
}

interface Measured {
	op: string;
	shape: string;
	dtype: ComputeDtype;
	device: string;
	flops: number;
	bytes: number;
	/** Operations and bytes a millisecond of the yardsticks; null: not compared with. */
	peak: number | null;
	copied: number | null;
	samples: ArrayLike<number>;
	deterministic: boolean | null;
	launches: number | null;
	machine: MachineFacts;
}

function figure(m: Measured): KernelFigure {
	const { p20, p50, p80 } = spread(m.samples);
	const hasFlops = m.flops > 0;
	return {
		op: m.op,
		shape: m.shape,
		dtype: m.dtype,
		device: m.device,
		ms: { p20: rounded(p20), p50: rounded(p50), p80: rounded(p80) },
		tflops: hasFlops ? rounded(m.flops / p50 / 1e9) : null,
		gbs: rounded(m.bytes / p50 / 1e6),
		pct_measured_gemm_peak: hasFlops && m.peak !== null ? rounded((100 * m.flops) / p50 / m.peak) : null,
		pct_measured_copy: m.copied === null ? null : rounded((100 * m.bytes) / p50 / m.copied),
		deterministic: m.deterministic,
		launches: m.launches,
		samples_ms: Array.from(m.samples, rounded),
		machine: m.machine,
	};
}

/** Kernels that one run starts. */
function countLaunches(op: TimedCase): number | null {
	op.reset?.();
	const before = kernels.launches();
	op.run();
	const started = kernels.launches() - before;
	return started > 0 ? started : null;
}
