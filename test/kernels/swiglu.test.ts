import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import { expectGradient, swiglu, swigluBackward } from "./reference.js";
import {
	bitsEqual,
	dot,
	expectClose,
	expectSameBits,
	expectTwice,
	golden,
	normal,
	Surroundings,
	stored,
	targets,
	use,
} from "./support.js";

it("agrees with its own gradient by central differences, in the reference", () => {
	const [gate, up, dh] = [normal(1, 9, 3), normal(2, 9), normal(3, 9)];
	const { dgate, dup } = swigluBackward(gate, up, dh);
	expectGradient(dgate, (p) => dot(dh, swiglu(p, up)), gate, "dgate");
	expectGradient(dup, (p) => dot(dh, swiglu(gate, p)), up, "dup");
});

describe.each(targets)("swiglu, %s", (isa) => {
	it("equals torch in float64 on the golden", async () => {
		use(isa);
		const g = await golden("swiglu");
		const gate = kernels.tensor([13, 52], g.gate as Float32Array);
		const up = kernels.tensor([13, 52], g.up as Float32Array);
		expectClose(kernels.swiglu(gate, up).toFloat32Array(), g.y as Float64Array, 3e-7, "y");
		const { dgate, dup } = kernels.swigluBackward(gate, up, kernels.tensor([13, 52], g.dy as Float32Array));
		expectClose(dgate.toFloat32Array(), g.dgate as Float64Array, 3e-7, "dgate");
		expectClose(dup.toFloat32Array(), g.dup as Float64Array, 3e-7, "dup");
	});

	it.each(["f32", "bf16"] as const)("stays within twice a plain %s loop, in place, between poisoned columns", (dtype) => {
		use(isa);
		const store = stored(dtype);
		fc.assert(
			fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 90 }), fc.integer(), (rows, cols, seed) => {
				const around = new Surroundings();
				const n = rows * cols;
				const [gate, up, dh] = [normal(seed, n, 4), normal(seed + 1, n), normal(seed + 2, n)].map((a) => a.map(store)) as [
					Float32Array,
					Float32Array,
					Float32Array,
				];
				const gt = around.strided(rows, cols, gate, dtype);
				const ut = around.strided(rows, cols, up, dtype);
				const h = around.strided(rows, cols, undefined, dtype);
				kernels.swiglu(gt, ut, { h });
				const want = swiglu(gate, up);
				expectTwice(h.toFloat32Array(), want, swiglu(gate, up, Math.fround).map(store), "h", 2 ** -22);
				const again = around.strided(rows, cols, undefined, dtype);
				kernels.swigluBackward(gt, ut, around.strided(rows, cols, dh, dtype), { dgate: gt, dup: ut, h: again });
				expect(bitsEqual(again.toFloat32Array(), h.toFloat32Array()), "h computed again").toBe(true);
				const back = swigluBackward(gate, up, dh);
				const loop = swigluBackward(gate, up, dh, Math.fround);
				expectTwice(gt.toFloat32Array(), back.dgate, loop.dgate.map(store), "dgate", 2 ** -22);
				expectTwice(ut.toFloat32Array(), back.dup, loop.dup.map(store), "dup", 2 ** -22);
				around.check();
			}),
			{ numRuns: 25, seed: 7 },
		);
	});

	it("is finite at the ends of the range, and the same with any number of threads", () => {
		use(isa);
		const gate = kernels.tensor([1, 6], [-1000, -90, -0, 0, 90, 1000]);
		const ones = kernels.tensor([1, 6], [1, 1, 1, 1, 1, 1]);
		const h = kernels.swiglu(gate, ones).toFloat32Array();
		expect([...h].map((x) => (Math.abs(x) < 1e-36 ? 0 : x))).toEqual([0, 0, 0, 0, 90, 1000]);
		expect(kernels.swigluBackward(gate, ones, ones).dgate.toFloat32Array().every(Number.isFinite)).toBe(true);
		const [a, b] = [kernels.tensor([333, 65], normal(1, 333 * 65)), kernels.tensor([333, 65], normal(2, 333 * 65))];
		expectSameBits(() => [kernels.swiglu(a, b).toFloat32Array(), kernels.swigluBackward(a, b, a).dgate.toFloat32Array()]);
	});
});
