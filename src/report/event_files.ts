/**
 * The event files that an interrupted stage left and goes on with: each ends behind its last good record, so that
 * TensorBoard does not stumble over what a power cut or a bad disk did to it.
 * @module
 */
import { existsSync, readdirSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { fromSystemError } from "../errors.js";
import { maskedCrc32c } from "./tensorboard.js";

/**
 * Cuts every file of a folder behind its last good record.
 * @returns the files that were cut, and of how many bytes; none where there is no such folder
 */
export function mendEventFiles(dir: string): { path: string; lost: number }[] {
	try {
		const cut: { path: string; lost: number }[] = [];
		for (const name of existsSync(dir) ? readdirSync(dir).sort() : []) {
			const path = join(dir, name);
			const bytes = readFileSync(path);
			const end = endOfGoodRecords(bytes);
			if (end === bytes.length) continue;
			truncateSync(path, end);
			cut.push({ path, lost: bytes.length - end });
		}
		return cut;
	} catch (error) {
		throw fromSystemError(error, dir);
	}
}

/** TFRecord: length (u64), its CRC, payload, its CRC. */
function endOfGoodRecords(bytes: Buffer): number {
	let at = 0;
	while (at + 16 <= bytes.length) {
		if (maskedCrc32c(bytes.subarray(at, at + 8)) !== bytes.readUInt32LE(at + 8)) break;
		const payloadEnd = at + 12 + Number(bytes.readBigUInt64LE(at));
		if (payloadEnd + 4 > bytes.length) break;
		if (maskedCrc32c(bytes.subarray(at + 12, payloadEnd)) !== bytes.readUInt32LE(payloadEnd)) break;
		at = payloadEnd + 4;
	}
	return at;
}
