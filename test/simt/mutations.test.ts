/**
 * The table of the kernels' sites (npm run mutations): how it is made, and that it has all sites of the sources.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
// @ts-expect-error a script without declarations
import { siteMacros, sitesOf, sourceSites } from "../../scripts/mutation-sites.mjs";
// @ts-expect-error a script without declarations
import { render, tabulate } from "../../scripts/mutations.mjs";
import { readText, root } from "../repository.js";

interface Entry {
	site: string;
	kind: string;
	detections: { test: string }[];
}

describe("sites of the sources", () => {
	const macros = [
		["GPU_BARRIER", "barrier"],
		["GPU_SWIZZLE", "swizzle"],
	];

	it("are the macros that the executor counts as sites", () => {
		const header = `#define GPU_BARRIER() ::barrier(FINTUNE_SITE(Barrier))
#define GPU_FN inline
#define GPU_NAMED(id, n) \\
  ::named(FINTUNE_SITE(NamedBarrier), id, n)
`;
		expect(siteMacros(header)).toEqual([
			["GPU_BARRIER", "barrier"],
			["GPU_NAMED", "named barrier"],
		]);
	});

	it("are found by line, over several lines, and not in comments", () => {
		const text = `// GPU_BARRIER();
GPU_BARRIER();  // and GPU_BARRIER();
/* GPU_BARRIER();
*/ x(GPU_SWIZZLE(a(1),
     b(2)));
`;
		expect(sitesOf(text, macros)).toEqual([
			{ line: 2, last: 2, kind: "barrier" },
			{ line: 4, last: 5, kind: "swizzle" },
		]);
	});

	it("must each be needed by a test, and by every test that visits it", () => {
		const sites = [
			{ file: "a.cu", line: 2, last: 2, kind: "barrier" },
			{ file: "a.cu", line: 4, last: 5, kind: "swizzle" },
		];
		const row = { file: "a.cu", line: 2, kind: "barrier", test: "one", capability: 80, tries: 2, seed: 0, mode: "early" };
		const swizzle = { ...row, line: 5, kind: "swizzle", failure: "wrong" };
		expect(tabulate(sites, [row, swizzle]).problems).toEqual([]);
		expect(tabulate(sites, [row]).problems).toEqual(["a.cu:4: swizzle: no test fails without it"]);
		expect(tabulate(sites, [row, swizzle, { ...row, tries: null, test: "two" }]).problems).toEqual([
			"a.cu:2: barrier: two visits it and does not need it",
		]);
		expect(tabulate(sites, [row, swizzle, { ...row, line: 9 }]).problems).toEqual([
			"a.cu:9: barrier: switched off by a test, not found in the sources",
		]);
		const { table } = tabulate(sites, [row, swizzle]);
		expect(JSON.parse(render(table))).toEqual({ sites: 2, kinds: { barrier: 1, swizzle: 1 }, table });
	});
});

describe("bench/mutations.json", () => {
	const { table } = JSON.parse(readText("bench/mutations.json")) as { table: Entry[] };
	const count = (sites: readonly { file: string; kind: string }[]) => {
		const counts: Record<string, number> = {};
		for (const { file, kind } of sites) counts[`${file}: ${kind}`] = (counts[`${file}: ${kind}`] ?? 0) + 1;
		return counts;
	};

	// Lines move with every edit; what a file has does not.
	it("has as many sites of each kind as each file (else: npm run mutations)", () => {
		const listed = table.map(({ site, kind }) => ({ file: site.replace(/^native\/cuda\/|:\d+$/g, ""), kind }));
		expect(count(listed)).toEqual(count(sourceSites(root)));
	});

	it("names tests that there are", () => {
		const files = new Set(table.flatMap(({ detections }) => detections.map(({ test }) => test.split(" > ")[0] as string)));
		expect(files.size).toBeGreaterThan(2);
		for (const file of files) {
			expect(existsSync(join(root, file)), file).toBe(true);
			expect(readText(file)).toContain("expectEverySiteNeeded(");
		}
		expect(table.filter(({ detections }) => detections.length === 0)).toEqual([]);
	});
});
