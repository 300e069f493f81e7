/**
 * What the SIMT executor of test builds, which runs CUDA kernels on the host, offers to JavaScript: the `simt` of
 * {@link NativeBinding}.
 * @module
 */

export interface NativeSite {
	file: string;
	line: number;
	kind: "barrier" | "named barrier" | "warp sync" | "async wait" | "swizzle";
	enabled: boolean;
	/** By threads, since the process began. */
	visits: number;
}

/** Wavefronts of shared memory or sectors of global memory: those that accesses took, and the fewest for their bytes. */
export interface NativeCost {
	taken: number;
	least: number;
}

/** What the launches of a kernel moved; native/simt/traffic.h has the model. */
export interface NativeTraffic {
	kernel: string;
	launches: number;
	/** Wavefronts of 128 bytes. */
	shared: NativeCost;
	/** Sectors of 32 bytes. */
	global: NativeCost;
	/** Of global memory: asked for by warps, and those of each launch that are different ones. */
	bytesRead: number;
	bytesWritten: number;
	differentRead: number;
	differentWritten: number;
	/** Where more was taken than the fewest, the worst first. */
	lines: (NativeCost & { line: string; memory: "shared" | "global"; access: "read" | "write" })[];
}

/** A product C [m, n] over k that a library was asked for. */
export interface NativeLibraryProduct {
	m: number;
	n: number;
	k: number;
	accumulate: boolean;
	bias: boolean;
}

/** Section: the SIMT executor, which runs CUDA kernels on the host. */
export interface NativeSimt {
	/** 75, 80, 86, 89, 90, 100 or 120; 80 at first. */
	setCapability(capability: number): void;
	/** Bytes that the device has; 0 (at first): as many as the host gives. */
	setMemory(bytes: bigint | number): void;
	/** Starts the sequence of schedules that belongs to the seed. */
	setSeed(seed: number): void;
	/** When background copies arrive, between their issue and their wait; random at first. */
	setAsyncMode(mode: "early" | "late" | "random"): void;
	/** All that kernels have come to so far, by file and line. */
	sites(): NativeSite[];
	setSite(file: string, line: number, enabled: boolean): void;
	enableAllSites(): void;
	/** A library that makes large products, as cuBLASLt would; off at first. */
	setGemmLibrary(on: boolean): void;
	/** What it has made since it was last switched on or off. */
	libraryProducts(): NativeLibraryProduct[];
	/** Counts what kernels move from now on, afresh, or no longer. */
	countTraffic(on: boolean): void;
	/** What was counted, by kernel; by source line too where asked for. */
	traffic(lines: boolean): NativeTraffic[];
	/** Kernels started since the process began. */
	launches(): number;
	/** Memory accesses and meetings of their threads: what they cost. */
	work(): number;
}
