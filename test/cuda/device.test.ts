/**
 * The CUDA backend's host side (devices, errors, staging, survey) on a runtime without GPUs: fake_runtime.cc and selftest.cc
 * beside this file, compiled with the toolkit's headers.
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
// @ts-expect-error a script without declarations
import { findToolkit } from "../../scripts/cuda-toolkit.mjs";
import { readText, root } from "../repository.js";

const { toolkit } = findToolkit() as { toolkit?: { nvcc: string } };
const names = [...readText("test/cuda/selftest.cc").matchAll(/^ {4}\{"([^"]+)", \w+\},$/gm)].map((match) => match[1] as string);

describe.skipIf(!toolkit)(`on a fake CUDA runtime${toolkit ? "" : " (needs a CUDA toolkit: npm run cuda:toolchain)"}`, () => {
	let dir: string;
	beforeAll(() => {
		dir = mkdtempSync(join(tmpdir(), "fintune-cuda-"));
		const base = dirname(dirname(toolkit?.nvcc as string));
		const headers = [join(base, "include"), join(base, "targets", "x86_64-linux", "include")].filter(existsSync);
		const folder = (name: string) => readdirSync(join(root, name)).map((file) => join(root, name, file));
		const sources = ["native/cuda", "native/core", "test/cuda"].flatMap(folder);
		const compiled = spawnSync(
			process.env.CXX ?? "c++",
			[
				...["-std=c++17", "-g1", "-O0", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fsanitize=address,undefined"],
				...['-DFINTUNE_CUDA_ARCHITECTURES="75 80 90a"', '-DFINTUNE_CUDA_PTX="90"', "-I", join(root, "native")],
				...headers.flatMap((header) => ["-isystem", header]),
				...sources.filter((file) => file.endsWith(".cc") && !/\/(absent|table)\.cc$/.test(file)),
				...["-o", join(dir, "selftest"), "-ldl", "-pthread"],
			],
			{ encoding: "utf8" },
		);
		expect(compiled.stderr).toBe("");
		expect(compiled.status).toBe(0);
		const fake = ["-std=c++17", "-O1", "-I", join(root, "native"), "-shared", "-fPIC"];
		const source = join(root, "test", "kernels", "cublaslt", "fake.cc");
		const library = spawnSync(process.env.CXX ?? "c++", [...fake, source, "-o", join(dir, "libfake.so")], { encoding: "utf8" });
		expect(library.stderr).toBe("");
	}, 600_000);
	afterAll(() => rmSync(dir, { recursive: true, force: true }));

	for (const name of names) {
		it(name, () => {
			const env = {
				...process.env,
				ASAN_OPTIONS: "detect_leaks=0",
				FINTUNE_CUBLASLT: join(dir, "libfake.so"),
				FAKE_CUBLASLT_REFUSES: "1",
				FAKE_CUBLASLT_QUIET: "1",
				FINTUNE_GEMM: "",
			};
			const { stdout, stderr, status } = spawnSync(join(dir, "selftest"), [name], { encoding: "utf8", env });
			expect(stdout + stderr).toBe("ok\n");
			expect(status).toBe(0);
		});
	}
});

it("has cases", () => expect(names.length).toBeGreaterThan(5));
