/**
 * PEFT and transformers as clients of what fintune writes, and the client itself: it must give the stored values of PEFT's
 * own adapters, and refuse one that does not fit.
 *
 * `UPDATE_PEFT=1 npm run test:clients` writes test/fixtures/peft anew: the adapters that fintune wrote, and what PEFT (for
 * the whole model: transformers) computed with them.
 */
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { writeSafetensors } from "../../src/engine/safetensors.js";
import { caseNames, maxDifference } from "../engine/golden.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";
import { hasPeft, peftScore, whyNoPeft } from "./peft.js";
import { inputIds, joined, kinds, ours, stored, writeAll } from "./written.js";

const why = [hasShared ? "" : whyNoShared, hasPeft ? "" : whyNoPeft].filter(Boolean).join("; ");
const scratch = mkdtempSync(join(tmpdir(), "fintune-peft-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

interface Inputs {
	sequences: { input_ids: number[]; supervised: number[] }[];
}
const readJson = <T>(path: string): T => JSON.parse(readFileSync(path, "utf8")) as T;

describe.skipIf(why !== "")(`PEFT as a client${why && ` (skipped: ${why})`}`, () => {
	for (const [name, adapter] of [
		["qwen2-tiny", "lora"],
		["llama-tiny", "lora_qv"],
	] as const) {
		it(`gives the stored losses of ${name}/${adapter}`, () => {
			const at = (...parts: string[]) => sharedPath("fixtures/golden/hf", name, ...parts);
			const { sequences } = readJson<Inputs>(at("inputs.json"));
			const golden = readJson<{ sequence_mean_loss: number[] }>(at(adapter, "forward.json"));
			const { vocab_size } = readJson<{ vocab_size: number }>(at("model/config.json"));
			const ids = sequences.map((s) => s.input_ids);
			const answer = peftScore(at("model"), at(adapter, "adapter"), ids);
			expect(answer.adapter_dtypes).toEqual(["float32"]);
			expect(answer.adapter_tensors).toBeGreaterThan(0);
			answer.rows.forEach((row, i) => {
				const { input_ids, supervised } = sequences[i]!;
				expect(row.logprobs).toHaveLength(input_ids.length - 1);
				expect(row.logits).toHaveLength(vocab_size);
				const counted = row.logprobs.filter((_, t) => supervised[t + 1] === 1);
				const loss = -counted.reduce((a, b) => a + b, 0) / counted.length;
				expect(Math.abs(loss - golden.sequence_mean_loss[i]!)).toBeLessThan(1e-5);
			});
			// The adapter must matter, else equal losses would prove nothing.
			const bare = readJson<{ sequence_mean_loss: number[] }>(at("forward.json"));
			expect(Math.abs(bare.sequence_mean_loss[2]! - golden.sequence_mean_loss[2]!)).toBeGreaterThan(1e-2);
		}, 120_000);
	}

	it("refuses an adapter whose tensors are not those of its config", () => {
		const folder = join(scratch, "adapter");
		cpSync(sharedPath("fixtures/golden/hf/qwen2-tiny/lora_qv/adapter"), folder, { recursive: true });
		const config = readJson<{ target_modules: string[] }>(join(folder, "adapter_config.json"));
		writeFileSync(
			join(folder, "adapter_config.json"),
			JSON.stringify({ ...config, target_modules: ["q_proj", "v_proj", "o_proj"] }),
		);
		const open = () => peftScore(sharedPath("fixtures/golden/hf/qwen2-tiny/model"), folder, [[1, 2, 3]]);
		expect(open).toThrow(/missing .*o_proj/);
	}, 120_000);
});

describe.skipIf(!hasPeft)(`PEFT reads what fintune writes${hasPeft ? "" : ` (skipped: ${whyNoPeft})`}`, () => {
	it.each(caseNames)(
		"%s: the logits and log-probabilities are fintune's",
		async (name) => {
			const written = await writeAll(name, join(scratch, name));
			const ids = inputIds(name);
			const numbers = new Map<string, { shape: number[]; data: Float32Array }>();
			const versions: Record<string, string> = {};
			for (const kind of kinds) {
				const { model, adapter } = written[kind];
				const answer = peftScore(model, adapter, ids);
				expect(answer.adapter_dtypes).toEqual(adapter === undefined ? [] : ["float32"]);
				const [logits, logprobs] = [joined(answer.rows.map((r) => r.logits)), joined(answer.rows.map((r) => r.logprobs))];
				const found = await ours(written[kind], ids);
				expect(maxDifference(found.logits, logits), `${kind}: logits`).toBeLessThan(6e-5);
				expect(maxDifference(found.logprobs, logprobs), `${kind}: log-probabilities`).toBeLessThan(4e-5);
				numbers.set(`${kind}.logits`, { shape: [ids.length, logits.length / ids.length], data: logits });
				numbers.set(`${kind}.logprobs`, { shape: [logprobs.length], data: logprobs });
				Object.assign(versions, answer.versions);
			}
			if (process.env.UPDATE_PEFT !== "1") return;
			for (const kind of ["stage", "stack"] as const) {
				mkdirSync(stored(name, kind), { recursive: true });
				for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
					copyFileSync(join(written[kind].adapter!, file), stored(name, kind, file));
				}
			}
			await writeSafetensors(stored(name, "numbers.safetensors"), numbers, versions);
		},
		240_000,
	);
});
