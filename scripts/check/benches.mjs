/**
 * Both benchmarks on the device under check. What does not fit its memory is tried with half the tokens.
 */
import { benchKernels } from "../../dist/bench/kernels.js";
import { benchesOf } from "../../dist/bench/registry.js";
import { benchTrain } from "../../dist/bench/train.js";
import { computeDtype } from "../../dist/engine/device.js";
import { defaultThreads } from "../../dist/engine/threads.js";

const fewest = 1024;

async function fitting(tokens, measure, onProgress) {
	for (let tried = tokens; ; tried = Math.floor(tried / 2)) {
		try {
			return await measure(tried);
		} catch (error) {
			if (error.code !== "E_OUT_OF_MEMORY" || tried < 2 * fewest) throw error;
			onProgress?.(`${tried} tokens do not fit, trying half`);
		}
	}
}

/** @returns {{kernels: object[], train: object[]}} as the two commands write them with --json */
export async function runBenches({ device, size, onProgress }) {
	const dtype = computeDtype("auto", device);
	const threads = defaultThreads();
	const { model, batch, ...timing } = size.kernels;
	const kernels = await fitting(
		batch.tokens,
		async (tokens) => {
			const shapesOf = { ...batch, tokens, length: Math.min(batch.length, tokens) };
			const cases = benchesOf(device).flatMap((bench) => bench.shapes(model, shapesOf).map((shape) => ({ bench, shape })));
			const figures = [];
			for await (const figure of benchKernels({ cases, device, dtype, threads, ...timing, onProgress })) figures.push(figure);
			return figures;
		},
		onProgress,
	);
	const train = [];
	for (const objective of ["sft", "dpo"]) {
		const options = { device, dtype, threads, objective, recompute: "none", ...size.train, onProgress };
		train.push(
			await fitting(
				size.train.tokens,
				(tokens) => benchTrain({ ...options, tokens, length: Math.min(size.train.length, tokens) }),
				onProgress,
			),
		);
	}
	return { kernels, train };
}

/** What the benchmarks themselves can find wrong. */
export function checkBenches({ kernels, train }) {
	return [
		...kernels.map(({ op, shape, dtype, deterministic }) => ({
			check: "bench",
			op,
			shape,
			dtype,
			result: "same bits",
			ok: deterministic !== false,
		})),
		...train.map(({ model, objective, planned_bytes: planned, peak_bytes: taken }) => ({
			check: "bench",
			op: `train ${objective}`,
			shape: model,
			result: "the plan is what was taken",
			ok: JSON.stringify(planned) === JSON.stringify(taken),
		})),
	];
}
