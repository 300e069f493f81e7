/**
 * Figures of ops as a table for people, with the comparison beside it where there is one.
 * @module
 */
import { noValue } from "../report/numbers.js";
import { formatTable, type TableColumn } from "../report/table.js";
import type { Comparison } from "./compare.js";
import type { KernelFigure } from "./kernels.js";

const right = (header: string): TableColumn => ({ header, align: "right" });
/** Three digits: more would be noise. */
function digits(value: number | null): string {
	if (value === null) return noValue;
	if (value >= 1000) return String(Math.round(value));
	return value < 1e-3 ? value.toExponential(1) : value.toPrecision(3);
}
const percent = (value: number | null): string => (value === null ? noValue : `${value.toFixed(value < 9.95 ? 1 : 0)} %`);

export function kernelTable(
	figures: readonly KernelFigure[],
	comparisons: readonly Comparison[] | undefined,
	width: number,
): string {
	// A CPU is below a TFLOP/s.
	const giga = figures.every((f) => (f.tflops ?? 0) < 1);
	const launches = figures.some((f) => f.launches !== null);
	const columns: TableColumn[] = [
		{ header: "op" },
		{ header: "shape" },
		right("ms p50"),
		right("p20..p80"),
		right(giga ? "GFLOP/s" : "TFLOP/s"),
		right("of GEMM"),
		right("GB/s"),
		right("of copy"),
		{ header: "same bits" },
		...(launches ? [right("launches")] : []),
		...(comparisons ? [right("now/then"), right("95 %"), { header: "" }] : []),
	];
	const rows = figures.map((f) => {
		const compared = comparisons?.find((c) => c.op === f.op && c.shape === f.shape && c.dtype === f.dtype);
		const versus = compared
			? [
					compared.ratio.toFixed(3),
					`${compared.low.toFixed(3)}..${compared.high.toFixed(3)}`,
					compared.verdict === "same" ? "" : compared.verdict,
				]
			: [noValue, noValue, ""];
		return [
			f.op,
			f.shape,
			digits(f.ms.p50),
			`${digits(f.ms.p20)}..${digits(f.ms.p80)}`,
			digits(f.tflops === null ? null : f.tflops * (giga ? 1000 : 1)),
			percent(f.pct_measured_gemm_peak),
			digits(f.gbs),
			percent(f.pct_measured_copy),
			f.deterministic === null ? noValue : f.deterministic ? "yes" : "NO",
			...(launches ? [f.launches === null ? noValue : String(f.launches)] : []),
			...(comparisons ? versus : []),
		];
	});
	return formatTable(columns, rows, width);
}

/** What the comparison comes to, in one line. */
export function comparisonSummary(comparisons: readonly Comparison[], missing: number): string {
	const named = (verdict: Comparison["verdict"]): string => {
		const some = comparisons.filter((c) => c.verdict === verdict);
		return some.length === 0
			? `none ${verdict}`
			: `${some.length} ${verdict} (${some.map((c) => `${c.op} ${c.shape} ${c.ratio.toFixed(2)}`).join("; ")})`;
	};
	const rest = missing > 0 ? `; ${missing} without a partner` : "";
	return `${comparisons.length} compared: ${named("slower")}, ${named("faster")}${rest}`;
}
