/** Importing task data: what is built, what is kept, and that wrong files leave nothing behind. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { strToU8, zipSync } from "fflate";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { splitOfName } from "../../src/tasks/import/hub_rows.js";
import { importTask } from "../../src/tasks/import/import.js";
import { userDataDir } from "../../src/tasks/import/user_folder.js";
import { licenceNote } from "../../src/tasks/licences.js";
import { taskByName } from "../../src/tasks/registry.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";

let dir: string;
beforeEach(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-import-test-"));
	mkdirSync(join(dir, "from"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const put = (name: string, content: string | Uint8Array) => writeFileSync(join(dir, "from", name), content);
const run = (task: string, from = join(dir, "from")) => importTask(taskByName(task), from, join(dir, "data"));
const row = (i: number, more: Record<string, unknown> = {}) => ({
	id: `ma${i}`,
	query: `Is it done? ${i}\nAnswer:`,
	answer: "rumour",
	choices: ["complete", "rumour"],
	gold: 1,
	text: `text ${i}`,
	...more,
});
const lines = (...rows: unknown[]) => rows.map((r) => `${JSON.stringify(r)}\n`).join("");

describe("rows of the hub", () => {
	it("are kept as they are, load without further flags, and are described", async () => {
		put("test.jsonl", lines(row(0), row(1, { answer: "complete", gold: 0 })));
		const { folder, manifest, differences } = await run("ma");
		expect(manifest).toMatchObject({ task: "ma", kind: "hub", ruleVersion: 1, sources: [{ name: "test.jsonl" }] });
		expect(manifest.splits.test).toMatchObject({ rows: 2, boardRows: 500, answers: { rumour: 1, complete: 1 } });
		expect(differences).toEqual(["ma test: 2 rows, the leaderboard has 500"]);
		expect(readdirSync(folder).sort()).toEqual(["manifest.json", "test.jsonl"]);
		const rows = await taskByName("ma").load("test", [join(dir, "data")]);
		expect(rows.map(({ query, answer, doc }) => [query, answer, doc.gold])).toEqual([
			[row(0).query, "rumour", 1],
			[row(1).query, "complete", 0],
		]);
	});

	it("of one split leave the other splits of an earlier import", async () => {
		put("train.jsonl", lines(row(0)));
		await run("ma");
		rmSync(join(dir, "from", "train.jsonl"));
		put("test-00000-of-00001.jsonl", lines(row(1)));
		const { manifest, folder } = await run("ma");
		expect(Object.keys(manifest.splits)).toEqual(["train", "test"]);
		expect(manifest.sources.map(({ name }) => name)).toEqual(["train.jsonl", "test-00000-of-00001.jsonl"]);
		expect(readFileSync(join(folder, "train.jsonl"), "utf8")).toContain("Is it done? 0");
	});

	it.each<[string, string, string | Uint8Array, RegExp]>([
		["a missing column", "test.jsonl", lines(row(0), row(1, { gold: undefined })), /test\.jsonl:2: lacks gold/],
		[
			"a label that is none",
			"test.jsonl",
			lines(row(0, { choices: ["done", "rumour"] })),
			/test\.jsonl:1: has an option .*done/s,
		],
		["a gold beyond the options", "test.jsonl", lines(row(0, { gold: 2 })), /test\.jsonl:1: has no right option/],
		["an answer that is not the gold", "test.jsonl", lines(row(0, { gold: 0 })), /test\.jsonl:1: contradicts itself/],
		["an id twice", "test.jsonl", lines(row(0), row(0)), /test\.jsonl:2: the id occurs twice/],
		["a line of 10 MB", "test.jsonl", lines(row(0, { query: "x".repeat(10 * 2 ** 20) })), /test\.jsonl:1: .*too long/],
		["an empty file", "test.jsonl", "", /there is no test row/],
		["a line that is not JSON", "test.jsonl", `${lines(row(0))}{"query":\n`, /test\.jsonl:2/],
		[
			"mixed encodings",
			"test.jsonl",
			Buffer.concat([Buffer.from(lines(row(0))), Buffer.from([0x7b, 0x22, 0xe9, 0x22, 0x0a])]),
			/test\.jsonl/,
		],
		["a gzip file that is cut off", "test.jsonl.gz", gzipSync(lines(row(0))).subarray(0, 40), /test\.jsonl\.gz/],
		["a parquet file that is none", "test.parquet", "PAR1 but not really", /test\.parquet/],
	])("with %s are refused with their place, and nothing is left", async (_, name, content, message) => {
		put(name, content);
		const refused = run("ma");
		await expect(refused).rejects.toThrow(message);
		await refused.catch((error: { exitStatus: number }) => expect(error.exitStatus).toBe(65));
		expect(readdirSync(dir)).not.toContain("data/ma");
		expect(readdirSync(join(dir)).includes("data") ? readdirSync(join(dir, "data")) : []).toEqual([]);
	});
});

describe("original files", () => {
	it("that are damaged, or none of the task's, are refused", async () => {
		put("train-5768.xlsx", "not a workbook");
		await expect(run("fomc")).rejects.toMatchObject({ exitStatus: 65 });
		put("a.zip", "not an archive");
		await expect(run("fpb", join(dir, "from", "a.zip"))).rejects.toThrow(/cannot be unpacked/);
		await expect(run("ma", join(dir, "nowhere"))).rejects.toMatchObject({ exitStatus: 66 });
		rmSync(join(dir, "from", "train-5768.xlsx"));
		await expect(run("fomc")).rejects.toThrow(/holds nothing that task fomc/);
	});

	it("in a zip archive are found, and a path that leads out of it is refused", async () => {
		const files = { "FinRED/test.txt": strToU8("A bought B. | A ; B ; owner_of\n") };
		put("red.zip", zipSync(files));
		const { manifest } = await run("finred", join(dir, "from", "red.zip"));
		expect(manifest).toMatchObject({ kind: "original", splits: { test: { rows: 1 } } });
		put("bad.zip", zipSync({ "../out.txt": strToU8("x") }));
		await expect(run("finred", join(dir, "from", "bad.zip"))).rejects.toThrow(/leads out of it/);
	});

	it.skipIf(!hasShared)(`of FOMC give the same rows as workbooks and as CSV (${whyNoShared})`, async () => {
		for (const split of ["train", "test"]) {
			const name = `lab-manual-split-combine-${split}-5768.xlsx`;
			put(name, readFileSync(sharedPath("data/fomc", name)));
		}
		const books = await run("fomc");
		const csv = await importTask(taskByName("fomc"), sharedPath("data/fomc"), join(dir, "other"));
		expect(books.manifest.splits).toEqual(csv.manifest.splits);
		expect(books.manifest.splits).toMatchObject({ train: { rows: 1984 }, test: { rows: 496, boardRows: 496 } });
	});

	it.skipIf(!hasShared).each([
		["fiqasa", "fiqa_sa", [750, 188, 235]],
		["ner", "ner_sec", [408, 103, 98]],
		["german", "credit_german", [700, 100, 200]],
		["ccfraud", "ccfraud", [7339, undefined, 2098]],
	] as const)(`of %s have the leaderboard's counts (${whyNoShared})`, async (name, folder, sizes) => {
		const { manifest, differences } = await importTask(taskByName(name), sharedPath("data", folder), join(dir, "data"));
		expect((["train", "valid", "test"] as const).map((split) => manifest.splits[split]?.rows)).toEqual([...sizes]);
		expect(differences).toEqual([]);
	});
});

it("knows the splits of file names, the user's folder and licences", () => {
	expect(
		["train.jsonl", "validation-00000-of-00001.parquet", "x_dev.csv", "test.json", "latest.json", "train_test.csv"].map(
			splitOfName,
		),
	).toEqual(["train", "valid", "valid", "test", undefined, undefined]);
	expect(userDataDir({ FINTUNE_DATA: "/a:/b" })).toBe("/a");
	expect(userDataDir({ XDG_DATA_HOME: "/x" })).toBe("/x/fintune/tasks");
	expect(userDataDir({ HOME: "/home/u" })).toBe("/home/u/.local/share/fintune/tasks");
	expect(licenceNote({ name: "fomc", license: "CC-BY-NC-4.0" })).toMatch(/not for commercial use/);
	expect(licenceNote({ name: "ner", license: "CC-BY-3.0" })).toBeUndefined();
});
