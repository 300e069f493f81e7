/**
 * `bench train` on device simt, which counts the kernels that it starts: those of one layer are the same whatever the depth, and
 * a step is its layers and a rest.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { benchTrain } from "../../src/bench/train.js";
import { trainText } from "../../src/bench/train_text.js";
import { devices } from "../../src/engine/device.js";
import { yardstick } from "../bench/support.js";
import { golden } from "../engine/golden.js";

const device = devices().find((d) => d.name === "simt");
const dir = mkdtempSync(join(tmpdir(), "fintune-bench-simt-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function figure(layers: number, objective: "sft" | "dpo" = "sft") {
	const config = JSON.parse(readFileSync(golden("qwen2-tiny", "model", "config.json"), "utf8"));
	writeFileSync(join(dir, "config.json"), JSON.stringify({ ...config, num_hidden_layers: layers, layer_types: undefined }));
	return benchTrain({
		model: dir,
		device: device!,
		dtype: "f32",
		threads: 1,
		objective,
		rank: 2,
		tokens: 8,
		length: 4,
		recompute: "none",
		steps: 1,
		warmup: 2,
		yardstick,
	});
}

describe.skipIf(!device)("bench train on device simt", () => {
	test("counts the launches of a layer", async () => {
		const [one, two, four] = [await figure(1), await figure(2), await figure(4)];
		const each = two.launches_per_layer!;
		expect(each).toBeGreaterThan(10);
		expect(Number.isInteger(each)).toBe(true);
		expect([one.launches_per_layer, four.launches_per_layer]).toEqual([each, each]);
		expect(four.launches_per_step! - two.launches_per_step!).toBe(2 * each);
		expect(two.launches_per_step! - one.launches_per_step!).toBe(each);
		expect(trainText(two)).toMatch(new RegExp(`^launches +${two.launches_per_step} a step, ${each} a layer$`, "m"));
		// It has no clock of its own.
		expect(two.device_busy).toBeNull();
		expect(trainText(two)).not.toMatch(/^device busy/m);
	});

	test("counts those of a preference loss without its reference", async () => {
		const [one, two] = [await figure(1, "dpo"), await figure(2, "dpo")];
		expect(two.launches_per_step! - one.launches_per_step!).toBe(two.launches_per_layer);
	});
});
