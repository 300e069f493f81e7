import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import type { Environment } from "../../src/engine/environment.js";
import { type Checkpoint, Checkpoints, type TrainerState } from "../../src/stages/checkpoint.js";

const dir = mkdtempSync(join(tmpdir(), "fintune-checkpoint-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const environment: Environment = { fintune: "1", addon: "a", device: "cpu", instruction_set: "avx2", dtype: "f32" };
let count = 0;
function open(folder = join(dir, `${++count}`), work = "work", limit = 2) {
	const warnings: string[] = [];
	return { folder, warnings, checkpoints: new Checkpoints(folder, work, environment, limit, (m) => void warnings.push(m)) };
}
/** Every kind of float that there is, by its bits. */
const bits = [0, 0x80000000, 1, 0x807fffff, 0x3f800001, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc12345];
const tensor = (name: string, from: number) => ({
	name,
	shape: [3, 3],
	data: new Float32Array(Uint32Array.from(bits, (_, i) => bits[(i + from) % bits.length]!).buffer),
});
const checkpoint = (step: number): Checkpoint => ({
	state: {
		step,
		rows: [{ step: 1, epoch: 1 / 3, loss: 0.1 + 0.2, grad_norm: 5e-324, learning_rate: 1e-5, tokens_per_second: 7 }],
		pending: { step, epoch: 1, loss: 1, grad_norm: 1, learning_rate: 0, tokens_per_second: 1 },
		best: { loss: null, step: 0, misses: 0 },
		tokens: 2 ** 40 + 1,
		seconds: 1.5,
		microBatchTokens: 512,
		lossScale: 32768,
		lossScaleSteps: 1999,
		data: { epoch: 1, position: 4, seed: 42 },
		dropout: { seed: 42, step },
		schedule: { type: "cosine", learningRate: 1e-4, warmupSteps: 1, totalSteps: 9 },
	} satisfies TrainerState,
	// Not in the order of their names: the trainer's order comes back.
	parameters: [tensor("z", 0), tensor("a", 1)],
	optimizer: { m: [tensor("z", 2), tensor("a", 3)], v: [tensor("z", 4), tensor("a", 5)] },
	best: [tensor("z", 6), tensor("a", 7)],
});
/** With the bits of floats, so that NaN and -0 compare as they lie in memory. */
const exact = (value: unknown): unknown =>
	JSON.parse(
		JSON.stringify(value, (_, v) => (v instanceof Float32Array ? [...new Uint32Array(v.buffer, v.byteOffset, v.length)] : v)),
	);

it("comes back to the bit", async () => {
	const { folder, checkpoints, warnings } = open();
	expect(await checkpoints.newest()).toBeUndefined();
	expect(await checkpoints.save(checkpoint(3))).toBe("checkpoint-3");
	const found = await open(folder).checkpoints.newest();
	expect(found!.name).toBe("checkpoint-3");
	expect(exact(found!.checkpoint)).toEqual(exact(checkpoint(3)));
	expect(warnings).toEqual([]);
});

it("is a folder of safetensors and JSON with a manifest, and nothing half-written beside it", async () => {
	const { folder, checkpoints } = open();
	await checkpoints.save(checkpoint(3));
	expect(readdirSync(folder)).toEqual(["checkpoint-3"]);
	const files = ["best.safetensors", "manifest.json", "optimizer.safetensors", "parameters.safetensors", "trainer_state.json"];
	expect(readdirSync(join(folder, "checkpoint-3")).sort()).toEqual(files);
	const stored = JSON.parse(readFileSync(join(folder, "checkpoint-3", "trainer_state.json"), "utf8"));
	expect(stored).toMatchObject({ work: "work", environment, parameters: ["z", "a"], state: { step: 3 } });
});

it("counts by number, not by name, when old ones go", async () => {
	const { folder, checkpoints } = open();
	for (const step of [9, 10, 11]) await checkpoints.save(checkpoint(step));
	expect(readdirSync(folder).sort()).toEqual(["checkpoint-10", "checkpoint-11"]);
	expect((await checkpoints.newest())!.name).toBe("checkpoint-11");
});

it("of other work is removed without a word", async () => {
	const { folder, checkpoints } = open();
	await checkpoints.save(checkpoint(3));
	const other = open(folder, "other work");
	expect(await other.checkpoints.newest()).toBeUndefined();
	expect(other.warnings).toEqual([]);
	expect(existsSync(join(folder, "checkpoint-3"))).toBe(false);
});
