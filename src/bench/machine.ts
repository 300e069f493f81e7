/**
 * What is known about the machine that a benchmark runs on: without it a figure says nothing.
 * @module
 */
import { spawnSync } from "node:child_process";
import { cpus, platform, release, totalmem } from "node:os";
import { arch } from "node:process";
import type { NativeDevice } from "../engine/binding.js";
import { cpuInfo } from "../engine/cpu_info.js";
import { codeIdentity } from "../version.js";

/** One GPU as its driver's own tool describes it. */
export interface GpuFacts {
	name: string;
	driver: string;
	memory_mib: number;
	sm_clock_mhz: number;
	memory_clock_mhz: number;
	temperature_c: number;
	power_w: number;
}

/** What a figure depends on beside the code. */
export interface MachineFacts {
	/** Version and a hash over the code. */
	fintune: string;
	node: string;
	system: string;
	cpu: string;
	/** CPUs that the process sees. */
	cpus: number;
	isa: string;
	threads: number;
	memory_bytes: number;
	/** null: no GPU, or no nvidia-smi. */
	gpu: GpuFacts | null;
}

export function machineFacts(device: NativeDevice, threads: number): MachineFacts {
	return {
		fintune: codeIdentity(),
		node: process.version,
		system: `${platform()}-${arch} ${release()}`,
		cpu: cpus()[0]?.model.trim() ?? "unknown",
		cpus: cpus().length,
		isa: cpuInfo().isa,
		threads,
		memory_bytes: totalmem(),
		gpu: device.kind === "cuda" ? gpuFacts(Number(device.name.split(":")[1] ?? 0)) : null,
	};
}

const gpuFields = ["name", "driver_version", "memory.total", "clocks.sm", "clocks.mem", "temperature.gpu", "power.draw"];

function gpuFacts(index: number): GpuFacts | null {
	const query = ["-i", String(index), `--query-gpu=${gpuFields.join(",")}`, "--format=csv,noheader,nounits"];
	const { status, stdout } = spawnSync("nvidia-smi", query, { encoding: "utf8", timeout: 10_000 });
	return status === 0 ? parseGpuFacts(stdout) : null;
}

/** One line of nvidia-smi's CSV. */
export function parseGpuFacts(line: string): GpuFacts | null {
	const cells = (line.split("\n")[0] ?? "").split(",").map((cell) => cell.trim());
	if (cells.length !== gpuFields.length) return null;
	const [name = "", driver = "", ...rest] = cells;
	const [memory = Number.NaN, sm = Number.NaN, mem = Number.NaN, temperature = Number.NaN, power = Number.NaN] = rest.map(Number);
	return {
		name,
		driver,
		memory_mib: memory,
		sm_clock_mhz: sm,
		memory_clock_mhz: mem,
		temperature_c: temperature,
		power_w: power,
	};
}
