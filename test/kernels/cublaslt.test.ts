import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { root } from "../repository.js";

const compiler = process.env.CXX ?? "c++";
const hasCompiler = process.platform === "linux" && spawnSync(compiler, ["--version"]).status === 0;

/** The loader of cuBLASLt against a library of our own that computes what NVIDIA documents (cublaslt/fake.cc). */
it.skipIf(!hasCompiler)(
	"calls cuBLASLt as it is documented, one algorithm for any number of rows",
	() => {
		const dir = mkdtempSync(join(tmpdir(), "fintune-cublaslt-"));
		try {
			const native = join(root, "native");
			const here = join(root, "test", "kernels", "cublaslt");
			const [fake, main] = [join(dir, "libfake.so"), join(dir, "main")];
			const flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-I", native];
			execFileSync(compiler, [...flags, "-shared", "-fPIC", join(here, "fake.cc"), "-o", fake]);
			execFileSync(compiler, [...flags, join(here, "main.cc"), join(native, "cuda", "cublaslt.cc"), "-ldl", "-o", main]);
			const lines = execFileSync(main, [fake], { encoding: "utf8" }).trimEnd().split("\n");
			expect(lines.shift()).toMatch(/libfintune-none\.so\.1: .*; libc\.so\.6: not all functions of cuBLASLt are in it/);
			expect(lines.shift()).toBe("version 13.1.2");
			// In the library's columns C is [40, 5].
			const products = ["a b^T", "a b", "a^T b"].flatMap((layout) =>
				["bf16 to f32", "bf16 to bf16", "f16 to f32", "f16 to f16"].flatMap((types) =>
					["", ", added"].map(
						(added) => `${layout}, ${types}${added}: 40 x 5 x 32 by the algorithm for ${layout === "a^T b" ? 5 : 4096}`,
					),
				),
			);
			expect(lines.splice(0, products.length)).toEqual(products);
			expect(lines).toEqual([
				"asked 12 times",
				"a b^T, bf16 to f32: 40 x 1 x 32 by the algorithm for 4096",
				"a b, bf16 to f32: 40 x 77 x 32 by the algorithm for 4096",
				"a^T b, bf16 to f32: 40 x 5 x 9 by the algorithm for 5",
				"asked 12 times",
				"a b^T, bf16 to bf16, biased: 40 x 5 x 32 by the algorithm for 4096",
				"a b^T, f16 to f16, biased: 40 x 5 x 32 by the algorithm for 4096",
				"asked 14 times",
				"a b^T, bf16 to f32: not offered",
				"a b^T, bf16 to f32: not offered",
				"a b^T, bf16 to f32: E_DEVICE: cuBLASLt: a product failed with status 13",
			]);

			const opened = (version: number) => {
				const env = { ...process.env, FAKE_CUBLASLT_VERSION: String(version) };
				return spawnSync(main, [fake, "open"], { encoding: "utf8", env }).stdout.trimEnd().split("\n").at(-1);
			};
			// Version 11 has counted in both ways.
			const known = { 11605: "11.6.5", 110902: "11.9.2", 120804: "12.8.4", 130000: "13.0.0", 139999: "13.99.99" };
			for (const [number, text] of Object.entries(known)) expect(opened(Number(number))).toBe(`version ${text}`);
			const unknown = { 10205: "10.2.5", 140001: "14.0.1", 9020: "9.0.20", 0: "0.0.0" };
			for (const [number, text] of Object.entries(unknown)) {
				expect(opened(Number(number))).toContain(`${fake}: version ${text}, and fintune knows 11, 12 and 13`);
			}
		} finally {
			rmSync(dir, { recursive: true });
		}
	},
	300_000,
);
