/**
 * Adapters whose factors lie beside the weights of a 16-bit model on device simt: whatever changes an adapter changes its
 * copies, and what the stack looks like makes no difference to them.
 */
import { describe, expect, test } from "vitest";
import { type Adapter, initAdapter } from "../../src/engine/adapter.js";
import { deviceMemory, devices } from "../../src/engine/device.js";
import { kernels } from "../../src/engine/kernels.js";
import { type Model, openModel, openRandomModel } from "../../src/engine/model.js";
import type { ModelConfig } from "../../src/engine/types.js";
import { small } from "../bench/support.js";
import { caseNames, golden, maxDifference, sequences } from "../engine/golden.js";
import { bitsEqual } from "../kernels/support.js";

const has = devices().some((d) => d.name === "simt");

describe.skipIf(!has).each(caseNames.flatMap((name) => (["bf16", "fp16"] as const).map((dtype) => [name, dtype] as const)))(
	"%s in %s: adapters beside the weights",
	(name, dtype) => {
		async function using<T>(adapters: readonly Adapter[], work: (model: Model) => Promise<T>): Promise<T> {
			const model = await openModel(golden(name, "model"), { device: "simt", dtype });
			try {
				for (const adapter of adapters) await model.addAdapter(adapter);
				return await work(model);
			} finally {
				model.dispose();
			}
		}
		const batch = { sequences: sequences(name).slice(0, 3) as never };
		const score = async (model: Model): Promise<Float32Array> =>
			Float32Array.from((await model.score(sequences(name))).flatMap((s) => [...s.logprobs]));
		const fresh = async (adapters: readonly Adapter[]) => using(adapters, score);
		const make = async (r: number, seed: number): Promise<Adapter> =>
			using([], async (model) => {
				await model.addAdapter(initAdapter(model.config, { r, alpha: 12, seed }));
				const trainer = model.createTrainer();
				await trainer.step(batch, { learningRate: 0.05 });
				return trainer.adapter();
			});

		test("a step of the optimiser and parameters from outside reach the copies", async () => {
			const [first, second] = [await make(4, 1), await make(4, 2)];
			await using([first], async (model) => {
				const trainer = model.createTrainer();
				await trainer.step(batch, { learningRate: 0.05 });
				const stepped = trainer.adapter();
				expect(bitsEqual(await score(model), await fresh([stepped])), "after a step").toBe(true);
				expect(bitsEqual(await score(model), await fresh([first]))).toBe(false);
				const named = await using([second], async (other) => other.createTrainer().parameters());
				trainer.setParameters(named);
				expect(bitsEqual(await score(model), await fresh([second])), "after setParameters").toBe(true);
			});
		});

		test("stacks give the same bits however they came about", async () => {
			const [a, b, c] = [await make(8, 1), await make(3, 2), await make(5, 3)];
			await using([a], async (model) => {
				const alone = await score(model);
				await model.addAdapter(b);
				const both = await score(model);
				const lower = await model.score(sequences(name), { adapters: 1 });
				expect(bitsEqual(Float32Array.from(lower.flatMap((s) => [...s.logprobs])), alone), "the lower one").toBe(true);
				expect(bitsEqual(both, await fresh([a, b]))).toBe(true);
				model.popAdapter();
				expect(bitsEqual(await score(model), alone), "after the upper one is gone").toBe(true);
				// In the place where three columns of another rank were.
				await model.addAdapter(c);
				expect(bitsEqual(await score(model), await fresh([a, c])), "with another in its place").toBe(true);
			});
		});

		test("the copies take the memory that the plan says", async () => {
			await using([], async (model) => {
				const before = model.memoryBytes();
				const plan = () => model.planTraining({}, { lengths: [20, 30] });
				const adapter = initAdapter(model.config, { r: 5, alpha: 8 });
				await model.addAdapter(adapter);
				const room = model.memoryBytes() - before - adapter.modules.reduce((n, m) => n + 4 * (m.a.length + m.b.length), 0);
				// 8 columns of OUT rows, 8 rows of IN columns and the corner, two bytes each.
				const want = adapter.modules.reduce((n, m) => n + 16 * (m.a.length / m.r + m.b.length / m.r + 8), 0);
				expect(Math.abs(room - want)).toBeLessThan(0.1 * want);
				const trainer = model.createTrainer();
				const foretold = plan();
				await trainer.step({ sequences: [20, 30].map((n) => sequence(n)) as never }, { learningRate: 0 });
				expect(trainer.memory()).toEqual(foretold);
			});
		});
		const sequence = (n: number) => ({
			inputIds: Int32Array.from({ length: n }, (_, i) => i + 3),
			completionMask: Uint8Array.from({ length: n }, (_, i) => (i > 0 ? 1 : 0)),
		});
	},
);

test.skipIf(!has)("an adapter for which there is no memory changes nothing", async () => {
	const model = await openModel(golden("qwen2-tiny", "model"), { device: "simt", dtype: "bf16" });
	const simt = kernels.simt!;
	try {
		const make = (r: number) => initAdapter(model.config, { r, alpha: 8, seed: r });
		await model.addAdapter(golden("qwen2-tiny", "lora/adapter"));
		const rows = sequences("qwen2-tiny");
		const scores = async () => Float32Array.from((await model.score(rows)).flatMap((s) => [...s.logprobs]));
		const before = await scores();
		simt.setMemory(2 ** 40);
		const { free, total } = deviceMemory("simt")!;
		// Enough for the factors and some of the weights.
		simt.setMemory(total - free + make(64).modules.reduce((n, m) => n + 4 * (m.a.length + m.b.length), 0) + 60_000);
		await expect(model.addAdapter(make(64))).rejects.toThrow(expect.objectContaining({ code: "E_OUT_OF_MEMORY" }) as Error);
		simt.setMemory(0);
		expect(model.adapterCount).toBe(1);
		expect(bitsEqual(await scores(), before)).toBe(true);
		await model.addAdapter(make(64));
		// Its B is zero.
		expect(bitsEqual(await scores(), before)).toBe(true);
	} finally {
		simt.reset();
		model.dispose();
	}
});

const wide: ModelConfig = {
	...small,
	family: "qwen2",
	hiddenSize: 512,
	numLayers: 1,
	numHeads: 8,
	numKvHeads: 8,
	headDim: 64,
	intermediateSize: 1024,
	qkvBias: true,
};

test.skipIf(!has)(
	"with a library every linear of a model is one product a direction, its bias in it",
	async () => {
		const model = await openRandomModel("wide", wide, { device: "simt", dtype: "bf16" });
		try {
			await model.addAdapter(initAdapter(wide, { r: 64, alpha: 64, seed: 1 }));
			const rows = [{ inputIds: Int32Array.from({ length: 9 }, (_, i) => i + 3) }];
			const own = await model.score(rows);
			const scored = await kernels.simt!.libraryProductsOf(() => model.score(rows));
			const linear = (n: number, k: number, bias = false) => [
				{ m: 9, n: 64, k, accumulate: false, bias: false },
				{ m: 9, n, k: k + 64, accumulate: false, bias },
			];
			const layer = [linear(512, 512, true), linear(512, 512, true), linear(512, 512, true), linear(512, 512), linear(1024, 512)];
			expect(scored.products).toEqual([...layer, linear(1024, 512), linear(512, 1024)].flat());
			expect(maxDifference(scored.result[0]!.logprobs, own[0]!.logprobs)).toBeLessThan(0.02);
			// Backward: du and dx of each, where up adds to what gate made. Nothing below q, k and v wants a gradient. dA and dB
			// are our own, in parts.
			const trainer = model.createTrainer();
			const { products } = await kernels.simt!.libraryProductsOf(() => trainer.gradients({ sequences: rows }));
			const back = products.slice(scored.products.length).map((p) => [p.n, p.k, p.accumulate]);
			const [dDown, dGate, dUp, dO] = [
				[1024, 512 + 64, false],
				[512, 1024 + 64, false],
				[512, 1024 + 64, true],
				[512, 512 + 64, false],
			];
			const du = (k: number) => [64, k, false];
			expect(back).toEqual([du(512), dDown, du(1024), dGate, du(1024), dUp, du(512), dO, du(512), du(512), du(512)]);
		} finally {
			model.dispose();
		}
	},
	120_000,
);
