/**
 * What the bits of a result depend on besides the work itself: build, device and instruction set.
 * @module
 */
import { codeIdentity } from "../version.js";
import { cpuInfo } from "./cpu_info.js";
import { devices, gpuInfo } from "./device.js";
import { hashFile } from "./files.js";
import { kernelSettings } from "./kernel_settings.js";
import type { Model } from "./model.js";
import { nativeFile } from "./native.js";

/** The same code on the same kind of machine gives the same values here. */
export interface Environment {
	/** Version and hash of the program. */
	fintune: string;
	/** sha256 of the addon. */
	addon: string;
	device: string;
	/** The CPU's instruction set in use; a GPU's name and compute capability, and whether its warpgroups are used. */
	instruction_set: string;
	/** In which products are computed. */
	dtype: string;
}

/** Hash of the addon that would be loaded; empty where there is none. */
export async function addonIdentity(): Promise<string> {
	const file = nativeFile();
	return file === undefined ? "" : hashFile(file);
}

/** Where an open model computes, and with what. */
export async function environmentOf(model: Pick<Model, "device" | "dtype">): Promise<Environment> {
	const { device, dtype } = model;
	const gpu = device.startsWith("cuda") ? gpuInfo().gpus.find(({ index }) => `cuda:${index}` === device) : undefined;
	const warpgroups = devices().find(({ name }) => name === device)?.hopper && kernelSettings.hopper() ? ", warpgroups" : "";
	return {
		fintune: codeIdentity(),
		addon: await addonIdentity(),
		device,
		instruction_set: gpu ? `${gpu.name}, sm_${gpu.capability}${warpgroups}` : cpuInfo().isa,
		dtype,
	};
}
