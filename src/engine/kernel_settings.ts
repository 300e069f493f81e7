/**
 * Where the public kernels compute, and how: device, instruction set, threads, the timer of benchmarks, and the SIMT
 * executor of test builds.
 * @module
 */
import type { NativeBinding } from "./binding.js";
import type { NativeLibraryProduct, NativeSite, NativeTraffic } from "./binding_simt.js";
import { nativeCall } from "./job.js";
import { loadNative } from "./native.js";

/** Runs one native kernel; its errors become FintuneErrors (E_ARGUMENT names the argument). */
export const call = <T>(run: (k: NativeBinding) => T): T => nativeCall<T>(() => run(loadNative()));

/** Marks a place in the device's queue for {@link stopTimer}. One timer at a time. */
const startTimer = (): void => call((k) => k.startTimer());
/** Waits for all queued work: milliseconds from the mark to here, by the device's own clock where it has one. */
const stopTimer = (): number => call((k) => k.stopTimer());
/** Kernels started so far; 0 where ops are plain functions. */
const launches = (): number => call((k) => k.launches());

/** Instruction sets of this CPU and build, the best first. */
const isas = (): string[] => call((k) => k.isas());
/** The one in use. */
const isa = (): string => call((k) => k.isa());
/** Chooses another, for the whole process (tests and benchmarks). */
const setIsa = (name: string): void => call((k) => k.setIsa(name));
/** Threads of the kernels. */
const threads = (): number => call((k) => k.threads());
/** 0: all CPUs of this process. */
const setThreads = (count: number): void => call((k) => k.setThreads(count));

/** Whether attention goes to the warpgroups of an sm_90 (FINTUNE_HOPPER=1, until it is set). */
const hopper = (): boolean => call((k) => k.hopper());
const setHopper = (on: boolean): void => call((k) => k.setHopper(on));
/** What `run` makes with that choice, whatever it is otherwise. */
function withHopper<T>(on: boolean, run: () => T): T {
	const before = hopper();
	setHopper(on);
	try {
		return run();
	} finally {
		setHopper(before);
	}
}

/** Names of the devices that kernels can run on, the CPU first. */
const devices = (): string[] => call((k) => k.devices().map(({ name }) => name));
const device = (): string => call((k) => k.device());
/** Where kernels run, and where new tensors lie, from now on (the CPU at first). */
const setDevice = (name: string): void => call((k) => k.setDevice(name));

/** The SIMT executor of test builds, which runs CUDA kernels on the host. */
export interface Simt {
	/** Starts the sequence of schedules that belongs to the seed. */
	setSeed(seed: number): void;
	/** When background copies arrive, between their issue and their wait; random at first. */
	setAsyncMode(mode: "early" | "late" | "random"): void;
	/** Compute capability, times ten; 80 at first. */
	setCapability(capability: number): void;
	/** Bytes of the device's memory; 0, at first: without limit. */
	setMemory(bytes: number): void;
	/** The places of synchronisation that kernels have come to so far. */
	sites(): SimtSite[];
	/** Kernels leave the site out from now on. */
	disableSite(site: Pick<SimtSite, "file" | "line">): void;
	enableAll(): void;
	/** All as at first: seed 0, random copies, capability 80, memory without limit, all sites enabled. */
	reset(): void;
	/** What kernels move while `run` runs: wavefronts, sectors and bytes, by kernel. `lines`: by source line too. */
	trafficOf(run: () => void, lines?: boolean): SimtTraffic[];
	/** What a library of products, as cuBLASLt is one, is asked for while `run` runs. */
	libraryProductsOf<T>(run: () => Promise<T> | T): Promise<{ result: T; products: LibraryProduct[] }>;
	/** Kernels started so far. */
	launches(): number;
	/** Memory accesses and meetings of their threads so far: what they cost. */
	work(): number;
}
export type SimtSite = NativeSite;
export type SimtTraffic = NativeTraffic;
export type LibraryProduct = NativeLibraryProduct;

/** undefined but in test builds. */
export function simt(): Simt | undefined {
	const k = loadNative().simt;
	if (!k) return undefined;
	return {
		setSeed: (seed) => nativeCall(() => k.setSeed(seed)),
		setAsyncMode: (mode) => nativeCall(() => k.setAsyncMode(mode)),
		setCapability: (capability) => nativeCall(() => k.setCapability(capability)),
		setMemory: (bytes) => nativeCall(() => k.setMemory(bytes)),
		sites: () => k.sites(),
		disableSite: ({ file, line }) => nativeCall(() => k.setSite(file, line, false)),
		enableAll: () => k.enableAllSites(),
		reset: () => {
			k.setSeed(0);
			k.setAsyncMode("random");
			k.setCapability(80);
			k.setMemory(0);
			k.enableAllSites();
		},
		trafficOf(run, lines = false) {
			k.countTraffic(true);
			try {
				run();
				return k.traffic(lines);
			} finally {
				k.countTraffic(false);
			}
		},
		async libraryProductsOf(run) {
			k.setGemmLibrary(true);
			try {
				const result = await run();
				return { result, products: k.libraryProducts() };
			} finally {
				k.setGemmLibrary(false);
			}
		},
		launches: () => k.launches(),
		work: () => k.work(),
	};
}

export const kernelSettings = {
	startTimer,
	stopTimer,
	launches,
	isas,
	isa,
	setIsa,
	threads,
	setThreads,
	hopper,
	setHopper,
	withHopper,
	devices,
	device,
	setDevice,
};
