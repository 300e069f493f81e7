/**
 * Whether two runs of an op made the same bits.
 * @module
 */
import { createHash } from "node:crypto";
import type { Tensor } from "../engine/kernels.js";
import type { PreparedOp } from "./op.js";

/** A digest of everything that a prepared op has made. */
export function resultDigest(results: readonly (Tensor | Float64Array)[]): string {
	const hash = createHash("sha256");
	for (const result of results) {
		const values = result instanceof Float64Array ? result : bits(result);
		hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
	}
	return hash.digest("hex");
}

const bits = (t: Tensor): Int32Array | Uint16Array =>
	t.dtype === "bf16" || t.dtype === "f16" ? t.toUint16Array() : t.toInt32Array();

/** Runs it `times` times from the same start; true when all made the same bits. */
export function repeats(op: PreparedOp, times = 2): boolean {
	const digest = (): string => {
		op.reset?.();
		op.run();
		return resultDigest(op.results());
	};
	const first = digest();
	for (let i = 1; i < times; i++) if (digest() !== first) return false;
	return true;
}
