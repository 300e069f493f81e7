/**
 * Why a device is not there, on machines that are not this one.
 * @module
 */
import { describe, expect, it } from "vitest";
import { cudaLines, judgeSettings } from "../../src/cli/doctor_cuda.js";
import { gpuInfo, missingDevice, type NativeGpuInfo } from "../../src/engine/device.js";

const build = { toolkit: "13.0", architectures: ["75", "80", "90a"], ptx: "90", driverFloor: "580", driverFloorBlackwell: "580" };
const h100 = {
	index: 0,
	name: "NVIDIA H100 80GB HBM3",
	capability: 90,
	multiprocessors: 132,
	memoryTotal: 80 * 2 ** 30,
	memoryFree: 79 * 2 ** 30,
	refused: null,
};
const v100 = { ...h100, index: 1, name: "Tesla V100", capability: 70, refused: "compute capability 7.0: too old" };

const missing = (wanted: string, info: NativeGpuInfo) => missingDevice(wanted, ["cpu"], () => info);
const products = {
	productLibrary: null,
	whyOwnProducts: "no libcublasLt.so.13",
	passedOver: null,
	productsByLibrary: 0,
	productsNotOffered: 0,
	firstNotOffered: null,
};
const without = (reason: string): NativeGpuInfo => ({ build, driver: 0, gpus: [], reason, ...products });

describe("a device that is not there", () => {
	it("is explained", () => {
		const noDriver = missing("cuda", without("no NVIDIA driver was found"));
		expect(noDriver).toMatchObject({ code: "E_DEVICE", exitStatus: 69, found: "cuda", expected: "auto, cpu" });
		expect(noDriver.message).toContain("no NVIDIA driver was found");

		const noCuda = missing("cuda:1", { ...without("this build has no CUDA"), build: null });
		expect(noCuda.message).toContain("fintune doctor");

		const file = "/package/prebuilds/linux-x64/cuda/fintune.node";
		const outcome = { kind: "prebuilt-cuda", file, use: false, reason: "no sign of an NVIDIA driver", state: "skipped" } as const;
		const cpuAddon = () => ({ ...without("this addon has no CUDA"), build: null });
		expect(missingDevice("cuda", ["cpu"], cpuAddon, "device", [outcome]).message).toContain(
			`the addon with CUDA (${file}) is not in use: no sign of an NVIDIA driver`,
		);

		const info: NativeGpuInfo = { build, driver: 13000, gpus: [h100, v100], reason: null, ...products };
		expect(missing("cuda:9", info).message).toContain("cuda:0 (NVIDIA H100 80GB HBM3) or cuda:1 (Tesla V100), found cuda:9");
		expect(missing("cuda:1", info).message).toContain("Tesla V100 cannot be used: compute capability 7.0: too old");
	});

	it("is another matter than a name that is none", () => {
		expect(missing("gpu", without("unasked"))).toMatchObject({ code: "E_ARGUMENT", found: "gpu" });
	});
});

describe("doctor's lines", () => {
	it("show the GPUs", () => {
		expect(cudaLines({ build, driver: 13010, gpus: [h100, v100], reason: null, ...products }, "NVIDIA driver 590.1")).toEqual([
			["cuda", "CUDA 13.0 for sm_75, 80, 90a and PTX of 90; needs driver 580 or newer"],
			["products", "fintune's own kernels: no libcublasLt.so.13"],
			["driver", "NVIDIA driver 590.1, up to CUDA 13.1"],
			["cuda:0", "NVIDIA H100 80GB HBM3, sm_90, 132 multiprocessors, 79.0 GiB free of 80.0 GiB"],
			["cuda:1", expect.stringMatching(/^Tesla V100, sm_70, .*: cannot be used: compute capability 7\.0: too old$/)],
			["hopper", "off: FINTUNE_HOPPER=1 lets attention and dense products use warpgroups"],
		]);
	});

	it("show which products the library has left to others, and which files were passed over", () => {
		const shown = (info: Partial<NativeGpuInfo>) =>
			cudaLines({ ...without("no GPU"), productLibrary: "cuBLASLt 13.1.2 (x)", ...info }, undefined).find(
				([name]) => name === "products",
			)?.[1];
		expect(shown({ productsByLibrary: 7 })).toBe("cuBLASLt 13.1.2 (x)");
		expect(shown({ productsByLibrary: 7, productsNotOffered: 2, firstNotOffered: "NT f16 to f16, 1 x 2 x 3" })).toBe(
			"cuBLASLt 13.1.2 (x); it made 7 products and did not offer 2 (the first: NT f16 to f16, 1 x 2 x 3), which fintune's own kernels made",
		);
		expect(shown({ passedOver: "/a.so.14: version 14.0.1, and fintune knows 11, 12 and 13" })).toBe(
			"cuBLASLt 13.1.2 (x); passed over: /a.so.14: version 14.0.1, and fintune knows 11, 12 and 13",
		);
	});

	it("show the driver that newer GPUs need", () => {
		const line = (more: Partial<typeof build>) => {
			const older = { ...build, toolkit: "12.8", driverFloor: "525", driverFloorBlackwell: "570", ...more };
			return cudaLines({ ...without("no GPU"), build: older }, undefined)[0]?.[1];
		};
		expect(line({ architectures: ["80", "100", "120"], ptx: "120" })).toBe(
			"CUDA 12.8 for sm_80, 100, 120 and PTX of 120; needs driver 525 or newer, 570 for compute capability 10 and 12",
		);
		expect(line({})).toMatch(/needs driver 525 or newer$/);
	});

	it("show FINTUNE_HOPPER where it changes nothing", () => {
		const hopper = (info: Partial<NativeGpuInfo>, on: boolean) =>
			cudaLines({ ...without("no GPU"), ...info }, undefined, on).find(([name]) => name === "hopper")?.[1];
		expect(hopper({ gpus: [h100] }, true)).toMatch(/^on: /);
		expect(hopper({}, true)).toBe("FINTUNE_HOPPER=1 changes nothing here: no GPU of compute capability 9.0");
		expect(hopper({ build: { ...build, architectures: ["80"] }, gpus: [h100] }, true)).toMatch(/the build has no code for 90a$/);
		expect(hopper({ build: null }, true)).toMatch(/the addon has no CUDA$/);
		expect(hopper({}, false)).toBeUndefined();
	});

	it("show why there is none", () => {
		expect(cudaLines({ ...without("this build has no CUDA"), build: null }, undefined)).toEqual([
			["cuda", "not in this addon"],
			["driver", "no sign of an NVIDIA driver"],
			["gpu", "none: this build has no CUDA"],
		]);
	});
});

describe("what the environment asks for", () => {
	const library = { ...without("no GPU"), productLibrary: "cuBLASLt 13.1.2 (x)" };
	const errors = (info: NativeGpuInfo, env: NodeJS.ProcessEnv, device?: string) => judgeSettings(info, device, env).errors;

	it("is judged", () => {
		for (const FINTUNE_GEMM of ["", "own", "cublaslt"]) expect(errors(library, { FINTUNE_GEMM })).toEqual([]);
		for (const FINTUNE_GEMM of ["", "own"]) expect(errors(without("no GPU"), { FINTUNE_GEMM })).toEqual([]);
		expect(errors(library, { FINTUNE_GEMM: "cublas" })).toMatchObject([{ code: "E_ARGUMENT", exitStatus: 64, found: "cublas" }]);
		const insisted = { FINTUNE_GEMM: "cublaslt" };
		expect(errors(without("no GPU"), insisted)).toMatchObject([
			{ code: "E_DEVICE", exitStatus: 69, found: "no libcublasLt.so.13" },
		]);
		expect(errors({ ...without("no GPU"), build: null }, insisted)).toMatchObject([{ found: "an addon without CUDA" }]);
		expect(errors(library, {}, "cuda:99")).toMatchObject([{ code: "E_DEVICE", exitStatus: 69, where: "device" }]);
	});
});

it("this machine is asked without harm", () => {
	for (const measure of [false, true, false]) {
		const { gpus, reason, driver } = gpuInfo(measure);
		expect(driver).toBeGreaterThanOrEqual(0);
		expect(reason === null).toBe(gpus.some(({ refused }) => refused === null));
	}
});
