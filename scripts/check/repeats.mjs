/**
 * The same bits, again and again: every op of the benchmark, the gradients of a whole training step, and decoding with its
 * steps recorded and not.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { repeats } from "../../dist/bench/bits.js";
import { productDtype, shapeText } from "../../dist/bench/op.js";
import { benchesOf } from "../../dist/bench/registry.js";
import { BenchTensors } from "../../dist/bench/tensors.js";
import { deviceLaunches, resolveDevice } from "../../dist/engine/device.js";
import { kernels } from "../../dist/engine/kernels.js";
import { openModel } from "../../dist/engine/model.js";
import { cases } from "./goldens.mjs";

/**
 * @param {{device: string, dtypes: string[], times: number, model: object, batch: object, fixtures: string,
 *   onProgress?: (text: string) => void}} options model, batch: an architecture and a packed batch that give the shapes
 */
export async function checkRepeats({ device, dtypes, times, model, batch, fixtures, onProgress }) {
	const records = [];
	for (const bench of benchesOf(resolveDevice(device))) {
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
		const gradients = await sameGradients(device, dtype, times, join(fixtures, cases[0]));
		records.push({ check: "repeat", op: "gradients of a step", shape: cases[0], dtype, times, ...gradients });
		onProgress?.(`recorded decoding, ${dtype}`);
		records.push({
			check: "repeat",
			op: "recorded decoding",
			shape: cases[0],
			dtype,
			times: 2,
			...(await sameDecoding(device, dtype, join(fixtures, cases[0]))),
		});
	}
	return records;
}

/** Also wrong where a device that starts kernels replayed none. */
async function sameDecoding(device, dtype, folder) {
	const model = await openModel(join(folder, "model"), { device, dtype, adapters: [join(folder, "lora/adapter")] });
	try {
		const rows = [3, 40, 1, 7, 5].map((n, stream) => ({
			inputIds: Array.from({ length: n }, (_, t) => (t * 37 + n) % model.config.vocabSize),
			stream,
		}));
		const run = async (recording) => {
			let statistics;
			const options = { maxNewTokens: 8, temperature: 1.5, stopIds: [], maxBatch: 3, recording };
			const found = await model.generate(rows, options, {
				onStatistics: (s) => {
					statistics = s;
				},
			});
			return { ids: JSON.stringify(found.map(({ outputIds }) => [...outputIds])), ...statistics };
		};
		const [plain, recorded] = [await run(false), await run(true)];
		return {
			steps: recorded.decodeSteps,
			replayed: recorded.replayedSteps,
			launches_per_step: recorded.decodeLaunches / recorded.decodeSteps,
			ok: recorded.ids === plain.ids && recorded.replayedSteps > 0 === recorded.decodeLaunches > 0,
		};
	} finally {
		model.dispose();
	}
}

/** Queued, recorded and replayed; also wrong where a device that starts kernels replayed none. */
async function sameGradients(device, dtype, times, folder) {
	const model = await openModel(join(folder, "model"), { device, dtype, adapters: [join(folder, "lora/adapter")] });
	try {
		const trainer = model.createTrainer();
		const inputIds = (n) => Int32Array.from({ length: n }, (_, t) => (t * 37 + n) % model.config.vocabSize);
		const batch = { sequences: [64, 1, 33, 100].map((n) => ({ inputIds: inputIds(n) })) };
		const digests = new Set();
		const before = deviceLaunches(device);
		for (let i = 0; i < times; i++) {
			const hash = createHash("sha256");
			for (const { data } of (await trainer.gradients(batch)).gradients) hash.update(new Uint8Array(data.buffer));
			digests.add(hash.digest("hex"));
		}
		const replayed = trainer.replayed();
		return { replayed, ok: digests.size === 1 && replayed > 0 === (deviceLaunches(device) > before && times > 2) };
	} finally {
		model.dispose();
	}
}
