/**
 * The native sources on arm64: all of them below the addon compile without a warning, and the CPU kernels, run under an
 * emulator, give what the plain kernels of this processor give, up to the rounding of fused multiply-adds.
 * @module
 */
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import { expectClose, normal, starts } from "../kernels/support.js";
import { root, sourceFiles } from "../repository.js";

const compiler = process.env.FINTUNE_ARM64_CXX ?? "aarch64-linux-gnu-g++";
const emulator = process.env.FINTUNE_ARM64_EMULATOR ?? "qemu-aarch64-static";
const runs = (command: string): boolean => spawnSync(command, ["--version"]).status === 0;
const hasCompiler = runs(compiler);
const hasEmulator = hasCompiler && runs(emulator);

// As in CMakeLists.txt; an arm64 build has one instruction set.
const flags = [
	..."-std=c++17 -Wall -Wextra -Wno-unused-parameter -Werror -ffp-contract=off -fno-math-errno -fPIC".split(" "),
	"-Inative",
	"-DFINTUNE_ISA=generic",
];
const run = promisify(execFile);

/** Compiles one file: "" when the compiler is content, else what it says. */
async function compile(file: string, more: readonly string[]): Promise<string> {
	try {
		await run(compiler, [...flags, ...more, file], { cwd: root });
		return "";
	} catch (error) {
		return `${file}: ${(error as { stderr: string }).stderr}`;
	}
}

/** Two at a time, as the tests themselves run. */
async function compileAll(files: readonly string[], more: (file: string) => readonly string[]): Promise<string[]> {
	const left = [...files];
	const said: string[] = [];
	const work = async (): Promise<void> => {
		for (let file = left.shift(); file !== undefined; file = left.shift()) said.push(await compile(file, more(file)));
	};
	await Promise.all([work(), work()]);
	return said.filter(Boolean);
}

const scratch = mkdtempSync(join(tmpdir(), "fintune-arm64-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const suite = hasCompiler ? "arm64" : `arm64: skipped, no ${compiler} (install g++-aarch64-linux-gnu or set FINTUNE_ARM64_CXX)`;
describe.skipIf(!hasCompiler)(suite, () => {
	it("compiles model, train and generate", async () => {
		const files = sourceFiles(["native/model", "native/train", "native/generate"], /\.cc$/);
		expect(files.length).toBeGreaterThan(10);
		expect(await compileAll(files, () => ["-fsyntax-only"])).toEqual([]);
	}, 300_000);

	const why = hasEmulator ? "" : ` (skipped, no ${emulator}: install qemu-user-static or set FINTUNE_ARM64_EMULATOR)`;
	describe(`kernels${why}`, () => {
		const program = join(scratch, "kernels");
		const object = (file: string): string => join(scratch, `${file.replaceAll("/", "_")}.o`);
		let said: string[];
		beforeAll(async () => {
			kernels.setIsa("generic");
			const files = [...sourceFiles(["native/core", "native/cpu"], /\.cc$/), "test/arm64/kernels.cc"];
			said = await compileAll(files, (file) => ["-O2", "-c", "-o", object(file)]);
			if (said.length > 0 || !hasEmulator) return;
			// Static, so that the emulator needs no libraries of the other processor.
			await run(compiler, ["-static", ...files.map(object), "-o", program]);
		}, 300_000);

		it("compiles core and cpu", () => expect(said).toEqual([]));

		/** Runs one kernel: its arrays one behind the other. */
		function emulated(op: string, sizes: readonly number[], inputs: readonly ArrayLike<number>[]): Float32Array {
			const input = Buffer.concat(inputs.map((values) => Buffer.from(Float32Array.from(values).buffer)));
			const { status, stdout, stderr } = spawnSync(emulator, [program, op, ...sizes.map(String)], { input, maxBuffer: 1 << 26 });
			expect(status, stderr.toString()).toBe(0);
			return new Float32Array(stdout.buffer.slice(stdout.byteOffset, stdout.byteOffset + stdout.byteLength));
		}
		/** Compares with tensors that this processor computed. */
		function expectEqual(found: Float32Array, expected: Record<string, Float32Array>, tolerance = 2e-6): void {
			let at = 0;
			for (const [name, values] of Object.entries(expected)) {
				expectClose(found.subarray(at, at + values.length), values, tolerance, name);
				at += values.length;
			}
			expect(found).toHaveLength(at);
		}
		it.skipIf(!hasEmulator).each([
			["dense, f32", 37, 0, 0],
			["dense, bf16 weights", 37, 0, 1],
			["rowwise, f32", 5, 1, 0],
			["rowwise, bf16 weights", 5, 1, 1],
		])("linear with LoRA, forward and backward: %s", (_, rows, rowwise, narrow) => {
			const [n, out, r] = [403, 75, 8];
			const [x, w, a, b] = [normal(1, rows * n), normal(2, out * n), normal(3, r * n), normal(4, out * r)];
			const dy = normal(5, rows * out);
			const xt = kernels.tensor([rows, n], x);
			const weight = kernels.tensor([out, n], w, { dtype: narrow ? "bf16" : "f32" });
			const adapters = [{ a: kernels.tensor([r, n], a), b: kernels.tensor([out, r], b), scale: 2 }];
			const { y, u } = kernels.loraLinear(xt, weight, { adapters, rowwise: rowwise === 1 });
			const [da, db] = [kernels.tensor([r, n]), kernels.tensor([out, r])];
			const dx = kernels.loraLinearBackward(kernels.tensor([rows, out], dy), xt, weight, { adapters, u, da, db });
			const all = Object.entries({ y, u: u!, dx, da, db }).map(([name, t]) => [name, t.toFloat32Array()]);
			expectEqual(emulated("linear", [rows, n, out, r, rowwise, narrow], [x, w, a, b, dy]), Object.fromEntries(all));
		});

		it.skipIf(!hasEmulator)("rmsnorm, with rows that fill no vector", () => {
			const [x, w] = [normal(1, 9 * 77), normal(2, 77)];
			const { y, rstd } = kernels.rmsnorm(kernels.tensor([9, 77], x), kernels.tensor([77], w), { eps: 1e-5 });
			expectEqual(emulated("rmsnorm", [9, 77], [x, w]), { y: y.toFloat32Array(), rstd: rstd.toFloat32Array() });
		});

		it.skipIf(!hasEmulator)("swiglu, whose exp has its own vector code, at large arguments too", () => {
			const [gate, up] = [normal(1, 6 * 51, 40), normal(2, 6 * 51)];
			const h = kernels.swiglu(kernels.tensor([6, 51], gate), kernels.tensor([6, 51], up));
			expectEqual(emulated("swiglu", [6, 51], [gate, up]), { h: h.toFloat32Array() });
		});

		it.skipIf(!hasEmulator)("attention over packed sequences", () => {
			const lengths = [5, 17, 70];
			const [rows, heads, kvHeads, dim] = [92, 4, 2, 20];
			const [q, k, v] = [normal(1, rows * heads * dim), normal(2, rows * kvHeads * dim), normal(3, rows * kvHeads * dim)];
			const cuSeqlens = starts(lengths);
			const tensor = (values: Float32Array) => kernels.tensor([rows, values.length / rows], values);
			const { y, lse } = kernels.attention(tensor(q), tensor(k), tensor(v), {
				cuSeqlens: kernels.tensor([lengths.length + 1], cuSeqlens),
				heads,
				kvHeads,
				scale: 0.25,
			});
			const found = emulated("attention", [rows, heads, kvHeads, dim, lengths.length], [cuSeqlens, q, k, v]);
			expectEqual(found, { y: y.toFloat32Array(), lse: lse.toFloat32Array() });
		});

		it.skipIf(!hasEmulator)("log-probabilities of the head and their gradient", () => {
			const [rows, width, vocab] = [11, 40, 211];
			const [h, w, weights] = [normal(1, rows * width), normal(2, vocab * width), normal(3, rows)];
			const targets = Int32Array.from({ length: rows }, (_, i) => (i * 67) % vocab);
			const { logprob, dhidden } = kernels.linearLogprob(
				kernels.tensor([rows, width], h),
				kernels.tensor([vocab, width], w),
				kernels.tensor([rows], targets),
				{ weights: kernels.tensor([rows], weights) },
			);
			const found = emulated("logprob", [rows, width, vocab], [h, w, targets, weights]);
			expectEqual(found, { logprob: logprob.toFloat32Array(), dhidden: dhidden!.toFloat32Array() });
		});
	});
});
