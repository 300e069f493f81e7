import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { foldAdapters } from "../../src/engine/adapter.js";
import { type Model, openModel } from "../../src/engine/model.js";
import { readSafetensors } from "../../src/engine/safetensors.js";
import type { Score } from "../../src/engine/types.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";
import { opened } from "./opened.js";

const json = (...parts: string[]) => JSON.parse(readFileSync(sharedPath(...parts), "utf8"));
const worst = (found: ArrayLike<number>, expected: ArrayLike<number>): number => {
	expect(found.length).toBe(expected.length);
	let most = 0;
	for (let i = 0; i < found.length; i++) most = Math.max(most, Math.abs((found[i] as number) - (expected[i] as number)));
	return most;
};
const bits = (scores: readonly Score[]) =>
	scores.map((s) => Buffer.from(s.logprobs.buffer, s.logprobs.byteOffset, s.logprobs.byteLength).toString("hex"));

interface Sequence {
	input_ids: number[];
	supervised: number[];
}

describe.skipIf(!hasShared).each(["qwen2-tiny", "llama-tiny"])(`%s against transformers (${whyNoShared})`, (name) => {
	const at = (...parts: string[]) => sharedPath("fixtures/golden/hf", name, ...parts);
	const sequences = (): Sequence[] => json("fixtures/golden/hf", name, "inputs.json").sequences;
	const rows = () => sequences().map((s) => ({ inputIds: s.input_ids, completionMask: s.supervised }));

	test("log-probabilities, entropies and logits within ten times float32's noise", async () => {
		const model = await opened(at("model"));
		const golden = await readSafetensors(at("forward.safetensors"));
		const scores = await model.score(rows(), { entropy: true, logits: true });
		scores.forEach((score, i) => {
			expect(worst(score.logprobs, golden.get(`seq${i}.logprob`)?.data ?? [])).toBeLessThan(4e-5);
			expect(worst(score.entropy ?? [], golden.get(`seq${i}.entropy`)?.data ?? [])).toBeLessThan(2e-5);
			const logits = golden.get(`seq${i}.logits`);
			if (logits) expect(worst(score.logits ?? [], logits.data)).toBeLessThan(6e-5);
		});
		const expected = json("fixtures/golden/hf", name, "forward.json");
		const [sum, n] = scores.reduce(([s, c], score) => [s + score.sum, c + score.n], [0, 0]);
		expect(Math.abs(-sum / n - expected.mean_loss)).toBeLessThan(3e-6);
		expect(scores.map((s) => s.n)).toEqual(sequences().map((s) => s.supervised.slice(1).reduce((a, b) => a + b, 0)));
	});

	test.each(["lora", "lora_qv"])("with the stored adapter %s", async (adapter) => {
		const model = await opened(at("model"), { adapters: [at(adapter, "adapter")] });
		const golden = await readSafetensors(at(adapter, "forward.safetensors"));
		const scores = await model.score(rows());
		scores.forEach((score, i) => {
			expect(worst(score.logprobs, golden.get(`seq${i}.logprob`)?.data ?? [])).toBeLessThan(4e-5);
		});
		const base = await readSafetensors(at("forward.safetensors"));
		const below = await model.score(rows(), { adapters: 0 });
		below.forEach((score, i) => {
			expect(worst(score.logprobs, base.get(`seq${i}.logprob`)?.data ?? [])).toBeLessThan(4e-5);
		});
	});

	test("a stack scores as the one adapter that it folds into, and pops to what it was", async () => {
		const stack = [at("train/final_adapter"), at("dpo/probe_adapter")];
		const model = await opened(at("model"), { adapters: stack });
		const both = await model.score(rows());
		const lower = await model.score(rows(), { adapters: 1 });
		const folded = foldAdapters(model.adapters);
		const top = model.popAdapter();
		expect(bits(await model.score(rows()))).toEqual(bits(lower));
		model.popAdapter();
		await model.addAdapter(folded);
		const single = await model.score(rows());
		single.forEach((score, i) => {
			expect(worst(score.logprobs, both[i]?.logprobs ?? [])).toBeLessThan(4e-5);
			if (score.logprobs.length > 10) expect(worst(score.logprobs, lower[i]?.logprobs ?? [])).toBeGreaterThan(1e-2);
		});
		expect(top.config.r).toBe(4);
	});

	test("the same bits alone or packed, with one thread or two", async () => {
		const two = await opened(at("model"));
		const one = await opened(at("model"), { threads: 1 });
		const packed = bits(await two.score(rows()));
		expect(bits(await two.score(rows(), { batchTokens: 1 }))).toEqual(packed);
		expect(bits((await Promise.all(rows().map((row) => one.score([row])))).flat())).toEqual(packed);
		expect(bits(await two.score(rows().reverse())).reverse()).toEqual(packed);
	});

	test("bf16 is no worse than twice torch's own", async () => {
		const model = await opened(at("model"), { dtype: "bf16" });
		const golden = await readSafetensors(at("forward.safetensors"));
		const noise = name === "llama-tiny" ? { max: 0.053, rms: 0.02 } : { max: 0.065, rms: 0.0206 };
		let [squares, count] = [0, 0];
		for (const [i, score] of (await model.score(rows())).entries()) {
			const expected = golden.get(`seq${i}.logprob`)?.data ?? [];
			expect(worst(score.logprobs, expected)).toBeLessThan(2 * noise.max);
			score.logprobs.forEach((x, t) => {
				squares += (x - (expected[t] as number)) ** 2;
				count++;
			});
		}
		expect(Math.sqrt(squares / count)).toBeLessThan(2 * noise.rms);
	});

	test("what cannot be scored is refused, naming it", async () => {
		const model = await opened(at("model"));
		const V = model.config.vocabSize;
		const refused = (row: object, says: RegExp) =>
			expect(model.score([{ inputIds: [1, 2] }, row as { inputIds: number[] }])).rejects.toMatchObject({
				code: "E_ARGUMENT",
				message: expect.stringMatching(says),
			});
		await refused({ inputIds: [] }, /rows\[1\]\.inputIds: an empty sequence/);
		await refused({ inputIds: [1, V] }, /rows\[1\]\.inputIds\[1\][\s\S]*0\.\./);
		await refused({ inputIds: [1.5] }, /rows\[1\]/);
		await refused({ inputIds: new Array(257).fill(1) }, /at most 256 tokens/);
		await refused({ inputIds: [1, 2], completionMask: [1] }, /completionMask/);
		await expect(model.score([{ inputIds: [1] }], { adapters: 1 })).rejects.toMatchObject({ code: "E_ARGUMENT" });
		expect(await model.score([])).toEqual([]);
		expect(await model.score([{ inputIds: [3] }])).toMatchObject([{ sum: 0, n: 0 }]);
		await expect(model.score([{ inputIds: [1, 2] }], { signal: AbortSignal.abort() })).rejects.toMatchObject({
			code: "E_ABORTED",
		});
	});
});

describe.skipIf(!hasShared).each(["stories260K-hf", "stories260K-qwen2-bias"])(`%s (${whyNoShared})`, (name) => {
	test("logits equal those of the golden", async () => {
		const dir = sharedPath("fixtures/weights", name);
		const golden = JSON.parse(readFileSync(join(dir, "golden.json"), "utf8"));
		const bytes = readFileSync(join(dir, "golden_logits.f32"));
		const logits = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
		const ids: number[] = golden.ids ?? golden.input_ids ?? golden.greedy_ids;
		const model = await opened(dir);
		const [score] = await model.score([{ inputIds: ids.slice(0, logits.length / 512) }], { logits: true });
		expect(worst(score?.logits?.subarray(0, logits.length) ?? [], logits)).toBeLessThan(1e-4);
	});
});

describe.skipIf(!hasShared)(`opening (${whyNoShared})`, () => {
	const dir = () => sharedPath("fixtures/golden/hf/qwen2-tiny/model");
	test("devices and dtypes that this build has not", async () => {
		await expect(openModel(dir(), { device: "cuda:0" })).rejects.toMatchObject({ code: "E_DEVICE" });
		await expect(openModel(dir(), { device: "tpu" })).rejects.toMatchObject({ code: "E_ARGUMENT" });
		await expect(openModel(dir(), { dtype: "fp16" })).rejects.toMatchObject({ code: "E_DEVICE" });
		await expect(openModel(dir(), { threads: 0 })).rejects.toMatchObject({ code: "E_ARGUMENT" });
	});
	test("a model that is nowhere", async () => {
		await expect(openModel("no/such-model")).rejects.toMatchObject({
			code: "E_NOT_FOUND",
			message: expect.stringContaining("hf download no/such-model"),
		});
		await expect(openModel("./nowhere")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
	});
	test("NaN among the weights, named", async () => {
		const { cpSync, writeFileSync } = await import("node:fs");
		const at = mkdtempSync(join(tmpdir(), "fintune-nan-"));
		try {
			cpSync(join(dir(), "config.json"), join(at, "config.json"));
			const file = readFileSync(join(dir(), "model.safetensors"));
			const header = JSON.parse(file.subarray(8, 8 + Number(file.readBigUInt64LE())).toString());
			const begin = 8 + Number(file.readBigUInt64LE()) + header["model.layers.1.mlp.up_proj.weight"].data_offsets[0];
			const broken = Buffer.from(file);
			broken.writeFloatLE(Number.NaN, begin + 40);
			writeFileSync(join(at, "model.safetensors"), broken);
			await expect(openModel(at)).rejects.toMatchObject({
				code: "E_WEIGHTS",
				message: expect.stringContaining("model.layers.1.mlp.up_proj.weight"),
			});
		} finally {
			rmSync(at, { recursive: true });
		}
	});
	test("random weights need none in the folder, and depend on the seed", async () => {
		const config = sharedPath("fixtures/golden/hf/llama-tiny/model");
		const row = [{ inputIds: [1, 2, 3, 4, 5] }];
		const [a, b, c] = [7, 7, 8].map((seed) => opened(config, { random: { seed } }));
		const first = bits(await (await (a as Promise<Model>)).score(row));
		expect(bits(await (await (b as Promise<Model>)).score(row))).toEqual(first);
		expect(bits(await (await (c as Promise<Model>)).score(row))).not.toEqual(first);
	});
	test("a disposed model says so", async () => {
		const model = await openModel(dir(), { dtype: "f32" });
		model.dispose();
		model.dispose();
		await expect(model.score([{ inputIds: [1, 2] }])).rejects.toMatchObject({
			code: "E_ARGUMENT",
			message: expect.stringContaining("disposed"),
		});
	});
});
