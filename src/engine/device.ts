/**
 * Where a model computes, and in which type: names that people give to what this build and machine have.
 * @module
 */
import { FintuneError } from "../errors.js";
import type { NativeBusy, NativeDevice, NativeGpuInfo } from "./binding.js";
import { engine, nativeCall } from "./job.js";
import { type AddonOutcome, addonOutcomes } from "./native.js";
import type { ComputeDtype, DtypeName } from "./types.js";

export type { NativeGpuInfo } from "./binding.js";

/** The devices of this build and machine, the CPU first. */
export const devices = (): NativeDevice[] => nativeCall(() => engine().devices());

/** Kernels started so far on a device; 0 where ops are plain functions. */
export const deviceLaunches = (device: string): number => nativeCall(() => engine().deviceLaunches(device));

/** Bytes of a device's own memory, free and in all; undefined where it works in the host's (the CPU: without the addon). */
export const deviceMemory = (device: string): { free: number; total: number } | undefined =>
	device === "cpu" ? undefined : (nativeCall(() => engine().deviceMemory(device)) ?? undefined);

/**
 * Does the work and says for how long a GPU had some meanwhile: kernels and copies, by its own clock, from the first that is
 * queued on an idle stream to the end of the last before it is idle again. The few microseconds in which the host queues that
 * first one count too. undefined for devices without a clock.
 */
export async function busyWhile<T>(
	{ kind, name }: Pick<NativeDevice, "kind" | "name">,
	work: () => Promise<T>,
): Promise<{ result: T; busy: NativeBusy | undefined }> {
	if (kind !== "cuda") return { result: await work(), busy: undefined };
	const index = Number(name.split(":")[1]);
	nativeCall(() => engine().startBusyMeter(index));
	const result = await work();
	return { result, busy: nativeCall(() => engine().stopBusyMeter(index)) };
}

/** What this build and this machine have of CUDA. `measure` opens every GPU to learn its free memory. */
export const gpuInfo = (measure = false): NativeGpuInfo => nativeCall(() => engine().gpuInfo(measure));

/**
 * The device that a name means (FINTUNE_DEVICE, where none is given): `auto` is the first GPU, else the CPU; `cuda` is the
 * first GPU.
 * @throws FintuneError E_DEVICE for a device that this build or machine has not, E_ARGUMENT for a name that is none
 */
export function resolveDevice(name: string | undefined): NativeDevice {
	const all = devices();
	const fromEnvironment = name === undefined && process.env.FINTUNE_DEVICE;
	const wanted = name ?? (process.env.FINTUNE_DEVICE || "auto");
	if (wanted === "auto") return all.find((d) => d.kind === "cuda") ?? (all[0] as NativeDevice);
	const found = all.find((d) => d.name === wanted || (wanted === "cuda" && d.kind === "cuda"));
	if (found) return found;
	const names = all.map((d) => d.name);
	throw missingDevice(wanted, names, gpuInfo, fromEnvironment ? "FINTUNE_DEVICE" : "device", addonOutcomes());
}

/** Why `wanted` is none of the devices that there are. */
export function missingDevice(
	wanted: string,
	names: readonly string[],
	info: () => NativeGpuInfo,
	where = "device",
	addons: readonly AddonOutcome[] = [],
): FintuneError {
	const match = /^cuda(?::(\d+))?$/.exec(wanted);
	const details = { where, expected: ["auto", ...names].join(", "), found: wanted };
	if (!match) return new FintuneError("E_ARGUMENT", "unknown device", details);
	const { build, gpus, reason } = info();
	const gpu = gpus[Number(match[1] ?? 0)];
	if (gpu) return new FintuneError("E_DEVICE", `${gpu.name} cannot be used: ${gpu.refused ?? "not with this build"}`, details);
	if (gpus.length > 0) {
		const there = gpus.map(({ index, name }) => `cuda:${index} (${name})`);
		return new FintuneError("E_DEVICE", "there is no such GPU", { ...details, expected: there.join(" or ") });
	}
	const passed = addons.find(({ kind, state }) => kind === "prebuilt-cuda" && state !== "loaded");
	const hint = build
		? undefined
		: passed
			? `the addon with CUDA (${passed.file}) is not in use: ${passed.reason}`
			: "fintune doctor shows which addon is in use, and why; npm run build makes one with CUDA where there is a toolkit";
	return new FintuneError("E_DEVICE", reason ?? "there is no GPU", { ...details, ...(hint ? { hint } : {}) });
}

/**
 * The type in which products are computed on a device; `auto`: bf16 where the hardware multiplies it, else fp16 on a
 * GPU and f32 on a CPU. A GPU that does not multiply bf16 computes in fp16, with a process warning that says so; a CPU
 * that does not computes bf16 by way of f32.
 * @throws FintuneError E_DEVICE for fp16 on a CPU, E_ARGUMENT for a name that is none
 */
export function computeDtype(dtype: DtypeName | undefined, device: NativeDevice): ComputeDtype {
	switch (dtype ?? "auto") {
		case "f32":
			return "f32";
		case "bf16":
			if (device.bf16 || device.kind === "cpu") return "bf16";
			process.emitWarning(`${device.name} does not multiply bf16 (compute capability below 8.0): computing in fp16 instead`, {
				code: "FINTUNE_DTYPE",
			});
			return "fp16";
		case "auto":
			return device.bf16 ? "bf16" : device.kind === "cpu" ? "f32" : "fp16";
		case "fp16":
			if (device.kind !== "cpu") return "fp16";
			throw new FintuneError("E_DEVICE", "fp16 is computed on CUDA devices only", {
				where: "dtype",
				expected: "auto, f32 or bf16",
				found: "fp16",
			});
		default:
			throw new FintuneError("E_ARGUMENT", "unknown dtype", {
				where: "dtype",
				expected: "auto, f32, bf16 or fp16",
				found: String(dtype),
			});
	}
}
