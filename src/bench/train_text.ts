/**
 * The figure of `bench train` as lines for people.
 * @module
 */
import { formatBytes, formatCount, formatLoss, noValue } from "../report/numbers.js";
import type { Spread } from "./timing.js";
import type { DeviceBusy, TrainFigure } from "./train_figure.js";

const spreadText = ({ p20, p50, p80 }: Spread): string => `${formatLoss(p50)} (${formatLoss(p20)}..${formatLoss(p80)})`;

const busyLine = ({ pct, busy_ms, wall_ms, spans }: DeviceBusy): [string, string] => [
	"device busy",
	`${pct.toFixed(1)} % of one more step's wall time (${formatLoss(busy_ms)} of ${formatLoss(wall_ms)} ms with kernels or copies in the queue, which ran dry ${spans - 1} times)`,
];

export function trainText(f: TrainFigure): string {
	const kinds = Object.keys(f.planned_bytes).filter((kind) => (f.planned_bytes[kind] ?? 0) + (f.peak_bytes[kind] ?? 0) > 0);
	const bytes = kinds.map(
		(kind) => `${kind} ${formatBytes(f.planned_bytes[kind] ?? 0)} / ${formatBytes(f.peak_bytes[kind] ?? 0)}`,
	);
	const lines: [string, string][] = [
		["model", `${f.model} (${f.weights} weights), LoRA r=${f.rank} on all linears`],
		["step", `${f.objective}, ${formatCount(f.tokens)} tokens in ${f.sequences} sequences, ${f.micro_batches} micro-batches`],
		["on", `${f.device}, ${f.dtype}, recompute ${f.recompute}, ${f.machine.threads} threads, ${f.machine.cpu}`],
		["tokens/s", `${spreadText(f.tokens_per_second)} over ${f.steps} steps`],
		["ms/step", spreadText(f.ms_per_step)],
		["work", `${formatCount(f.flops_per_token)} FLOP a token by formula, ${formatLoss(f.tflops)} TFLOP/s`],
		[
			"of the peak",
			`${f.pct_measured_gemm_peak.toFixed(1)} % of ${formatLoss(f.measured_gemm_tflops)} TFLOP/s, a square product between the steps`,
		],
		[
			"launches",
			f.launches_per_step === null
				? `${noValue} (ops are plain functions)`
				: `${formatCount(f.launches_per_step)} a step, ${f.launches_per_layer} a layer`,
		],
		...(f.device_busy ? [busyLine(f.device_busy)] : []),
		["peak bytes", `${formatBytes(f.planned_total)} planned / ${formatBytes(f.peak_total)} taken: ${bytes.join(", ")}`],
		["resident", `${formatBytes(f.peak_resident_bytes)}, the whole process by the end of the first step`],
		["loss", `${formatLoss(f.loss.first)} at first, ${formatLoss(f.loss.last)} at last`],
		["gradient norm", `${formatLoss(f.grad_norm.first)} at first, ${formatLoss(f.grad_norm.last)} at last`],
	];
	const width = Math.max(...lines.map(([name]) => name.length));
	return lines.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join("");
}
