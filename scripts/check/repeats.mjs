/**
 * The same bits, again and again: every op of the benchmark, and the gradients of a whole training step.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { repeats } from "../../dist/bench/bits.js";
import { productDtype, shapeText } from "../../dist/bench/op.js";
import { benchesOf } from "../../dist/bench/registry.js";
import { BenchTensors } from "../../dist/bench/tensors.js";
import { devices } from "../../dist/engine/device.js";
import { kernels } from "../../dist/engine/kernels.js";
import { openModel } from "../../dist/engine/model.js";
import { cases } from "./goldens.mjs";

/**
 * @param {{device: string, dtypes: string[], times: number, model: object, batch: object, fixtures: string,
 *   onProgress?: (text: string) => void}} options model, batch: an architecture and a packed batch that give the shapes
 */
export async function checkRepeats({ device, dtypes, times, model, batch, fixtures, onProgress }) {
	const records = [];
	for (const bench of benchesOf(devices().find(({ name }) => name === device))) {
		onProgress?.(bench.name);
		for (const dtype of bench.dtype ? [bench.dtype] : dtypes) {
			for (const shape of bench.shapes(model, batch)) {
				kernels.setDevice(device);
				const tensors = new BenchTensors();
				try {
					const ok = repeats(bench.prepare(shape, productDtype(dtype), tensors), times);
					records.push({ check: "repeat", op: bench.name, shape: shapeText(shape), dtype, times, ok });
				} finally {
					tensors.dispose();
					kernels.setDevice("cpu");
				}
			}
		}
	}
	for (const dtype of dtypes) {
		onProgress?.(`gradients of a step, ${dtype}`);
		const ok = await sameGradients(device, dtype, times, join(fixtures, cases[0]));
		records.push({ check: "repeat", op: "gradients of a step", shape: cases[0], dtype, times, ok });
	}
	return records;
}

async function sameGradients(device, dtype, times, folder) {
	const model = await openModel(join(folder, "model"), { device, dtype, adapters: [join(folder, "lora/adapter")] });
	try {
		const trainer = model.createTrainer();
		const inputIds = (n) => Int32Array.from({ length: n }, (_, t) => (t * 37 + n) % model.config.vocabSize);
		const batch = { sequences: [64, 1, 33, 100].map((n) => ({ inputIds: inputIds(n) })) };
		const digests = new Set();
		for (let i = 0; i < times; i++) {
			const hash = createHash("sha256");
			for (const { data } of (await trainer.gradients(batch)).gradients) hash.update(new Uint8Array(data.buffer));
			digests.add(hash.digest("hex"));
		}
		return digests.size === 1;
	} finally {
		model.dispose();
	}
}
