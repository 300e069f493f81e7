import { describe, expect, it } from "vitest";
import { modelShape, modelShapeNames } from "../../src/bench/model_shapes.js";
import { parseShape, shapeText } from "../../src/bench/op.js";
import { opBenches, selectCases } from "../../src/bench/registry.js";
import { kernels } from "../../src/engine/kernels.js";
import { small, smallBatch } from "./support.js";

/** The public kernels and the benchmarks that time them. */
const covered: Record<string, string[]> = {
	embedding: ["embedding_forward"],
	embeddingBackward: ["embedding_backward"],
	rmsnorm: ["rmsnorm_forward"],
	rmsnormBackward: ["rmsnorm_backward"],
	ropeTables: ["rope_tables"],
	rope: ["rope_forward", "rope_backward"],
	attention: ["attention_forward"],
	attentionBackward: ["attention_backward"],
	attentionDecode: ["attention_decode"],
	swiglu: ["swiglu_forward"],
	swigluBackward: ["swiglu_backward"],
	loraLinear: ["linear_forward"],
	loraLinearBackward: ["linear_backward"],
	linearLogprob: ["linear_logprob_forward", "linear_logprob_backward"],
	gatherRows: ["gather_rows"],
	scatterRows: ["scatter_rows"],
	storeRows: ["store_rows"],
	convert: ["convert"],
	adamw: ["adamw"],
	globalNorm: ["global_norm"],
	sampleRows: ["sample_greedy", "sample_draw"],
	preferenceLoss: ["preference_loss"],
};
/** Made of the above, or not arithmetic. */
const others = [
	"tensor",
	"linearCrossEntropy",
	"sample",
	"samplingDistribution",
	"dpoLoss",
	"copy",
	"startTimer",
	"stopTimer",
	"launches",
];
const settings = [
	...["isas", "isa", "setIsa", "threads", "setThreads", "devices", "device", "setDevice", "simt"],
	...["hopper", "setHopper", "withHopper"],
];

it("times every public kernel", () => {
	const known = [...Object.keys(covered), ...others, ...settings];
	expect(Object.keys(kernels).filter((name) => !known.includes(name))).toEqual([]);
	expect(opBenches.map((b) => b.name).sort()).toEqual(Object.values(covered).flat().sort());
});

describe("a choice of ops and shapes", () => {
	const texts = (ops: string[], shapes: string[]) =>
		selectCases(ops, shapes, smallBatch).map(({ bench, shape }) => `${bench.name}:${shapeText(shape)}`);

	it("takes families, single ops, models and shapes, each case once", () => {
		expect(texts(["swiglu"], ["smollm2-135m", "smollm2-135m"])).toEqual([
			"swiglu_forward:T=21,F=1536",
			"swiglu_backward:T=21,F=1536",
		]);
		expect(texts(["adamw"], ["adamw:P=10,C=2"])).toEqual(["adamw:P=10,C=2"]);
		expect(texts([], ["swiglu:T=1,F=2", "attention_decode:N=1, L=2,H=2,G=1,K=8"])).toEqual([
			"swiglu_forward:T=1,F=2",
			"swiglu_backward:T=1,F=2",
			"attention_decode:N=1,L=2,H=2,G=1,K=8",
		]);
	});

	it("takes back every shape that it prints", () => {
		for (const name of modelShapeNames) {
			for (const bench of opBenches) {
				for (const shape of bench.shapes(modelShape(name), smallBatch)) {
					expect(parseShape(bench, shapeText(shape)), bench.name).toEqual(shape);
				}
			}
		}
	});

	it("has each size of linear once, with the adapter and without", () => {
		const linears = texts(["linear_forward"], ["qwen2.5-1.5b"]);
		expect(linears).toEqual(
			["1536,OUT=1536", "1536,OUT=256", "1536,OUT=8960", "8960,OUT=1536"].flatMap((size) =>
				[0, 3].map((r) => `linear_forward:T=21,IN=${size},R=${r}`),
			),
		);
	});

	it.each([
		[["atention"], ["smollm2-135m"], "did you mean attention?"],
		[["linear_foward"], ["smollm2-135m"], "did you mean linear_forward?"],
		[[], ["qwen2.5-1.5"], "did you mean qwen2.5-1.5b?"],
		[[], ["swiglo:T=1,F=2"], "did you mean swiglu?"],
		[[], ["swiglu:T=1,f=2"], "did you mean F?"],
		[[], ["swiglu:T=1"], "F missing"],
		[[], ["swiglu:T=1,T=2,F=3"], "T is given twice"],
		[[], ["swiglu:T=-1,F=2"], "T is a whole number"],
		[[], ["swiglu:T=99999999999,F=2"], "T is a whole number"],
		[["adamw"], ["swiglu:T=1,F=2"], "no op is left"],
	])("refuses %j with %j, naming the nearest", (ops, shapes, message) => {
		expect(() => texts(ops, shapes)).toThrow(
			expect.objectContaining({ code: "E_USAGE", message: expect.stringContaining(message) }),
		);
	});
});

it("counts operations as the budget of a Qwen2.5-1.5B step does", () => {
	const model = modelShape("qwen2.5-1.5b");
	const batch = { tokens: 16384, length: 2048, rank: 128 };
	const flops = (name: string, pick: (shape: Record<string, number>) => boolean = () => true): number => {
		const bench = opBenches.find((b) => b.name === name) as (typeof opBenches)[number];
		return bench
			.shapes(model, batch)
			.filter(pick)
			.reduce((sum, shape) => sum + bench.flops(shape), 0);
	};
	expect(flops("linear_logprob_forward") / 1e12).toBeCloseTo(7.65, 2);
	expect(flops("linear_logprob_backward") / 1e12).toBeCloseTo(15.3, 1);
	expect((28 * flops("attention_forward")) / 1e12).toBeCloseTo(2.89, 2);
	expect((28 * flops("attention_backward")) / 1e12).toBeCloseTo(7.22, 1);
	const frozen = (s: Record<string, number>) => s.R === 0 && s.OUT !== 256;
	const trained = (s: Record<string, number>) => s.R !== 0 && s.OUT !== 256;
	const twice = flops("linear_forward", (s) => s.R === 0 && s.OUT === 1536 && s.IN === 1536);
	// q and o are of one size, gate and up too, k and v are small.
	const small = 2 * flops("linear_forward", (s) => s.R === 0 && s.OUT === 256);
	const gate = flops("linear_forward", (s) => s.R === 0 && s.OUT === 8960);
	expect((28 * (flops("linear_forward", frozen) + twice + gate + small)) / 1e12).toBeCloseTo(42.93, 1);
	expect(flops("linear_forward", trained)).toBeGreaterThan(flops("linear_forward", frozen));
});

it("has shapes and formulas for any architecture", () => {
	for (const bench of opBenches) {
		for (const shape of bench.shapes(small, smallBatch)) {
			expect(Object.keys(shape)).toEqual(Object.keys(bench.letters));
			expect(bench.bytes(shape, "f32"), bench.name).toBeGreaterThan(0);
			expect(bench.bytes(shape, "bf16")).toBeLessThanOrEqual(bench.bytes(shape, "f32"));
			expect(bench.flops(shape)).toBeGreaterThanOrEqual(0);
		}
	}
});
