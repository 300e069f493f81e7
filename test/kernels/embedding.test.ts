import { describe, expect, it } from "vitest";
import { kernels } from "../../src/engine/kernels.js";
import { bf16, expectSameBits, integers, itOnCpu, normal, Surroundings, targets, use } from "./support.js";

describe.each(targets)("embedding, %s", (isa) => {
	it.each([
		["f32", "f32", 1],
		["bf16", "f32", 7],
		["f32", "bf16", 65],
		["bf16", "bf16", 129],
	] as const)("gathers rows of %s into %s exactly, %i wide", (from, to, width) => {
		use(isa);
		const around = new Surroundings();
		const vocab = 11;
		const w = normal(1, vocab * width).map(from === "bf16" ? bf16 : Math.fround);
		const ids = Int32Array.of(3, 0, 10, 3, 7);
		const y = around.strided(ids.length, width, undefined, to);
		kernels.embedding(around.tensor([ids.length], ids, "i32"), around.strided(vocab, width, w, from), { y });
		const round = to === "bf16" ? bf16 : Math.fround;
		expect([...y.toFloat32Array()]).toEqual([...ids].flatMap((id) => [...w.subarray(id * width, (id + 1) * width)].map(round)));
		around.check();
	});

	it("widens f16, subnormals included", () => {
		use(isa);
		const weight = kernels.tensor([2, 3], Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7bff, 0x03ff, 0x8000), { dtype: "f16" });
		const y = kernels.embedding(kernels.tensor([2], Int32Array.of(1, 0)), weight).toFloat32Array();
		expect([...y].map((x) => x + 0)).toEqual([65504, 1023 * 2 ** -24, 0, 1, -2, 2 ** -24]);
	});

	it("adds gradients of repeated ids exactly, on whole numbers, with any number of threads", () => {
		use(isa);
		const [tokens, vocab, width] = [97, 5, 131];
		const ids = Int32Array.from({ length: tokens }, (_, t) => (t * t) % vocab);
		const dy = integers(2, tokens * width, 9);
		const want = new Float64Array(vocab * width).fill(1);
		dy.forEach((g, i) => {
			const target = (ids[Math.floor(i / width)] as number) * width + (i % width);
			want[target] = (want[target] as number) + g;
		});
		expectSameBits(() => {
			const around = new Surroundings();
			const dweight = around.strided(vocab, width, new Float32Array(vocab * width).fill(1));
			kernels.embeddingBackward(around.tensor([tokens], ids, "i32"), around.strided(tokens, width, dy), dweight);
			around.check();
			expect([...dweight.toFloat32Array()]).toEqual([...want]);
			return [dweight.toFloat32Array()];
		});
	});

	it("takes no token at all", () => {
		use(isa);
		const weight = kernels.tensor([4, 2], normal(1, 8));
		expect(kernels.embedding(kernels.tensor([0], new Int32Array(0)), weight).toFloat32Array()).toHaveLength(0);
	});

	// On a GPU those who upload the ids check them.
	itOnCpu(isa)("refuses ids outside of the vocabulary before it writes", () => {
		use(isa);
		const weight = kernels.tensor([4, 2], normal(1, 8));
		for (const id of [-1, 4]) {
			const y = kernels.tensor([2, 2]);
			expect(() => kernels.embedding(kernels.tensor([2], Int32Array.of(1, id)), weight, { y })).toThrow(
				`token 1 has id ${id}, expected 0 .. 3`,
			);
			expect([...y.toFloat32Array()]).toEqual([0, 0, 0, 0]);
		}
	});
});
