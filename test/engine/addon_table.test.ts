/**
 * Which addon is loaded, on machines that are not this one.
 * @module
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { constants as osConstants, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type AddonSurroundings, addonCandidates } from "../../src/engine/addon_table.js";
import { describeDriver, driverVersion, findCublasLt, findDriver } from "../../src/engine/driver.js";
import { addonOutcomes } from "../../src/engine/native.js";

const root = "/app";
const cpu = "/app/prebuilds/linux-x64/fintune.node-napi.glibc.node";
const cuda = "/app/prebuilds/linux-x64/cuda/fintune.node-napi.glibc.node";

const table = (changes: Partial<AddonSurroundings> = {}) =>
	addonCandidates({
		root,
		env: {},
		exists: (path) => path === cuda,
		found: () => cpu,
		driver: () => undefined,
		...changes,
	}).map(({ kind, file, use, reason }) => `${use ? "+" : "-"} ${kind} ${file}: ${reason}`);

describe("the table of addons", () => {
	it("takes the CPU addon where there is no sign of a driver", () => {
		expect(table()).toEqual([
			`- prebuilt-cuda ${cuda}: no sign of an NVIDIA driver`,
			`+ prebuilt-cpu ${cpu}: the package's addon for the CPU`,
		]);
	});

	it("takes the CUDA addon where there is one, and has the other in reserve", () => {
		expect(table({ driver: () => "NVIDIA driver 580.65.06" })).toEqual([
			`+ prebuilt-cuda ${cuda}: there is NVIDIA driver 580.65.06`,
			`+ prebuilt-cpu ${cpu}: the package's addon for the CPU`,
		]);
	});

	it("does as FINTUNE_DEVICE asks", () => {
		const driver = () => "a driver";
		expect(table({ env: { FINTUNE_DEVICE: "cpu" }, driver })[0]).toBe(`- prebuilt-cuda ${cuda}: FINTUNE_DEVICE=cpu`);
		expect(table({ env: { FINTUNE_DEVICE: "cuda:1" } })[0]).toBe(`+ prebuilt-cuda ${cuda}: FINTUNE_DEVICE=cuda:1`);
		expect(table({ env: { FINTUNE_DEVICE: "auto" }, driver })[0]).toContain("+ prebuilt-cuda");
	});

	it("knows a package without a CUDA addon", () => {
		expect(table({ exists: () => false, driver: () => "a driver" })).toEqual([
			`- prebuilt-cuda ${cuda}: not there`,
			`+ prebuilt-cpu ${cpu}: the package's addon for the CPU`,
		]);
	});

	it("takes what was built in a checkout, and nothing else", () => {
		const built = "/app/build/Release/fintune.node";
		expect(table({ found: () => built, env: { FINTUNE_DEVICE: "cpu" } })).toEqual([`+ built ${built}: built in this checkout`]);
	});

	it("leaves no choice to FINTUNE_NATIVE", () => {
		const env = { FINTUNE_NATIVE: "/my.node", FINTUNE_DEVICE: "cuda" };
		expect(table({ env, exists: () => true })).toEqual(["+ override /my.node: FINTUNE_NATIVE"]);
		expect(table({ env, exists: () => false })).toEqual(["- override /my.node: FINTUNE_NATIVE: not there"]);
		const relative = table({ env: { FINTUNE_NATIVE: "some/my.node" }, exists: () => true });
		expect(relative).toEqual([`+ override ${process.cwd()}/some/my.node: FINTUNE_NATIVE`]);
	});

	it("says where an addon should be", () => {
		const lines = table({ found: () => undefined });
		expect(lines[0]).toBe("- built /app/build/Release: not there");
		expect(lines[1]).toMatch(/^- prebuilt-cpu \/app\/prebuilds\/\w+-\w+: not there$/);
	});
});

describe("signs of a driver", () => {
	let machine: string;
	const put = (path: string, text = "") => {
		mkdirSync(dirname(join(machine, path)), { recursive: true });
		writeFileSync(join(machine, path), text);
	};
	beforeAll(() => {
		machine = mkdtempSync(join(tmpdir(), "fintune-driver-"));
	});
	afterAll(() => rmSync(machine, { recursive: true, force: true }));

	it("are read from a machine's files", () => {
		expect(describeDriver(findDriver({}, machine))).toBeUndefined();
		put("/dev/nvidiactl");
		expect(describeDriver(findDriver({}, machine))).toBe("an NVIDIA GPU (/dev/nvidiactl) without its library libcuda.so.1");
		put("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n");
		expect(describeDriver(findDriver({}, machine))).toBe("NVIDIA driver 580.65.06 without its library libcuda.so.1");
		put("/usr/lib64/libcuda.so.1");
		expect(findDriver({}, machine)).toEqual({
			version: "580.65.06",
			library: "/usr/lib64/libcuda.so.1",
			deviceFile: "/dev/nvidiactl",
		});
		put("/opt/driver/libcuda.so.1");
		expect(findDriver({ LD_LIBRARY_PATH: "relative:/opt/driver" }, machine).library).toBe("/opt/driver/libcuda.so.1");
	});

	it("go with copies of cuBLASLt, of toolkits and Python packages, the newest first", () => {
		const wheel = "/venv/lib/python3.12/site-packages/nvidia";
		put("/usr/local/cuda/lib64/libcublasLt.so.12");
		put("/usr/local/cuda/lib64/libcublasLt.so");
		put(`${wheel}/cu13/lib/libcublasLt.so.13`);
		put(`${wheel}/cublas/lib/libcublasLt.so.12`);
		const all = findCublasLt({ VIRTUAL_ENV: "/venv", HOME: "/home/someone", CUDA_PATH: "relative" }, machine);
		expect(all).toEqual([
			`${wheel}/cu13/lib/libcublasLt.so.13`,
			"/usr/local/cuda/lib64/libcublasLt.so.12",
			`${wheel}/cublas/lib/libcublasLt.so.12`,
		]);
		expect(findCublasLt({}, join(machine, "venv"))).toEqual([]);
	});

	it("include the version in both forms of the kernel module's line", () => {
		expect(driverVersion("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n")).toBe(
			"535.183.01",
		);
		expect(driverVersion("something else")).toBeUndefined();
	});
});

// Some systems bind all symbols of a library when they load it (musl, hardened ones).
it.runIf(process.platform === "linux")("the addon lacks no symbol, though most are bound when they are first called", () => {
	const loaded = addonOutcomes().find(({ state }) => state === "loaded");
	const program = `process.dlopen({exports: {}}, ${JSON.stringify(loaded?.file)}, ${osConstants.dlopen.RTLD_NOW})`;
	const { status, stderr } = spawnSync(process.execPath, ["-e", program], { encoding: "utf8" });
	expect(stderr).toBe("");
	expect(status).toBe(0);
});
