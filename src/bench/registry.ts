/**
 * The benchmarks of single ops by name, and the choice among them that a command line makes.
 * @module
 */
import type { NativeDevice } from "../engine/binding.js";
import { FintuneError, nearestName } from "../errors.js";
import { isModelShape, modelShape, modelShapeNames, unknownShape } from "./model_shapes.js";
import { type BenchBatch, type OpBench, type OpShape, parseShape } from "./op.js";
import {
	attentionBackward,
	attentionBackwardHopper,
	attentionDecode,
	attentionForward,
	attentionForwardHopper,
} from "./ops/attention.js";
import { embeddingBackward, embeddingForward } from "./ops/embedding.js";
import { linearBackward, linearForward } from "./ops/linear.js";
import { linearLogprobBackward, linearLogprobForward } from "./ops/linear_logprob.js";
import { adamw, globalNorm } from "./ops/optimizer.js";
import { preferenceLoss } from "./ops/preference.js";
import { rmsnormBackward, rmsnormForward } from "./ops/rmsnorm.js";
import { ropeBackward, ropeForward, ropeTables } from "./ops/rope.js";
import { convert, gatherRows, scatterRows, storeRows } from "./ops/rows.js";
import { sampleDraw, sampleGreedy } from "./ops/sample.js";
import { swigluBackward, swigluForward } from "./ops/swiglu.js";

/** In the order in which a training step and then decoding meets them. */
export const opBenches: readonly OpBench[] = [
	embeddingForward,
	embeddingBackward,
	rmsnormForward,
	rmsnormBackward,
	linearForward,
	linearBackward,
	ropeForward,
	ropeBackward,
	ropeTables,
	attentionForward,
	attentionBackward,
	attentionDecode,
	swigluForward,
	swigluBackward,
	gatherRows,
	scatterRows,
	storeRows,
	convert,
	linearLogprobForward,
	linearLogprobBackward,
	preferenceLoss,
	globalNorm,
	adamw,
	sampleGreedy,
	sampleDraw,
];

const onWarpgroups = new Map([
	[attentionForward, attentionForwardHopper],
	[attentionBackward, attentionBackwardHopper],
]);

/** Those of a device: an sm_90 has second kernels of attention beside the chosen ones. */
export const benchesOf = ({ hopper }: Pick<NativeDevice, "hopper">): readonly OpBench[] =>
	hopper ? opBenches.flatMap((bench) => [bench, onWarpgroups.get(bench) ?? []].flat()) : opBenches;

/** One op at one shape. */
export interface OpCase {
	bench: OpBench;
	shape: OpShape;
}

/** The ops of a name: of the op itself, or of its family ("attention"). */
function opsNamed(name: string, benches: readonly OpBench[]): OpBench[] {
	const found = benches.filter((bench) => bench.name === name || bench.family === name);
	if (found.length > 0) return found;
	const names = [...new Set(benches.flatMap((bench) => [bench.name, bench.family]))];
	const near = nearestName(name, names);
	throw new FintuneError("E_USAGE", "unknown op", {
		expected: names.join(", "),
		found: name,
		...(near ? { hint: `did you mean ${near}?` } : {}),
	});
}

/**
 * The cases that a choice of ops and shapes means.
 * @param ops names of ops or families; none: all
 * @param shapes names of models, or `OP:LETTER=N,...`
 * @param benches those that there are to choose from
 * @throws FintuneError E_USAGE with the nearest name
 */
export function selectCases(
	ops: readonly string[],
	shapes: readonly string[],
	batch: BenchBatch,
	benches: readonly OpBench[] = opBenches,
): OpCase[] {
	const wanted = ops.length > 0 ? ops.flatMap((name) => opsNamed(name, benches)) : benches;
	const cases = new Map<string, OpCase>();
	const add = (bench: OpBench, shape: OpShape): void => {
		cases.set(`${bench.name} ${JSON.stringify(shape)}`, { bench, shape });
	};
	for (const text of shapes) {
		if (isModelShape(text)) {
			const model = modelShape(text);
			for (const bench of wanted) for (const shape of bench.shapes(model, batch)) add(bench, shape);
			continue;
		}
		const colon = text.indexOf(":");
		if (colon < 0) {
			throw unknownShape(text, "unknown shape", `${modelShapeNames.join(", ")}, or OP:LETTER=N,...`);
		}
		for (const bench of opsNamed(text.slice(0, colon), benches)) {
			if (wanted.includes(bench)) add(bench, parseShape(bench, text.slice(colon + 1)));
		}
	}
	if (cases.size > 0) return [...cases.values()];
	throw new FintuneError("E_USAGE", "no op is left to measure", {
		expected: "shapes of the ops that --op names",
		found: `--op ${ops.join(" ")} with --shapes ${shapes.join(" ")}`,
	});
}
