import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { GenerateOptions, GenerateRow, GenerateStatistics, Generation } from "../../src/engine/types.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";
import { opened } from "./opened.js";

interface Case {
	prompt: number[];
	tokens: number[];
	finish_reason: "eos" | "length";
}
/** What can be shared, by comparing all rows: whole pages of 32 that some row before begins with, but never the last token. */
function sharedTokens(rows: readonly GenerateRow[]): number {
	const seen = new Set<string>();
	let sum = 0;
	for (const { inputIds } of rows) {
		for (let n = 32; n < inputIds.length; n += 32) {
			const prefix = [...inputIds].slice(0, n).join(" ");
			if (seen.has(prefix)) sum += 32;
			seen.add(prefix);
		}
	}
	return sum;
}
const plain = (g: Generation) => ({ index: g.index, outputIds: [...g.outputIds], finishReason: g.finishReason });
const outputs = (all: readonly Generation[]) => all.map((g) => `${g.finishReason} ${[...g.outputIds].join(" ")}`);

describe.skipIf(!hasShared).each(["qwen2-tiny", "llama-tiny"])(`%s (${whyNoShared})`, (name) => {
	const dir = () => sharedPath("fixtures/golden/hf", name);
	const golden = () => JSON.parse(readFileSync(join(dir(), "generate.json"), "utf8"));
	const expected = (c: Case, index: number) => ({
		index,
		outputIds: c.finish_reason === "eos" ? c.tokens.slice(0, -1) : c.tokens,
		finishReason: c.finish_reason === "eos" ? "stop" : "length",
	});
	const rowsOf = (cases: readonly Case[]): GenerateRow[] => cases.map((c) => ({ inputIds: c.prompt }));
	const sampled: GenerateOptions = { maxNewTokens: 40, temperature: 1.3, topP: 0.95, seed: 11 };
	/** Twelve prompts of 1 to 34 tokens. */
	const prompts = (): GenerateRow[] =>
		Array.from({ length: 12 }, (_, i) => ({
			inputIds: Array.from({ length: 1 + 3 * i }, (_, t) => (i * 31 + t * 17) % 300),
			stream: i,
		}));

	test("greedy tokens equal transformers'", async () => {
		const model = await opened(join(dir(), "model"));
		const { greedy, max_new_tokens: maxNewTokens, eos_token_id: eos } = golden();
		expect(model.stopIds).toEqual([eos]);
		expect((await model.generate(rowsOf(greedy), { maxNewTokens })).map(plain)).toEqual(greedy.map(expected));
		const penalised = golden()["greedy_repetition_penalty_1.2"];
		const found = await model.generate(rowsOf(penalised), { maxNewTokens, repetitionPenalty: 1.2 });
		expect(found.map(plain)).toEqual(penalised.map(expected));
	});

	test("greedy tokens with a stored adapter", async () => {
		const model = await opened(join(dir(), "model"), { adapters: [join(dir(), "lora/adapter")] });
		const { greedy_lora: cases, greedy, max_new_tokens: maxNewTokens } = golden();
		expect((await model.generate(rowsOf(cases), { maxNewTokens })).map(plain)).toEqual(cases.map(expected));
		expect((await model.generate(rowsOf(greedy), { maxNewTokens, adapters: 0 })).map(plain)).toEqual(greedy.map(expected));
	});

	test("the distribution of the first token", async () => {
		const model = await opened(join(dir(), "model"));
		const { greedy, first_token_distribution: d } = golden();
		for (const [i, { tokens, probs }] of d.per_prompt.entries()) {
			const options = { temperature: d.temperature, topK: d.top_k, topP: d.top_p };
			const p = await model.nextTokenDistribution({ inputIds: greedy[i].prompt }, options);
			expect(p.length).toBe(model.config.vocabSize);
			expect([...p.keys()].filter((id) => (p[id] as number) > 0).sort((a, b) => a - b)).toEqual(
				[...tokens].sort((a, b) => a - b),
			);
			tokens.forEach((id: number, j: number) => {
				expect(Math.abs((p[id] as number) - probs[j])).toBeLessThan(8e-6);
			});
		}
	});

	test("samples follow that distribution", async () => {
		const model = await opened(join(dir(), "model"));
		const options = { temperature: 1.5, topK: 12 };
		const inputIds = golden().greedy[1].prompt;
		const p = await model.nextTokenDistribution({ inputIds }, options);
		const n = 2000;
		const rows = Array.from({ length: n }, (_, stream) => ({ inputIds, stream }));
		const counts = new Map<number, number>();
		for (const g of await model.generate(rows, { ...options, maxNewTokens: 1, stopIds: [], maxBatch: 256 })) {
			const id = g.outputIds[0] as number;
			counts.set(id, (counts.get(id) ?? 0) + 1);
		}
		let chiSquare = 0;
		for (const [id, probability] of p.entries()) {
			if (probability > 0) chiSquare += ((counts.get(id) ?? 0) - n * probability) ** 2 / (n * probability);
			else expect(counts.has(id)).toBe(false);
		}
		// 11 degrees of freedom: beyond 35 with probability 2e-4; the seed is fixed.
		expect(chiSquare).toBeLessThan(35);
	});

	test.each<[string, GenerateOptions]>([
		["greedy", { maxNewTokens: 40 }],
		["sampled", sampled],
		["penalised", { ...sampled, repetitionPenalty: 1.3, topK: 50, minP: 0.01 }],
	])("%s: the same output alone, in any batch, in any order, on any number of threads", async (_, options) => {
		const model = await opened(join(dir(), "model"), { adapters: [join(dir(), "lora/adapter")] });
		const together = outputs(await model.generate(prompts(), options));
		expect(new Set(together).size).toBeGreaterThan(6);
		const alone: string[] = [];
		for (const row of prompts()) alone.push(...outputs(await model.generate([row], options)));
		expect(alone).toEqual(together);
		for (const [maxBatch, prefillTokens] of [
			[1, 1],
			[2, 16],
			[5, 40],
			[12, 4096],
		] as const) {
			expect(outputs(await model.generate(prompts(), { ...options, maxBatch, prefillTokens }))).toEqual(together);
		}
		const reversed = await model.generate(prompts().reverse(), { ...options, maxBatch: 3 });
		expect(outputs(reversed).reverse()).toEqual(together);
		const single = await opened(join(dir(), "model"), { adapters: [join(dir(), "lora/adapter")], threads: 1 });
		expect(outputs(await single.generate(prompts(), { ...options, maxBatch: 4 }))).toEqual(together);
	});

	test("bf16 has the same independence", async () => {
		const model = await opened(join(dir(), "model"), { dtype: "bf16" });
		const together = outputs(await model.generate(prompts(), sampled));
		expect(outputs(await model.generate(prompts(), { ...sampled, maxBatch: 2, prefillTokens: 8 }))).toEqual(together);
		const last = prompts().slice(-1);
		expect(outputs(await model.generate(last, sampled))).toEqual(together.slice(-1));
	});

	/** Rows over two nested instructions, with lengths at, before and behind the edges of pages of 32; some twice. */
	const alike = (): GenerateRow[] => {
		const instruction = Array.from({ length: 100 }, (_, t) => (t * 29 + 7) % 300);
		const other = [...instruction.slice(0, 40), ...instruction.slice(0, 60).reverse()];
		const tail = (i: number) => Array.from({ length: i % 7 }, (_, t) => (i * 13 + t * 5) % 300);
		const inputs = [
			...[1, 31, 32, 33, 63, 64, 65, 96, 97, 100].map((n) => instruction.slice(0, n)),
			...Array.from({ length: 8 }, (_, i) => [...(i % 2 ? instruction : other), ...tail(i)]),
			[...instruction.slice(0, 64), 5],
			[...instruction.slice(0, 64), 5],
		];
		return inputs.map((inputIds, stream) => ({ inputIds, stream }));
	};

	test.each(["f32", "bf16"] as const)("%s: prefix sharing and a small cache change no output", async (dtype) => {
		const model = await opened(join(dir(), "model"), { dtype, adapters: [join(dir(), "lora/adapter")] });
		const rows = alike();
		const options = { maxNewTokens: 12, temperature: 1.4, seed: 5, stopIds: [] };
		const run = async (more: GenerateOptions) => {
			let statistics: GenerateStatistics | undefined;
			const callbacks = { onStatistics: (s: GenerateStatistics) => (statistics = s) };
			const found = outputs(await model.generate(rows, { ...options, ...more }, callbacks));
			return { found, statistics: statistics as GenerateStatistics };
		};
		const apart = await run({ prefixSharing: false });
		const promptTokens = rows.reduce((sum, r) => sum + r.inputIds.length, 0);
		expect(apart.statistics).toMatchObject({ promptTokens, sharedTokens: 0, generatedTokens: rows.length * 12 });
		expect(new Set(apart.found).size).toBeGreaterThan(15);
		const shared = await run({});
		expect(shared.found).toEqual(apart.found);
		const expected = sharedTokens(rows);
		expect(shared.statistics).toMatchObject({ promptTokens, sharedTokens: expected });
		for (const more of [{ maxBatch: 2 }, { maxBatch: 3, prefillTokens: 40 }, { prefillTokens: 1 }]) {
			const again = await run(more);
			expect(again.found, JSON.stringify(more)).toEqual(apart.found);
			expect(again.statistics.sharedTokens).toBe(expected);
		}
		expect((await run({ maxBatch: 1 })).found).toEqual(apart.found);
		// Room for the longest row alone, and for a little more: what is shared may have to go, and be computed again.
		for (const cacheTokens of [128, 160, 300]) {
			const tight = await run({ cacheTokens });
			expect(tight.found, `${cacheTokens} tokens`).toEqual(apart.found);
			expect(tight.statistics.cacheTokens).toBe(Math.floor(cacheTokens / 32) * 32);
			expect((await run({ cacheTokens, prefixSharing: false })).found).toEqual(apart.found);
		}
		const refused = model.generate(rows, { ...options, cacheTokens: 127 });
		await expect(refused).rejects.toMatchObject({
			code: "E_ARGUMENT",
			message: expect.stringMatching(/prompt \d+ has \d+ tokens, with 12 new ones it takes 128 tokens .* cacheTokens is 127/),
		});
	});

	test("seed and stream choose the samples", async () => {
		const model = await opened(join(dir(), "model"));
		const row = { inputIds: [5, 6, 7] };
		const run = async (stream: number, seed: number) =>
			outputs(await model.generate([{ ...row, stream }], { ...sampled, seed }))[0];
		expect(await run(0, 1)).toBe(await run(0, 1));
		expect(await run(1, 1)).not.toBe(await run(0, 1));
		expect(await run(0, 2)).not.toBe(await run(0, 1));
	});

	test("several stop ids, none, and no new token at all", async () => {
		const model = await opened(join(dir(), "model"));
		const { prompt, tokens } = golden().greedy.find((c: Case) => new Set(c.tokens).size > 3) as Case;
		const stop = tokens[2] as number;
		const first = tokens.indexOf(stop);
		const [g] = await model.generate([{ inputIds: prompt }], { maxNewTokens: 24, stopIds: [383, stop] });
		expect(plain(g as Generation)).toEqual({ index: 0, outputIds: tokens.slice(0, first), finishReason: "stop" });
		const [endless] = await model.generate([{ inputIds: prompt }], { maxNewTokens: 50, stopIds: [] });
		expect(endless).toMatchObject({ finishReason: "length" });
		expect(endless?.outputIds.length).toBe(50);
		const none = await model.generate([{ inputIds: prompt }, { inputIds: [1] }], { maxNewTokens: 0 });
		expect(none.map(plain)).toEqual([0, 1].map((index) => ({ index, outputIds: [], finishReason: "length" })));
		expect(await model.generate([])).toEqual([]);
	});

	test("what cannot be generated is refused, with the numbers", async () => {
		const model = await opened(join(dir(), "model"));
		const refused = (rows: GenerateRow[], options: GenerateOptions, says: RegExp) =>
			expect(model.generate(rows, options)).rejects.toMatchObject({ code: "E_ARGUMENT", message: expect.stringMatching(says) });
		await refused([{ inputIds: [1] }, { inputIds: [] }], { maxNewTokens: 9 }, /rows\[1\]\.inputIds: an empty/);
		await refused([{ inputIds: [1, 2, 3] }], { maxNewTokens: 254 }, /at most 256 tokens.*3 of the prompt \+ 254 new/);
		await refused([{ inputIds: [1] }], { maxNewTokens: -1 }, /maxNewTokens/);
		await refused([{ inputIds: [1] }], { maxNewTokens: 2, temperature: -1 }, /temperature/);
		await refused([{ inputIds: [1] }], { maxNewTokens: 2, topP: 0 }, /topP/);
		await refused([{ inputIds: [1] }], { maxNewTokens: 2, topK: 1.5 }, /topK/);
		await refused([{ inputIds: [1] }], { maxNewTokens: 2, repetitionPenalty: 0 }, /repetitionPenalty/);
		await refused([{ inputIds: [1] }], { maxNewTokens: 2, maxBatch: 0 }, /maxBatch/);
		await refused([{ inputIds: [1] }], { maxNewTokens: 2, adapters: 1 }, /adapters/);
		// The last position may be used.
		const [full] = await model.generate([{ inputIds: [1, 2, 3] }], { maxNewTokens: 253, stopIds: [] });
		expect(full?.outputIds.length).toBe(253);
	});

	test("callbacks come while it works, the loop stays alive, and a signal stops it", async () => {
		const model = await opened(join(dir(), "model"));
		const seen: number[] = [];
		const totals: number[] = [];
		let ticks = 0;
		const timer = setInterval(() => ticks++, 1);
		const rows = Array.from({ length: 30 }, (_, i) => ({ inputIds: [i + 1, 2, 3] }));
		const options = { maxNewTokens: 200, stopIds: [], maxBatch: 4 };
		const all = await model.generate(rows, options, { onFinished: (g) => seen.push(g.index), onTokens: (n) => totals.push(n) });
		clearInterval(timer);
		expect([...seen].sort((a, b) => a - b)).toEqual(rows.map((_, i) => i));
		expect(all.map((g) => g.index)).toEqual(rows.map((_, i) => i));
		expect(totals.at(-1)).toBe(30 * 200);
		expect(totals).toEqual([...totals].sort((a, b) => a - b));
		expect(ticks).toBeGreaterThan(0);

		const stop = new AbortController();
		const stopped: number[] = [];
		const running = model.generate(rows, options, {
			signal: stop.signal,
			onFinished: (g) => {
				stopped.push(g.index);
				stop.abort();
			},
		});
		await expect(running).rejects.toMatchObject({ code: "E_ABORTED" });
		expect(stopped.length).toBeLessThan(30);
		// The model works on, and a callback that throws is what the caller sees.
		const broken = model.generate(rows, options, {
			onFinished: () => {
				throw new RangeError("of the caller");
			},
		});
		await expect(broken).rejects.toThrow("of the caller");
		expect(outputs(await model.generate(rows.slice(0, 2), options))).toEqual(outputs(all).slice(0, 2));
	});

	test("a plan says what generation takes", async () => {
		const model = await opened(join(dir(), "model"));
		const { numLayers, numKvHeads, headDim } = model.config;
		const plan = model.planGeneration({ maxBatch: 4, promptTokens: 100, maxNewTokens: 28 });
		expect(plan.kv_cache).toBe(4 * 128 * numLayers * 2 * numKvHeads * headDim * 4);
		expect(plan.weights).toBeGreaterThan(0);
		expect(plan.activations).toBeGreaterThan(0);
		const wider = model.planGeneration({ maxBatch: 8, promptTokens: 100, maxNewTokens: 28 });
		expect(wider.kv_cache).toBe(2 * (plan.kv_cache ?? 0));
	});
});

describe.skipIf(!hasShared)(`stories260K with biases (${whyNoShared})`, () => {
	test("greedy continuation equals the golden", async () => {
		const dir = sharedPath("fixtures/weights/stories260K-qwen2-bias");
		const golden = JSON.parse(readFileSync(join(dir, "golden.json"), "utf8"));
		const model = await opened(dir);
		const [g] = await model.generate([{ inputIds: golden.greedy_prompt }], { maxNewTokens: golden.greedy.length, stopIds: [] });
		expect([...(g?.outputIds ?? [])]).toEqual(golden.greedy);
	});
});

const smollm2 = process.env.FINTUNE_SMOLLM2;
describe.skipIf(!smollm2 || !hasShared)(
	"SmolLM2-135M (needs FINTUNE_SMOLLM2, the folder of the model, and the shared fixtures)",
	() => {
		interface Row {
			input_ids: number[];
			output_ids: number[];
			finish_reason: string;
			min_gap: number;
		}
		const golden = () => JSON.parse(readFileSync(sharedPath("fixtures/golden/smollm2/greedy.json"), "utf8"));

		test("greedy tokens of 20 prompts, where no near tie decides", { timeout: 600_000 }, async () => {
			const model = await opened(smollm2 as string);
			const rows: Row[] = golden().generate;
			const found = await model.generate(
				rows.map((r) => ({ inputIds: r.input_ids })),
				{ maxNewTokens: golden().max_new_tokens },
			);
			expect(rows).toHaveLength(20);
			rows.forEach((row, i) => {
				if (row.min_gap < 1e-3) return;
				expect([...(found[i]?.outputIds ?? [])], `row ${i}`).toEqual(row.output_ids);
				expect(found[i]?.finishReason, `row ${i}`).toBe(row.finish_reason);
			});
		});

		test("log-probabilities within 1e-3", { timeout: 600_000 }, async () => {
			const model = await opened(smollm2 as string);
			const rows: { input_ids: number[]; logprobs: number[] }[] = golden().score;
			const scores = await model.score(rows.map((r) => ({ inputIds: r.input_ids })));
			rows.forEach((row, i) => {
				const worst = Math.max(...row.logprobs.map((x, t) => Math.abs(x - (scores[i]?.logprobs[t] ?? Number.NaN))));
				expect(worst).toBeLessThan(1e-3);
			});
		});
	},
);
