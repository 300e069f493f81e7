/**
 * What the tests that interrupt configs/smoke.yaml share: the command, and what a run has left but for measured times.
 * @module
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { verifiedManifest } from "../../src/stages/manifest.js";
import { root } from "../repository.js";

/** Arguments of the run, in this folder. */
export const smoke = (out: string): string[] => ["run", join(root, "configs", "smoke.yaml"), "--out", out, "--device", "cpu"];

export const stagesOfSmoke = ["base", "sft", "probe", "dpo", "synth", "final"];

/** Paths below a folder, sorted. */
export const filesBelow = (folder: string): string[] =>
	(readdirSync(folder, { recursive: true }) as string[]).filter((name) => statSync(join(folder, name)).isFile()).sort();

/** The JSON documents of a file of lines, the last of which must be whole. */
export function wholeLines(path: string): Record<string, unknown>[] {
	const text = readFileSync(path, "utf8");
	if (!text.endsWith("\n")) throw new Error(`${path} ends in the middle of a line`);
	return text
		.slice(0, -1)
		.split("\n")
		.map((line) => JSON.parse(line));
}

/** Files that hold times, places of this process, or a choice of what is kept. */
const timed =
	/^(\.lock|journal\.jsonl|log\.jsonl|status\.json|result\.json|report\.html)$|(tensorboard|checkpoints)\/|manifest\.json$/;

/** Every artifact of a run by path: a hash of its bytes, without measured times where a file holds some. */
export function artifacts(out: string): Record<string, string> {
	const names = filesBelow(out).filter((name) => !timed.test(name));
	return Object.fromEntries(
		names.map((name) => [
			name,
			createHash("sha256")
				.update(untimed(join(out, name)))
				.digest("hex"),
		]),
	);
}

function untimed(path: string): Buffer | string {
	const withoutTimes = (key: string, value: unknown) => (["seconds", "tokens_per_second"].includes(key) ? undefined : value);
	if (path.endsWith("metrics.jsonl"))
		return wholeLines(path)
			.map((row) => JSON.stringify(row, withoutTimes))
			.join("\n");
	// The identity holds that of the stages before, and all else is compared.
	if (path.endsWith("stage.json")) return JSON.stringify(JSON.parse(readFileSync(path, "utf8")), withoutTimes);
	return readFileSync(path);
}

/** What is wrong with the folder of a finished run: torn lines, leftovers, files that do not verify. */
export async function faultsOf(out: string): Promise<string[]> {
	const faults = filesBelow(out).filter((name) => /\.tmp(\/|$)/.test(name));
	wholeLines(join(out, "journal.jsonl"));
	for (const stage of readdirSync(join(out, "stages"))) {
		const folder = join(out, "stages", stage);
		const verified = await verifiedManifest(folder);
		if (verified === undefined || "why" in verified) faults.push(`${relative(out, folder)}: ${JSON.stringify(verified)}`);
	}
	return faults;
}
