/**
 * Where a model computes, and in which type: names that people give to what this build and machine have.
 * @module
 */
import { FintuneError } from "../errors.js";
import type { NativeDevice } from "./binding.js";
import { engine, nativeCall } from "./job.js";
import type { ComputeDtype, DtypeName } from "./types.js";

/** The devices of this build and machine, the CPU first. */
export const devices = (): NativeDevice[] => nativeCall(() => engine().devices());

/** Kernels started so far on a device; 0 where ops are plain functions. */
export const deviceLaunches = (device: string): number => nativeCall(() => engine().deviceLaunches(device));

/**
 * The device that a name means: `auto` is the first GPU, else the CPU; `cuda` is the first GPU.
 * @throws FintuneError E_DEVICE for a device that this build or machine has not, E_ARGUMENT for a name that is none
 */
export function resolveDevice(name: string | undefined): NativeDevice {
	const all = devices();
	const wanted = name ?? "auto";
	if (wanted === "auto") return all.find((d) => d.kind === "cuda") ?? (all[0] as NativeDevice);
	const found = all.find((d) => d.name === wanted || (wanted === "cuda" && d.kind === "cuda"));
	if (found) return found;
	const known = /^cuda(:\d+)?$/.test(wanted);
	throw new FintuneError(known ? "E_DEVICE" : "E_ARGUMENT", known ? "this device is not here" : "unknown device", {
		where: "device",
		expected: ["auto", ...all.map((d) => d.name)].join(", "),
		found: wanted,
	});
}

/**
 * The type in which products are computed on a device; `auto`: bf16 where the hardware multiplies it, else fp16 on a
 * GPU and f32 on a CPU.
 * @throws FintuneError E_DEVICE for fp16 on a CPU, E_ARGUMENT for a name that is none
 */
export function computeDtype(dtype: DtypeName | undefined, device: NativeDevice): ComputeDtype {
	switch (dtype ?? "auto") {
		case "f32":
		case "bf16":
			return dtype as ComputeDtype;
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
