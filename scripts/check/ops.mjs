/**
 * The ops of a device against plain loops in double (small shapes), and against the CPU's own kernels (real shapes).
 */
import { kernels } from "../../dist/engine/kernels.js";
import { Door } from "./door.mjs";
import { atMostTwice, Draw, errors, stored } from "./numbers.mjs";
import { opTable } from "./op_table.mjs";
import { exact } from "./reference.mjs";

/** cos and sin as plain arrays: tables of the CPU. */
function ropeTables(options) {
	kernels.setDevice("cpu");
	const { cos, sin } = kernels.ropeTables(options);
	return { cos: cos.toFloat32Array(), sin: sin.toFloat32Array() };
}

/** What an op makes on a device, and whether it left everything else alone. */
function runOn(device, op, shape, inputs, dtype) {
	kernels.setDevice(device);
	const door = new Door(dtype);
	try {
		const results = op.run(door, shape, inputs);
		return { results, intact: door.close() };
	} finally {
		door.close();
		kernels.setDevice("cpu");
	}
}

/** One named result against the truth. */
function judge(op, name, actual, truth, loop) {
	const { exact: equal = false, unit = 1 } = op.results[name];
	if (equal) {
		const { max } = errors(actual, truth);
		return { result: name, error_max: max, ok: max === 0 };
	}
	return { result: name, ...atMostTwice(actual, truth, loop, unit) };
}

/**
 * @param {{device: string, dtypes: string[], shapes: number, real: boolean, hopper?: boolean, only?: string[], onProgress?: (text: string) => void}} options
 *   shapes: how many of the small ones an op; real: also the shapes of real models; hopper: the device has warpgroups
 * @returns one record a result of a case: {check, op, shape, dtype, against, result, error_rms, .., ok}
 */
export function checkOps({ device, dtypes, shapes, real, hopper = false, only, onProgress }) {
	const records = [];
	for (const op of opTable.filter((op) => (!op.hopper || hopper) && (!only || only.includes(op.name)))) {
		onProgress?.(op.name);
		for (const dtype of op.f32Only ? ["f32"] : dtypes) {
			for (const shape of op.shapes.slice(0, shapes)) records.push(...againstLoops(device, op, shape, dtype));
			if (real) for (const shape of op.real) records.push(...againstCpu(device, op, shape, dtype));
		}
	}
	return records;
}

const about = (op, shape, dtype, against) => ({ check: "op", op: op.name, shape: JSON.stringify(shape), dtype, against });

function againstLoops(device, op, shape, dtype) {
	const inputs = op.inputs(shape, new Draw(1, dtype));
	const store = stored[dtype];
	const truth = op.plain(shape, inputs, exact, exact, op.storedTruth ? store : exact, ropeTables);
	const loop = op.plain(shape, inputs, Math.fround, dtype === "f32" ? exact : store, store, ropeTables);
	const { results, intact } = runOn(device, op, shape, inputs, dtype);
	const record = about(op, shape, dtype, "plain loops in double");
	return [
		...Object.entries(results).map(([name, actual]) => {
			const rounded = op.results[name].act ? loop[name].map(store) : loop[name];
			return { ...record, ...judge(op, name, actual, truth[name], rounded) };
		}),
		{ ...record, result: "margins", ok: intact },
	];
}

/** The truth is the CPU in f32, the plain loop the CPU in the same type (fp16, which it has not: in bf16). */
function againstCpu(device, op, shape, dtype) {
	const inputs = op.inputs(shape, new Draw(2, dtype));
	const truth = runOn("cpu", op, shape, inputs, "f32").results;
	const loop = runOn("cpu", op, shape, inputs, dtype === "f16" ? "bf16" : dtype).results;
	const { results, intact } = runOn(device, op, shape, inputs, dtype);
	const record = about(op, shape, dtype, "the CPU");
	return [
		...Object.entries(results).map(([name, actual]) => ({
			...record,
			...judge(op, name, actual, truth[name], loop[name]),
		})),
		{ ...record, result: "margins", ok: intact },
	];
}
