/**
 * Which toolkit a build takes.
 * @module
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
	defaultArchitectures,
	extraLibraryFolder,
	findToolkit,
	parseArchitectures,
	parseVersion,
	// @ts-expect-error a script without declarations
} from "../../scripts/cuda-toolkit.mjs";

interface Found {
	toolkit?: { origin: string; nvcc: string; version: { text: string; number: number } };
	tried: { origin: string; nvcc: string; reason?: string }[];
	refused?: string;
}
const find = (env: Record<string, string>, architectures = defaultArchitectures as string[]) =>
	findToolkit(architectures, env) as Found;

let dir: string;
beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-toolkit-"));
	for (const version of ["11.8.89", "12.4.131", "12.9.86", "13.0.88"]) {
		const bin = join(dir, version, "bin");
		mkdirSync(bin, { recursive: true });
		const release = version.split(".").slice(0, 2).join(".");
		writeFileSync(join(bin, "nvcc"), `#!/bin/sh\necho "Cuda compilation tools, release ${release}, V${version}"\n`);
		chmodSync(join(bin, "nvcc"), 0o755);
	}
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("findToolkit", () => {
	it("asks CUDACXX, CUDA_PATH, CUDA_HOME and PATH in this order", () => {
		const of = (version: string) => join(dir, version);
		const env = {
			CUDACXX: join(of("13.0.88"), "bin", "nvcc"),
			CUDA_PATH: of("12.9.86"),
			CUDA_HOME: of("12.9.86"),
			PATH: `${join(of("13.0.88"), "bin")}:/usr/bin`,
		};
		expect(find(env).toolkit).toMatchObject({ origin: "CUDACXX", version: { text: "13.0.88", number: 13000 } });
		const { CUDACXX: _first, ...rest } = env;
		expect(find(rest).toolkit).toMatchObject({ origin: "CUDA_PATH", version: { text: "12.9.86" } });
		expect(find({ CUDA_HOME: env.CUDA_HOME }).toolkit?.origin).toBe("CUDA_HOME");
		expect(find({ PATH: env.PATH }).toolkit?.origin).toBe("PATH");
	});

	it("passes over a toolkit that is too old for the architectures, and says so", () => {
		const env = { CUDA_PATH: join(dir, "12.4.131"), PATH: join(dir, "13.0.88", "bin") };
		const { toolkit, tried } = find(env);
		expect(toolkit?.origin).toBe("PATH");
		expect(tried[0]?.reason).toBe("CUDA 12.4.131, but these architectures need 12.8 or newer");
		expect(find(env, ["80", "90a"]).toolkit?.origin).toBe("CUDA_PATH");
		expect(find({ CUDA_PATH: join(dir, "11.8.89") }, ["80"]).tried[0]?.reason).toContain("need 12.0");
	});

	it("refuses a CUDACXX that cannot be used, instead of taking another", () => {
		const missing = find({ CUDACXX: "/nowhere/nvcc", CUDA_PATH: join(dir, "13.0.88") });
		expect(missing.toolkit).toBeUndefined();
		expect(missing.refused).toBe("CUDACXX=/nowhere/nvcc: not there");
		expect(find({ CUDACXX: join(dir, "11.8.89", "bin", "nvcc") }).refused).toContain("CUDA 11.8.89");
		expect(find({ CUDACXX: process.execPath }).refused).toContain("is no nvcc");
	});
});

it("reads architectures", () => {
	expect(parseArchitectures("80;90a, 120 80")).toEqual(["80", "90a", "120"]);
	expect(parseArchitectures("")).toEqual(defaultArchitectures);
	for (const wrong of ["sm_80", "70", "native", "90x"]) {
		expect(() => parseArchitectures(wrong)).toThrow(`FINTUNE_CUDA_ARCHITECTURES: "${wrong}" is no architecture`);
	}
});

it("reads versions", () => {
	expect(parseVersion("Cuda compilation tools, release 12.8, V12.8.93")).toEqual({ text: "12.8.93", number: 12080 });
	expect(parseVersion("v20.1.0")).toBeUndefined();
});

it("finds the library folder of a toolkit without lib64", () => {
	const nvcc = join(dir, "13.0.88", "bin", "nvcc");
	expect(extraLibraryFolder(nvcc)).toBeUndefined();
	const lib = join(dir, "13.0.88", "lib");
	mkdirSync(lib);
	writeFileSync(join(lib, "libcudart_static.a"), "");
	expect(extraLibraryFolder(nvcc)).toBe(lib);
	mkdirSync(`${lib}64`);
	expect(extraLibraryFolder(nvcc)).toBeUndefined();
});
