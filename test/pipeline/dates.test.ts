/** Runs that belong to a date: the date's text, missed dates, and `${as_of}` in a pipeline file. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parsePipeline, runFolder } from "../../src/pipeline/config.js";
import { datesToRun, parseAsOf } from "../../src/pipeline/dates.js";
import { put } from "../cli/cli.js";

let dir: string;
beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-dates-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("a date is a real one, today and yesterday are the local clock's", () => {
	const newYear = new Date(2026, 0, 1, 0, 30);
	expect(parseAsOf("today", newYear)).toBe("2026-01-01");
	expect(parseAsOf("yesterday", newYear)).toBe("2025-12-31");
	expect(parseAsOf("2024-02-29")).toBe("2024-02-29");
	for (const wrong of ["2026-02-29", "2026-2-9", "tomorrow", ""]) {
		expect(() => parseAsOf(wrong)).toThrowError(/is no date.*YYYY-MM-DD/s);
	}
});

/** Run folders of dates, each with the status that its result.json has; null: it was begun only. */
function runs(statuses: Record<string, string | null>): string {
	const folder = mkdtempSync(join(dir, "runs-"));
	for (const [date, status] of Object.entries(statuses)) {
		mkdirSync(join(folder, date));
		if (status !== null) put(join(folder, date, "result.json"), JSON.stringify({ status }));
	}
	return folder;
}

test("missed are the dates after the newest finished run", async () => {
	const folder = runs({
		"2026-02-25": "done",
		"2026-02-26": "gate_not_passed",
		"2026-02-27": "stopped",
		"2026-03-05": "done",
		notes: null,
	});
	const asOf = "2026-03-02";
	expect(await datesToRun(folder, asOf, "all")).toEqual(["2026-02-27", "2026-02-28", "2026-03-01", asOf]);
	expect(await datesToRun(folder, asOf, "last")).toEqual(["2026-03-01", asOf]);
	expect(await datesToRun(folder, asOf, "none")).toEqual([asOf]);
	expect(await datesToRun(folder, "2026-02-27", "all")).toEqual(["2026-02-27"]);
});

test("where no run has finished, nothing was missed before the first that was begun", async () => {
	expect(await datesToRun(runs({ "2026-03-01": null }), "2026-03-02", "all")).toEqual(["2026-03-01", "2026-03-02"]);
	expect(await datesToRun(runs({}), "2026-03-02", "all")).toEqual(["2026-03-02"]);
	expect(await datesToRun(join(dir, "not-there"), "2026-03-02", "last")).toEqual(["2026-03-02"]);
});

const pipelineText = `name: nightly
model: tiny
stages:
  - {name: one, type: sft, data: [{path: "filings/\${as_of}/*.jsonl"}, {path: "all-\${as_of}-\${as_of}.jsonl"}]}
`;

test("a file's ${as_of} is the date of the run", () => {
	const pipeline = parsePipeline(pipelineText, "p.yaml", [], "2026-03-02");
	expect(pipeline.config.stages[0]).toMatchObject({
		data: [{ path: "filings/2026-03-02/*.jsonl" }, { path: "all-2026-03-02-2026-03-02.jsonl" }],
	});
	expect(runFolder(pipeline)).toBe(join("runs", "nightly", "2026-03-02"));
	expect(runFolder(pipeline, "elsewhere")).toBe(join("elsewhere", "2026-03-02"));
});

test("it is refused where the run has no date, with its place", () => {
	expect(() => parsePipeline(pipelineText, "p.yaml")).toThrowError(/p\.yaml:4:\d+.*has \$\{as_of\}.*--as-of today/s);
	const overridden = ["stages.one.data=[{path: 'x-${as_of}.jsonl'}]"];
	expect(() => parsePipeline(pipelineText, "p.yaml", overridden)).toThrowError(/--set stages\.one\.data=.*has \$\{as_of\}/s);
});
