/**
 * The mutation test of CUDA kernels: every barrier, sync, wait and swizzle must be needed. Each is switched
 * off in turn, and the op's own checks must then fail, with some schedule. Where FINTUNE_MUTATIONS names a file, each
 * site's row is added to it, for the table of all kernels (scripts/mutations.mjs).
 * @module
 */
import { appendFileSync } from "node:fs";
import { relative } from "node:path";
import { expect } from "vitest";
import { kernels, type Simt, type SimtSite } from "../../src/engine/kernels.js";

export interface SiteOptions {
	/** Schedules tried in each mode of the background copies, until one fails. */
	seeds?: number;
	capability?: number;
}

interface Row {
	site: SimtSite;
	/** How many schedules were tried until one failed; undefined: none did. */
	tries: number | undefined;
	/** The schedule that failed. */
	seed?: number;
	mode?: (typeof modes)[number];
	/** The first line of the failure. */
	message: string;
}

const modes = ["random", "early", "late"] as const;
const key = (site: SimtSite): string => `${site.file}:${site.line}`;

/**
 * Fails unless `check` (which runs an op on the device and throws where its results are wrong) needs every
 * site it visits.
 */
export function expectEverySiteNeeded(check: () => void, options: SiteOptions = {}): void {
	const { simt } = kernels;
	if (!simt) throw new Error("this addon has no device simt");
	kernels.setDevice("simt");
	simt.reset();
	simt.setCapability(options.capability ?? 80);
	const seeds = options.seeds ?? 5;
	const before = new Map(simt.sites().map((site) => [key(site), site.visits]));
	for (const mode of modes) {
		schedule(simt, 0, mode);
		check();
	}
	const visited = simt.sites().filter((site) => site.visits > (before.get(key(site)) ?? 0));
	expect(visited.length, "sites that the check visits").toBeGreaterThan(0);
	const rows = visited.map((site) => withoutSite(simt, site, check, seeds));
	schedule(simt, 0, "random");
	check(); // nothing is left broken
	record(rows, options.capability ?? 80);
	const table = format(rows);
	if (process.env.FINTUNE_SHOW_SITES) console.info(table);
	expect(
		rows.filter((row) => row.tries === undefined).map((row) => key(row.site)),
		`sites that no check needs:\n${table}`,
	).toEqual([]);
}

function schedule(simt: Simt, seed: number, mode: (typeof modes)[number]): void {
	simt.setSeed(seed);
	simt.setAsyncMode(mode);
}

function withoutSite(simt: Simt, site: SimtSite, check: () => void, seeds: number): Row {
	simt.disableSite(site);
	try {
		let tries = 0;
		for (let seed = 0; seed < seeds; seed++) {
			for (const mode of modes) {
				schedule(simt, seed, mode);
				tries++;
				try {
					check();
				} catch (error) {
					return { site, tries, seed, mode, message: ((error as Error).message.split("\n")[0] ?? "").slice(0, 150) };
				}
			}
		}
		return { site, tries: undefined, message: "" };
	} finally {
		simt.enableAll();
	}
}

function record(rows: readonly Row[], capability: number): void {
	const file = process.env.FINTUNE_MUTATIONS;
	if (!file) return;
	const { testPath = "", currentTestName = "" } = expect.getState();
	const test = `${relative(process.cwd(), testPath)} > ${currentTestName}`;
	const lines = rows.map(({ site, tries = null, seed, mode, message }) => {
		const { file, line, kind } = site;
		// Of several bytes that are wrong at once, which one is found first differs from run to run.
		const failure = message.replace(/\bbyte \d+/g, "a byte");
		return `${JSON.stringify({ file, line, kind, test, capability, tries, seed, mode, failure })}\n`;
	});
	appendFileSync(file, lines.join(""));
}

function format(rows: readonly Row[]): string {
	return rows
		.map(({ site, tries, message }) => `  ${key(site).padEnd(28)} ${site.kind.padEnd(14)} ${tries ?? "never"}: ${message}`)
		.join("\n");
}
