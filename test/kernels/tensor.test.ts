import { describe, expect, it, vi } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import { FintuneError } from "../../src/errors.js";
import { bf16, f16, normal } from "./support.js";

describe("Tensor", () => {
	it("copies in and out, bf16 rounded to nearest even", () => {
		const values = Float32Array.of(1, 1.00390625, 1.01171875, -3.125, 3.4e38, Number.NaN, Number.NEGATIVE_INFINITY, 1e-40);
		expect([...kernels.tensor([8], values).toFloat32Array()]).toEqual([...values]);
		const half = kernels.tensor([2, 4], values, { dtype: "bf16" });
		expect([...half.toFloat32Array()].slice(0, 4)).toEqual([1, 1, 1.015625, -3.125]);
		expect([...half.toFloat32Array()].slice(4)).toEqual([
			Number.POSITIVE_INFINITY,
			Number.NaN,
			Number.NEGATIVE_INFINITY,
			bf16(1e-40),
		]);
		expect(half.shape).toEqual([2, 4]);
		expect(half.dtype).toBe("bf16");
		const random = normal(1, 1000);
		expect([...kernels.tensor([1000], random, { dtype: "bf16" }).toFloat32Array()]).toEqual([...random].map(bf16));
	});

	it("rounds to f16: to nearest even, subnormals included, to infinity from 65520 on", () => {
		const values = Float32Array.of(
			1,
			1 + 2 ** -11,
			1 + 3 * 2 ** -11,
			65519,
			65520,
			-1e9,
			2 ** -24,
			2 ** -25,
			3 * 2 ** -25,
			-(2 ** -14),
		);
		const half = kernels.tensor([10], values, { dtype: "f16" });
		expect([...half.toUint16Array()]).toEqual([0x3c00, 0x3c00, 0x3c02, 0x7bff, 0x7c00, 0xfc00, 0x0001, 0x0000, 0x0002, 0x8400]);
		expect([...half.toFloat32Array()]).toEqual([...values].map(f16));
		for (const std of [1, 1e-5, 1e4]) {
			const random = normal(2, 1000, std);
			expect([...kernels.tensor([1000], random, { dtype: "f16" }).toFloat32Array()]).toEqual([...random].map(f16));
		}
	});

	it("views indices of the first dimension without a copy, of columns too", () => {
		const t = kernels.tensor(
			[3, 2, 4],
			Float32Array.from({ length: 24 }, (_, i) => i),
		);
		expect([...t.slice(1, 2).toFloat32Array()]).toEqual(Array.from({ length: 16 }, (_, i) => 8 + i));
		const inner = t.columns(1, 2).slice(2, 1);
		expect(inner.shape).toEqual([1, 2, 2]);
		expect([...inner.toFloat32Array()]).toEqual([17, 18, 21, 22]);
		inner.set(Float32Array.of(-1, -2, -3, -4));
		expect([...t.toFloat32Array().subarray(16)]).toEqual([16, -1, -2, 19, 20, -3, -4, 23]);
		expect(() => t.slice(2, 2)).toThrow("slice: expected a range within 0 .. 3, found 2 + 2");
	});

	it("views columns without a copy", () => {
		const t = kernels.tensor([2, 3], [1, 2, 3, 4, 5, 6]);
		const view = t.columns(1, 2);
		expect([...view.toFloat32Array()]).toEqual([2, 3, 5, 6]);
		view.set(Float32Array.of(20, 30, 50, 60));
		expect([...t.toFloat32Array()]).toEqual([1, 20, 30, 4, 50, 60]);
		t.dispose();
		expect([...view.toFloat32Array()]).toEqual([20, 30, 50, 60]);
		expect(() => t.toFloat32Array()).toThrow("disposed");
	});

	it("names what is wrong with an argument, as a FintuneError", () => {
		const wrong = (run: () => unknown): FintuneError => {
			try {
				run();
			} catch (error) {
				expect(error).toBeInstanceOf(FintuneError);
				return error as FintuneError;
			}
			return expect.fail("nothing was thrown");
		};
		expect(wrong(() => kernels.tensor([2], [1, 2, 3])).message).toBe("set: expected 2 elements, found 3");
		expect(wrong(() => kernels.tensor([2], [1, 2, 3])).code).toBe("E_ARGUMENT");
		expect(wrong(() => kernels.tensor([], [])).message).toContain("1 to 4 sizes");
		expect(wrong(() => kernels.tensor([-1])).message).toContain("found -1");
		expect(wrong(() => kernels.tensor([1e9, 1e9])).message).toContain("too many elements");
		expect(wrong(() => kernels.tensor([1], [1], { dtype: "f64" as never })).message).toContain(
			"expected f32, bf16, f16 or i32, found f64",
		);
		expect(wrong(() => kernels.tensor([2], Int32Array.of(1, 2), { dtype: "f32" })).message).toContain("takes a Float32Array");
		expect(wrong(() => kernels.swiglu(kernels.tensor([1]), {} as never)).message).toBe(
			"swigluForward.up: expected a Tensor, found an object",
		);
		expect(wrong(() => kernels.globalNorm([1 as never])).message).toBe(
			"globalNorm.gradients[0]: expected a Tensor, found a number",
		);
		expect(wrong(() => kernels.setIsa("sse9")).message).toMatch(/sse9 is not available here, expected one of: .*generic/);
		expect(wrong(() => kernels.setThreads(-1)).message).toContain("found -1");
		expect(wrong(() => kernels.setThreads(1.5)).message).toContain("whole number");
	});

	it("says so when memory cannot suffice, and lives on", () => {
		let code: string | undefined;
		try {
			kernels.tensor([2 ** 20, 2 ** 20]);
		} catch (error) {
			code = (error as FintuneError).code;
		}
		expect(code).toBe("E_OUT_OF_MEMORY");
		expect([...kernels.tensor([1], [7]).toFloat32Array()]).toEqual([7]);
	});
});

it("lists what was tried when the addon is not there", async () => {
	const before = process.env.FINTUNE_NATIVE;
	process.env.FINTUNE_NATIVE = "no/such/folder/fintune.node";
	try {
		vi.resetModules();
		const { loadNative } = await import("../../src/engine/native.js");
		expect(() => loadNative()).toThrow(
			expect.objectContaining({
				code: "E_NATIVE_MISSING",
				message: expect.stringMatching(/no\/such\/folder\/fintune\.node.*not there[\s\S]*npm run build/) as string,
			}) as Error,
		);
	} finally {
		if (before === undefined) delete process.env.FINTUNE_NATIVE;
		else process.env.FINTUNE_NATIVE = before;
		vi.resetModules();
	}
});
