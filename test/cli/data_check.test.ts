/** `fintune data check` through the real command line. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { LeakReport } from "../../src/tasks/leak_report.js";
import { fintune, lines, put } from "./cli.js";

const dir = mkdtempSync(join(tmpdir(), "fintune-check-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
/** No data but those of the package and of `dir`. */
const env = { FINTUNE_DATA: "", XDG_DATA_HOME: join(dir, "home") };
const data = join(dir, "data");
const run = (...args: string[]) => fintune(["data", "check", ...args, "--data", data], { env });

const held = [
	"Tesco shares climb as grocer returns to profit growth",
	"Central bank leaves its main rate unchanged for a third month",
	"Revenue Recognition",
];
const fpb = (text: string) => ({
	query: `Which sentiment?\nText: ${text}\nAnswer:`,
	answer: "neutral",
	choices: ["positive", "neutral", "negative"],
	gold: 1,
	text,
});
put(join(data, "fpb/test.jsonl"), lines(held.map(fpb)));
put(
	join(data, "fpb/train.jsonl"),
	lines(["Shares of Nokia fell.", held[2]!, "Tesco shares climb as grocer returns to profit rise"].map(fpb)),
);
put(join(data, "fpb/valid.jsonl"), lines([fpb("Outlook unchanged.")]));
const rows = put(
	join(dir, "rows.jsonl"),
	lines([
		{ prompt: "Summarise the news of today.", completion: ` ${held[0]}` },
		{ prompt: `Is it good?\nText: ${held[0]}\nAnswer:`, completion: " yes" },
		{
			messages: [
				{ role: "user", content: held[1]!.toUpperCase() },
				{ role: "assistant", content: "hawkish" },
			],
		},
		{ text: `Frankfurt, Monday. ${held[1]!.replace("main", "key")}, it said. Shares rose.` },
		{ input_ids: [1, 2, 3], completion_mask: [0, 1, 1] },
	]),
);

describe("fintune data check", () => {
	it("counts the matches of a file's rows by kind, with the lines of both", async () => {
		const { status, stdout, stderr } = await run("--input", rows, "--against", "fpb", "--json");
		expect(status, stderr).toBe(0);
		const report = JSON.parse(stdout) as LeakReport;
		expect(report.training).toEqual([{ name: rows, rows: 5, uncompared: 1 }]);
		expect(report.test).toEqual([{ task: "fpb", rows: 3, texts: 3 }]);
		const [pair, ...others] = report.pairs;
		expect(others).toEqual([]);
		expect(pair).toMatchObject({
			training: rows,
			test: "fpb",
			trainRows: { exact: 1, normalised: 1, near: 1, total: 3 },
			testTexts: { exact: 1, normalised: 1, near: 0, total: 2 },
		});
		const test = join(data, "fpb/test.jsonl");
		expect(pair?.examples).toEqual([
			{ kind: "exact", share: 1, train: `${rows}:2`, test: `${test}:1` },
			{ kind: "normalised", share: 1, train: `${rows}:3`, test: `${test}:2` },
			{ kind: "near", share: 0.8, train: `${rows}:4`, test: `${test}:2` },
		]);
	});

	it("sees the train rows that loading would leave out", async () => {
		const { stdout } = await run("fpb", "--against", "fpb", "--json");
		const [pair] = (JSON.parse(stdout) as LeakReport).pairs;
		expect(pair).toMatchObject({ training: "fpb train", trainRows: { exact: 1, normalised: 0, near: 1, total: 2 } });
	});

	it("for people: all tasks that are here against all, one line a pair", async () => {
		const { status, stdout, stderr } = await run();
		expect(status, stderr).toBe(0);
		expect(stdout).toMatch(/^fpb train +fpb +1 +0 +1 +2 +3 +2 +3 +2 +3$/m);
		expect(stdout).toMatch(/^sc train +sc +299 /m);
		expect(stdout).toMatch(/^no test text in ner train, german train$/m);
		expect(stdout).toMatch(/^compared with the test splits of fpb, ner, sc, german$/m);
	});

	it("says what is wrong: a task without data, an unknown one, every bad row", async () => {
		expect(await run("fomc")).toMatchObject({ status: 66, stdout: "" });
		const against = await run("--against", "fomc");
		expect(against.stderr).toContain('no test data of the task "fomc" are installed');
		expect(against.status).toBe(66);
		expect(await run("fbp")).toMatchObject({ status: 64, stderr: expect.stringContaining('did you mean "fpb"?') });
		const bad = put(join(dir, "bad.jsonl"), lines([{ text: "fine" }, { text: 5 }, { words: "no" }]));
		const { status, stderr } = await run("--input", bad);
		expect(status).toBe(65);
		expect(stderr).toContain(`${bad}:2`);
		expect(stderr).toContain(`${bad}:3`);
	});
});
