import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { modelShape } from "../../src/bench/model_shapes.js";
import { planStep } from "../../src/bench/step_batch.js";
import { stepFlops } from "../../src/bench/step_flops.js";
import { benchTrain, type TrainBenchOptions } from "../../src/bench/train.js";
import { trainText } from "../../src/bench/train_text.js";
import { initAdapter } from "../../src/engine/adapter.js";
import { openRandomModel } from "../../src/engine/model.js";
import { golden } from "../engine/golden.js";
import { cpu, small, yardstick } from "./support.js";

describe("operations of a step", () => {
	// The budget that fintune's goals are made of: Qwen2.5-1.5B, r=128 on all linears, 16,384 tokens.
	it.each([
		[1024, 120.7],
		[2048, 125.8],
		[4096, 135.9],
		[16384, 196.5],
	])("are those of the budget at S=%i", (length, tera) => {
		const lengths = Array.from({ length: 16384 / length }, () => length);
		const flops = stepFlops(modelShape("qwen2.5-1.5b"), { lengths, targets: 16384, rank: 128 });
		expect(flops.total / 1e12).toBeCloseTo(tera, 0);
		expect(flops.linear_forward / 1e12).toBeCloseTo(42.93, 2);
		expect(flops.head_backward / 1e12).toBeCloseTo(7.65, 2);
		expect(flops.lora_forward / 1e12).toBeCloseTo(4.84, 2);
		expect(flops.lora_backward / 1e12).toBeCloseTo(9.68, 2);
	});
});

describe("the batch of a step", () => {
	const cut = { objective: "sft", tokens: 20, length: 8 } as const;
	it("is filled with sequences, the last one shorter", () => {
		expect(planStep(cut)).toEqual({
			lengths: [8, 8, 4],
			microBatches: [[0, 1, 2]],
			largest: { lengths: [8, 8, 4], objective: "sft" },
		});
		expect(planStep({ ...cut, tokens: 17 }).lengths).toEqual([8, 8]);
	});
	it("is cut into micro-batches by a budget", () => {
		const step = planStep({ ...cut, microBatchTokens: 12 });
		expect(step.microBatches).toEqual([[0], [1, 2]]);
		expect(step.largest.lengths).toEqual([8, 4]);
	});
	it("has pairs for a preference loss", () => {
		expect(planStep({ ...cut, objective: "dpo" }).lengths).toEqual([8, 8, 2, 2]);
		expect(planStep({ ...cut, objective: "dpo", microBatchTokens: 1 }).microBatches).toEqual([[0], [1]]);
	});
	it.each([[{ ...cut, tokens: 1 }], [{ ...cut, length: 1 }], [{ ...cut, objective: "dpo" as const, tokens: 3 }]])(
		"%j is refused",
		(bad) => {
			expect(() => planStep(bad)).toThrow(expect.objectContaining({ code: "E_USAGE" }));
		},
	);
});

describe("bench train", () => {
	let dir: string;
	beforeAll(() => {
		dir = mkdtempSync(join(tmpdir(), "fintune-bench-"));
		cpSync(golden("qwen2-tiny", "model", "config.json"), join(dir, "config.json"));
	});
	afterAll(() => rmSync(dir, { recursive: true, force: true }));
	const options = (more: Partial<TrainBenchOptions> = {}): TrainBenchOptions => ({
		model: golden("qwen2-tiny", "model"),
		device: cpu,
		dtype: "f32",
		threads: 2,
		objective: "sft",
		rank: 4,
		tokens: 40,
		length: 16,
		recompute: "none",
		steps: 3,
		warmup: 1,
		yardstick,
		...more,
	});

	it("measures steps, and the plan is what was taken", async () => {
		const messages: string[] = [];
		const f = await benchTrain(options({ onProgress: (text) => messages.push(text) }));
		expect(f).toMatchObject({ bench: "train", weights: "stored", tokens: 40, sequences: 3, micro_batches: 1, targets: 37 });
		expect(f.samples_ms).toHaveLength(3);
		expect(messages).toHaveLength(5);
		expect(f.planned_bytes).toEqual(f.peak_bytes);
		expect(f.planned_total).toBe(Object.values(f.planned_bytes).reduce((a, b) => a + b, 0));
		expect([f.launches_per_step, f.launches_per_layer, f.device_busy]).toEqual([null, null, null]);
		expect(trainText(f)).not.toMatch(/^device busy/m);
		const busy = { wall_ms: 320, busy_ms: 312, pct: 97.5, spans: 3 };
		expect(trainText({ ...f, launches_per_step: 1200, launches_per_layer: 40, device_busy: busy })).toMatch(
			/^launches +1.200 a step, 40 a layer\ndevice busy +97\.5 % of one more step's wall time \(312\.0* of 320\.0* ms .*, which ran dry 2 times\)$/m,
		);
		expect(f.flops_per_token).toBe(Math.round(f.flops.total / 40));
		expect(f.tokens_per_second.p20).toBeLessThanOrEqual(f.tokens_per_second.p80);
		expect(Math.abs(f.tflops / ((f.flops.total * f.tokens_per_second.p50) / 40 / 1e12) - 1)).toBeLessThan(0.01);
		expect(f.loss.first).toBeGreaterThan(0);
		expect(f.grad_norm.first).toBeGreaterThan(0);
		expect(trainText(f)).toMatch(/^tokens\/s +\S+ \(.*\) over 3 steps$/m);
	});

	it("takes a folder without weights, and starts DPO at ln 2", async () => {
		const f = await benchTrain(options({ model: dir, objective: "dpo", tokens: 64, microBatchTokens: 32, recompute: "full" }));
		expect(f).toMatchObject({ weights: "random", objective: "dpo", sequences: 4, micro_batches: 2, recompute: "full" });
		expect(f.loss.first).toBeCloseTo(Math.LN2, 5);
		expect(f.planned_bytes).toEqual(f.peak_bytes);
	});

	it.each([
		[{ model: "qwen2.5-05b" }, "E_USAGE", "did you mean qwen2.5-0.5b?"],
		[{ model: "./no/such/folder" }, "E_NOT_FOUND", "no such model"],
		[{ length: 100_000 }, "E_USAGE", "longer than the model's positions"],
		[{ model: "qwen2.5-1.5b", tokens: 2 ** 22, length: 2048 }, "E_OUT_OF_MEMORY", "does not fit"],
	])("%j is refused", async (more, code, message) => {
		await expect(benchTrain(options(more))).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
	});

	it("stops when asked to", async () => {
		const signal = AbortSignal.abort();
		await expect(benchTrain(options({ signal }))).rejects.toMatchObject({ code: "E_ABORTED" });
	});
});

it("opens an architecture that no folder describes", async () => {
	const model = await openRandomModel("mine", small, { dtype: "f32", random: { seed: 3, std: 0.3 } });
	try {
		expect(model).toMatchObject({ label: "mine", stopIds: [], config: small });
		await model.addAdapter(initAdapter(small, { r: 2, alpha: 4 }));
		const [score] = await model.score([{ inputIds: [1, 2, 3] }]);
		expect(score?.logprobs).toHaveLength(2);
		const trainer = model.createTrainer();
		await trainer.step({ sequences: [{ inputIds: [1, 2, 3, 4] }] }, { learningRate: 1e-3 });
		const planned = model.planTraining({}, { lengths: [4] });
		expect(trainer.memory()).toEqual(planned);
	} finally {
		model.dispose();
	}
});
