import { describe, expect, it } from "vitest";
import { kernelTable } from "../../src/bench/kernel_table.js";
import { benchKernels, type KernelBenchOptions, type KernelFigure } from "../../src/bench/kernels.js";
import { parseGpuFacts } from "../../src/bench/machine.js";
import { type OpBench, positionsOf, sequenceLengths, starts } from "../../src/bench/op.js";
import { type OpCase, opBenches } from "../../src/bench/registry.js";
import { BenchTensors, bf16Bits, f16Bits, normalValues } from "../../src/bench/tensors.js";
import { spread, timeInterleaved } from "../../src/bench/timing.js";
import { kernels } from "../../src/engine/kernels.js";
import { cpu, small, smallBatch, yardstick } from "./support.js";

const cases = (benches: readonly OpBench[] = opBenches): OpCase[] =>
	benches.flatMap((bench) => bench.shapes(small, smallBatch).map((shape) => ({ bench, shape })));

async function measure(some: OpCase[], options: Partial<KernelBenchOptions> = {}): Promise<KernelFigure[]> {
	const figures: KernelFigure[] = [];
	const all = { cases: some, device: cpu, dtype: "f32" as const, threads: 2, rounds: 3, warmup: 0, yardstick, ...options };
	for await (const figure of benchKernels(all)) figures.push(figure);
	return figures;
}

describe.each(["f32", "bf16"] as const)("every op, %s", (dtype) => {
	it("is timed beside the yardsticks, twice with the same bits", async () => {
		const some = cases();
		const progress: string[] = [];
		const figures = await measure(some, { dtype, onProgress: (text) => progress.push(text) });
		expect(figures.map((f) => f.op)).toEqual([...some.map((c) => c.bench.name), "gemm", "copy"]);
		expect(progress).toHaveLength(new Set(some.map((c) => c.bench.family)).size);
		for (const [i, f] of figures.entries()) {
			expect(f.deterministic, f.op).toBe(i < some.length ? true : null);
			expect(f.device).toBe("cpu");
			expect(f.launches).toBeNull();
			expect(f.samples_ms.length % 3).toBe(0);
			expect(f.ms.p20).toBeLessThanOrEqual(f.ms.p50);
			expect(f.ms.p50).toBeLessThanOrEqual(f.ms.p80);
			expect(f.gbs).toBeGreaterThan(0);
			expect(f.machine).toMatchObject({ threads: 2, isa: kernels.isa(), gpu: null });
			const c = some[i];
			if (!c) continue;
			expect(f.dtype).toBe(c.bench.dtype ?? dtype);
			expect(f.tflops === null).toBe(c.bench.flops(c.shape) === 0);
			expect(f.pct_measured_gemm_peak === null).toBe(f.tflops === null);
			expect(f.pct_measured_copy).toBeGreaterThan(0);
		}
		expect(figures.at(-2)).toMatchObject({ shape: "M=32", pct_measured_gemm_peak: 100, dtype });
		expect(figures.at(-1)).toMatchObject({ shape: "BYTES=4096", pct_measured_copy: 100, tflops: null });
	});
});

it("sees an op whose bits differ from run to run", async () => {
	let runs = 0;
	const drifting: OpBench = {
		name: "drifting",
		family: "drifting",
		letters: { T: "values" },
		shapes: () => [{ T: 4 }],
		flops: () => 0,
		bytes: () => 16,
		prepare: (_shape, _dtype, t) => {
			const x = t.zeros([4]);
			return { run: () => x.set(new Float32Array(4).fill(runs++)), results: () => [x] };
		},
	};
	const [figure] = await measure(cases([drifting]));
	expect(figure).toMatchObject({ op: "drifting", deterministic: false });
	expect(kernelTable([figure as KernelFigure], undefined, 200)).toMatch(/drifting .* NO$/m);
});

it("runs every case once a round, resets it before, and empties the caches", async () => {
	const log: string[] = [];
	const c = (name: string) => ({ run: () => log.push(name), reset: () => log.push(`${name}0`) });
	const times = await timeInterleaved([c("a"), c("b")], { rounds: 4, warmup: 0, chill: () => log.push("-") });
	expect(times.map((t) => t.length)).toEqual([4, 4]);
	expect(log.slice(0, 4)).toEqual(["a0", "a", "b0", "b"]);
	for (let round = 0; round < 4; round++) {
		const part = log.slice(4 + 6 * round, 10 + 6 * round).join(" ");
		expect(["a0 - a b0 - b", "b0 - b a0 - a"]).toContain(part);
	}
	expect(times.every((t) => t.every((ms) => ms >= 0))).toBe(true);
	expect(spread([5, 1, 4, 2, 3])).toEqual({ p20: 1.8, p50: 3, p80: 4.2 });
});

it("packs sequences", () => {
	expect(sequenceLengths(21, 9)).toEqual([9, 9, 3]);
	expect([...starts([9, 9, 3])]).toEqual([0, 9, 18, 21]);
	expect([...positionsOf([2, 3])]).toEqual([0, 1, 0, 1, 2]);
});

describe("tensors", () => {
	it("rounds to the bits that the addon rounds to", () => {
		const values = Float32Array.from([
			...normalValues(3, 1, 4001),
			0,
			-0,
			1,
			-1,
			2 ** -14,
			2 ** -24,
			65504,
			3 * 2 ** -25,
			1 + 2 ** -9,
			1 + 3 * 2 ** -9,
		]);
		const bf16 = kernels.tensor([values.length], values, { dtype: "bf16" });
		expect([...bf16.toUint16Array()]).toEqual([...values].map(bf16Bits));
		// Every f16 that is a number comes back as its own bits.
		const bits = Uint16Array.from({ length: 65536 }, (_, i) => i).filter((i) => (i & 0x7c00) !== 0x7c00);
		const widened = kernels.tensor([bits.length], bits, { dtype: "f16" }).toFloat32Array();
		expect([...widened].map(f16Bits)).toEqual([...bits]);
		expect(f16Bits(1 + 2 ** -11)).toBe(0x3c00);
		expect(f16Bits(1 + 3 * 2 ** -11)).toBe(0x3c02);
		expect(f16Bits(2 - 2 ** -12)).toBe(0x4000);
	});

	it("are normal, differ from each other and repeat with their seed", () => {
		const values = normalValues(0, 0, 20_000, 2);
		const mean = values.reduce((a, b) => a + b, 0) / values.length;
		const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
		expect(Math.abs(mean)).toBeLessThan(0.05);
		expect(Math.abs(Math.sqrt(variance) - 2)).toBeLessThan(0.05);
		const make = () => {
			const t = new BenchTensors(5);
			const all = [t.normal([300_000]), t.normal([7, 3], "bf16"), t.indices(50, 7), t.fill([3], 2)].map((x) => [
				...(x.dtype === "i32" ? x.toInt32Array() : x.toFloat32Array()),
			]);
			t.dispose();
			return all;
		};
		const [long = [], , indices = [], two] = make();
		expect(make()[0]).toEqual(long);
		// Longer than the period, it goes on with the same values at another place.
		expect(long.slice(262_139)).toEqual(long.slice(0, 300_000 - 262_139));
		expect(new Set(indices)).toEqual(new Set([0, 1, 2, 3, 4, 5, 6]));
		expect(two).toEqual([2, 2, 2]);
	});
});

it("reads what a GPU's driver says of it", () => {
	expect(parseGpuFacts("NVIDIA H100 80GB HBM3, 580.65.06, 81559, 1980, 2619, 34, 71.5\n")).toEqual({
		name: "NVIDIA H100 80GB HBM3",
		driver: "580.65.06",
		memory_mib: 81559,
		sm_clock_mhz: 1980,
		memory_clock_mhz: 2619,
		temperature_c: 34,
		power_w: 71.5,
	});
	expect(parseGpuFacts("No devices were found\n")).toBeNull();
});
