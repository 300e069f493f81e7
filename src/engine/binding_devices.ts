/**
 * What the native addon says of devices: a part of binding.ts.
 * @module
 */

export interface NativeDevice {
	/** "cpu", "cuda:0", .. */
	name: string;
	kind: "cpu" | "cuda" | "simt";
	/** bf16 is multiplied by the hardware. */
	bf16: boolean;
	/** GPUs: what makes dense products, "cuBLASLt 13.0.2 (file)", or "own" where that is absent. */
	gemm?: string;
	/** Attention may go to warpgroups there (FINTUNE_HOPPER). */
	hopper?: true;
}

/** One GPU as the CUDA driver shows it. */
export interface NativeGpu {
	index: number;
	name: string;
	/** Ten times the compute capability: 75, 80, 86, 89, 90, 100, 120, ... */
	capability: number;
	multiprocessors: number;
	memoryTotal: number;
	/** null where it was not measured, or could not be. */
	memoryFree: number | null;
	/** Why this build cannot use it; null where it can. */
	refused: string | null;
}
export interface NativeGpuInfo {
	/** What the addon was built with; null: without CUDA. */
	build: {
		toolkit: string;
		architectures: string[];
		ptx: string | null;
		driverFloor: string;
		driverFloorBlackwell: string;
	} | null;
	/** The newest CUDA that the driver knows, 13000 for 13.0; 0 without a driver. */
	driver: number;
	gpus: NativeGpu[];
	/** Why there is no GPU that can be used; null where there is one. */
	reason: string | null;
	/** The library that multiplies large matrices, e.g. "cuBLASLt 13.1.0 (libcublasLt.so.13)"; null: our own kernels. */
	productLibrary: string | null;
	/** Why it is our own kernels. */
	whyOwnProducts: string | null;
	/** Beside a library: files that are there or were named and are not used, each with the reason. */
	passedOver: string | null;
	/** Products of this process that the library made. */
	productsByLibrary: number;
	/** Those that it did not offer, so that our own kernels made them although it is there. */
	productsNotOffered: number;
	/** The first of them: layout, types, m x n x k. */
	firstNotOffered: string | null;
}

export interface NativeBusy {
	ms: number;
	/** Between two of them the GPU had run out of work. */
	spans: number;
}
