/**
 * Loads the addon: the first candidate of addon_table.ts that loads. Lazily, so that commands which need no arithmetic work
 * without it.
 * @module
 */
import { createRequire } from "node:module";
import { FintuneError } from "../errors.js";
import { type AddonCandidate, addonCandidates } from "./addon_table.js";
import type { NativeBinding } from "./binding.js";
import { findCublasLt, findDriver } from "./driver.js";

/** A candidate and what became of it. */
export interface AddonOutcome extends AddonCandidate {
	state: "loaded" | "failed" | "skipped";
}

let loaded: { binding: NativeBinding; file: string } | undefined;
let outcomes: AddonOutcome[] | undefined;

/**
 * The addon's exports; the same object every time.
 * @throws FintuneError E_NATIVE_MISSING that lists what was tried, and why it failed
 */
export function loadNative(): NativeBinding {
	loaded ??= load();
	return loaded.binding;
}

/** The file that {@link loadNative} has loaded or would load, without loading it; undefined where there is none. */
export function nativeFile(): string | undefined {
	return loaded?.file ?? addonCandidates().find(({ use }) => use)?.file;
}

/** Every candidate with what became of it, after an attempt to load one. */
export function addonOutcomes(): readonly AddonOutcome[] {
	if (outcomes === undefined) {
		try {
			loadNative();
		} catch {
			// The outcomes say why.
		}
	}
	return outcomes ?? [];
}

function load(): { binding: NativeBinding; file: string } {
	const require = createRequire(import.meta.url);
	const table: AddonOutcome[] = [];
	outcomes = table;
	let result: { binding: NativeBinding; file: string } | undefined;
	let cause: unknown;
	for (const candidate of addonCandidates()) {
		if (result !== undefined || !candidate.use) {
			table.push({ ...candidate, state: "skipped" });
			continue;
		}
		try {
			result = { binding: require(candidate.file) as NativeBinding, file: candidate.file };
			table.push({ ...candidate, state: "loaded" });
		} catch (error) {
			cause ??= error;
			const why = (error as Error).message.split("\n")[0];
			table.push({ ...candidate, state: "failed", reason: `${candidate.reason}; does not load: ${why}` });
		}
	}
	if (result) {
		if (findDriver().library !== null) result.binding.setProductLibraries(findCublasLt());
		return result;
	}
	throw new FintuneError("E_NATIVE_MISSING", "the native addon does not load", {
		found: `tried\n    ${table.map(({ file, reason }) => `${file}: ${reason}`).join("\n    ")}`,
		hint: "in a checkout run: npm run build (it needs a C++17 compiler and CMake 3.22)",
		cause,
	});
}
