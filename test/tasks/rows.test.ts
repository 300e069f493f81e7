/**
 * Rows of every task: how many, which prompt, which answer, what was removed.
 */
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { headlinePrompts } from "../../src/tasks/headlines.js";
import { taskByName } from "../../src/tasks/registry.js";
import type { LoadReport, Split, TaskRow } from "../../src/tasks/task.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";

const dirs = [sharedPath("data")];
const jsonLines = (text: string) =>
	text
		.split("\n")
		.filter((line) => line !== "")
		.map((line) => JSON.parse(line) as Record<string, unknown>);
const readLines = (...parts: string[]) => jsonLines(readFileSync(sharedPath(...parts), "utf-8"));
type Loaded = { rows: TaskRow[]; report: LoadReport };
const tally = (rows: readonly TaskRow[]) => {
	const counts: Record<string, number> = {};
	for (const row of rows) counts[row.answer] = (counts[row.answer] ?? 0) + 1;
	return counts;
};
const turns = (record: Record<string, unknown>) => (record.conversations as { value: string }[]).map((turn) => turn.value);
const examplePrompts = () =>
	JSON.parse(readFileSync(sharedPath("data/leaderboard_rows/example_prompts.json"), "utf-8")) as Record<
		string,
		{ prompt: string }
	>;

/** Rows of a split plus what was removed from it, by task: the sizes that the sources name. */
const sizes: Record<string, Partial<Record<Split, number>>> = {
	ner: { train: 408, valid: 103, test: 98 },
	fiqasa: { train: 750, valid: 188, test: 235 },
	headlines: { train: 71_892, valid: 10_269, test: 20_547 },
	german: { train: 700, valid: 100, test: 200 },
	fpb: { train: 4838 - 774 - 970, valid: 774, test: 970 },
	fomc: { test: 496 },
	sc: { test: 8580 },
	multifin: { train: 1747, valid: 437, test: 546 },
};

describe.skipIf(!hasShared)(`rows of the original files (${whyNoShared})`, () => {
	it.each(Object.entries(sizes))("%s: as many rows as the source says", async (name, expected) => {
		for (const [split, size] of Object.entries(expected)) {
			const { rows, report } = await taskByName(name).loadWithReport(split as Split, dirs);
			const removed = Object.values(report.removed).reduce((sum, n) => sum + n, 0);
			expect(rows.length + removed, `${name} ${split}`).toBe(size);
			expect(report.files.length).toBeGreaterThan(0);
			if (split === "test") expect(removed).toBe(0);
		}
	});

	it.each(["fomc", "sc"])("%s: validation is a tenth of train, and both are all of it", async (name) => {
		const task = taskByName(name);
		const train = await task.loadWithReport("train", dirs);
		const valid = await task.loadWithReport("valid", dirs);
		const whole = name === "fomc" ? 1984 : 13_478;
		const removed = train.report.removed["text also in test"] as number;
		expect(train.rows.length + valid.rows.length + removed).toBe(whole);
		expect(Math.abs(valid.rows.length - (whole - removed) / 10)).toBeLessThan(2);
		const texts = new Set(train.rows.map((row) => row.doc.text));
		expect(valid.rows.filter((row) => texts.has(row.doc.text))).toEqual([]);
		expect(await task.load("valid", dirs)).toEqual(valid.rows);
	});

	it("NER: the peer's rows, in its order", async () => {
		for (const split of ["train", "valid", "test"] as const) {
			const rows = await taskByName("ner").load(split, dirs);
			const ours = rows.map((row) => ({ prompt: row.query, completion: row.answer, label: row.doc.label, text: row.doc.text }));
			expect(ours).toEqual(readLines(`fixtures/golden/ner-peft/${split}.jsonl`));
		}
	});

	it("NER: the leaderboard's own test rows", async () => {
		const rows = await taskByName("ner").load("test", dirs);
		const hub = readLines("data/ner_sec/pixiu_flare_ner_test_first_prompt.jsonl");
		expect(rows.map((row) => [row.query, row.answer])).toEqual(hub.map(turns));
	});

	it("German: the prompts and answers of the leaderboard's 200 test documents", async () => {
		const rows = await taskByName("german").load("test", dirs);
		const hub = readLines("data/credit_german/flare_german_test_prompt_truth.jsonl");
		const ours = rows.map((row) => `Human: \n${row.query}\n\nAssistant: \n${row.answer}`).sort();
		expect(ours).toEqual(hub.map((record) => `${record.prompt as string}${record.truth as string}`).sort());
		expect(tally(rows)).toEqual({ good: 132, bad: 68 });
	});

	it("FiQA-SA: the leaderboard's labels", async () => {
		expect(tally(await taskByName("fiqasa").load("test", dirs))).toEqual({ negative: 76, positive: 141, neutral: 18 });
	});

	it("FPB: the leaderboard's own split, in its order", async () => {
		const [train, valid, test] = (await Promise.all(
			(["train", "valid", "test"] as const).map((split) => taskByName("fpb").loadWithReport(split, dirs)),
		)) as [Loaded, Loaded, Loaded];
		expect(tally(test.rows)).toEqual({ positive: 277, negative: 116, neutral: 577 });
		// Of rows that, written out as the leaderboard's maintainers do, have the git hashes of their files.
		const digest = ({ rows }: Loaded) =>
			createHash("sha256")
				.update(rows.map((row) => `${row.doc.text}@${row.answer}\n`).join(""))
				.digest("hex");
		expect(digest(test)).toBe("1d6550dcbae5570602e943976ce08d6dbb7202675a22958008ae21bd70d59a2b");
		const hub = readLines("data/fpb/pixiu_flare_fpb_valid_first_prompt.jsonl").map(turns);
		const published = hub.map(([prompt, answer]) => `${prompt?.split("\n")[1]} ${answer}`);
		const kept = new Set(valid.rows.map((row) => `${row.doc.text} ${row.answer}`));
		expect(published.filter((row) => kept.has(row))).toEqual([...kept]);
		const all = [train, valid, test].flatMap(({ rows }) => rows.map((row) => row.doc.text));
		const removed = [train, valid].reduce((sum, { report }) => sum + (report.removed["text also in test"] ?? 0), 0);
		expect(new Set(all).size).toBe(all.length);
		expect(all.length + removed).toBe(4838);
	});

	it("FPB: another file than the one that was split is refused", async () => {
		const folder = mkdtempSync(join(tmpdir(), "fintune-fpb-"));
		try {
			mkdirSync(join(folder, "fpb"));
			copyFileSync(sharedPath("data/fpb/Sentences_66Agree.txt"), join(folder, "fpb/Sentences_50Agree.txt"));
			await expect(taskByName("fpb").load("test", [folder])).rejects.toMatchObject({
				code: "E_DATA_FORMAT",
				message: expect.stringMatching(/1362 distinct positive sentences.*found 1168/s),
			});
		} finally {
			rmSync(folder, { recursive: true });
		}
	});

	it("FOMC: the leaderboard's first documents and labels", async () => {
		const rows = await taskByName("fomc").load("test", dirs);
		expect(rows[0]?.doc).toMatchObject({ choices: ["dovish", "hawkish", "neutral"], gold: 0 });
		expect(rows[0]?.query).toContain("\nText: The U. S. international trade deficit narrowed in May,");
		expect(tally(rows)).toEqual({ dovish: 129, neutral: 245, hawkish: 122 });
		expect(new Set(rows.map((row) => row.query.split("\nText: ")[0])).size).toBe(10);
	});

	it("Headlines: validation rows have the leaderboard's texts, questions, answers and one of its wordings", async () => {
		const rows = await taskByName("headlines").load("valid", dirs);
		const packed = readFileSync(sharedPath("data/headlines/pixiu_flare_headlines_valid.jsonl.gz"));
		const hub = new Map(jsonLines(gunzipSync(packed).toString("utf-8")).map((record) => [record.id, turns(record)]));
		let compared = 0;
		for (const row of rows) {
			const [prompt, answer] = hub.get(row.doc.id) ?? [];
			if (prompt === undefined) continue;
			compared++;
			expect(row.answer).toBe(answer);
			expect(row.query.split(".. ")[0]).toBe(prompt.split(".. ")[0]);
			const wordings = headlinePrompts(row.doc.text as string);
			if (!wordings.includes(prompt) || !wordings.includes(row.query)) expect.fail(`${prompt}\n${row.query}`);
		}
		expect(compared).toBeGreaterThan(9000);
	});

	it("MultiFin: the leaderboard's rows, and 1,957 of its English training rows are clean", async () => {
		const multifin = taskByName("multifin");
		const hub = readLines("data/leaderboard_rows/flare_multifin_en_test_full.jsonl");
		const key = (query: unknown, answer: unknown) => `${String(query)} ${String(answer)}`;
		const rows = await multifin.load("test", dirs);
		expect(rows.map((row) => key(row.query, row.answer)).sort()).toEqual(hub.map((row) => key(row.query, row.answer)).sort());
		expect((await multifin.load("train", dirs)).length + (await multifin.load("valid", dirs)).length).toBe(1957);
	});

	it("TSA: train from the original file, without the titles of the leaderboard's test rows", async () => {
		const tsa = taskByName("tsa");
		expect(await tsa.load("train", dirs)).toHaveLength(1028);
		const folder = mkdtempSync(join(tmpdir(), "fintune-tsa-"));
		try {
			mkdirSync(join(folder, "tsa"));
			copyFileSync(sharedPath("data/leaderboard_rows/flare_tsa_test_full.jsonl"), join(folder, "tsa/test.jsonl"));
			const test = await tsa.load("test", [...dirs, folder]);
			expect(test).toHaveLength(561);
			const train = await tsa.loadWithReport("train", [...dirs, folder]);
			expect(train.report.removed["text also in test"]).toBeGreaterThanOrEqual(114);
			const titles = new Set(test.map((row) => row.doc.text));
			expect(train.rows.some((row) => titles.has(row.doc.text))).toBe(false);
			const docs = test.map((row) => row.doc);
			const perfect = tsa.score(
				docs,
				test.map((row) => row.answer),
			);
			expect(perfect.leaderboard.rmse).toBeCloseTo(0.561, 3);
			expect(perfect.strict.rmse).toBe(0);
			const zero = tsa.score(
				docs,
				test.map(() => "0"),
			);
			expect(zero.leaderboard.rmse).toBeCloseTo(0.4, 3);
		} finally {
			rmSync(folder, { recursive: true });
		}
	});

	it("SC: the leaderboard's prompt, blank before the text included", async () => {
		const rows = await taskByName("sc").load("test", dirs);
		const example = examplePrompts().flare_causal20_sc?.prompt as string;
		const [head, tail] = example.split("It doesn't take fundamental views on shares but looks out for anomalies in pricing.");
		expect(head?.endsWith("\nText:  ")).toBe(true);
		expect(rows.filter((row) => row.query.startsWith(head as string) && row.query.endsWith(tail as string))).toHaveLength(8580);
		expect(tally(rows)).toEqual({ noise: 8011, causal: 569 });
	});

	it("removes from train what test also has, and says how much", async () => {
		const removed = async (name: string) => (await taskByName(name).loadWithReport("train", dirs)).report.removed;
		expect(await removed("fomc")).toEqual({ "text also in test": 1984 - 1949 });
		expect(await removed("fiqasa")).toEqual({ "text also in test": 18 });
		const sc = taskByName("sc");
		expect(await removed("sc")).toEqual({ "text also in test": 303 });
		const testTexts = new Set((await sc.load("test", dirs)).map((row) => row.doc.text));
		expect((await sc.load("train", dirs)).filter((row) => testTexts.has(row.doc.text))).toEqual([]);
		expect(await removed("ner")).toEqual({});
	});

	it("says for every row where it stands", async () => {
		for (const [name, file] of [
			["ner", "ner_sec/FIN3.txt"],
			["fomc", "fomc/test-5768.csv"],
			["fiqasa", "fiqa_sa/pixiu_flare_fiqasa_test_first_prompt.jsonl"],
		] as const) {
			const lines = readFileSync(sharedPath("data", file), "utf-8").split("\n");
			const rows = await taskByName(name).load("test", dirs);
			for (const row of [rows[0], rows[7], rows.at(-1)] as TaskRow[]) {
				expect(row.source.file).toBe(sharedPath("data", file));
				const needle =
					name === "ner" ? ((row.doc.text as string).split(" ")[0] as string) : (row.doc.text as string).slice(0, 12);
				expect(lines[row.source.line - 1]).toContain(needle.replaceAll('"', ""));
			}
		}
	});
});
