/**
 * Finding data: the shipped sets, the import format, several folders, and what is said when something is wrong.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { normaliseText } from "../../src/data/normalise.js";
import { FintuneError } from "../../src/errors.js";
import { packageDataDir, taskDataDirs } from "../../src/tasks/data_dirs.js";
import { taskByName, tasks } from "../../src/tasks/registry.js";
import { tenthForValidation } from "../../src/tasks/splits.js";
import type { TaskRow } from "../../src/tasks/task.js";
import { hasShared, sharedPath, whyNoShared } from "../shared.js";

let folder: string;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "fintune-tasks-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function put(path: string, content: string | Buffer): string {
	const full = join(folder, path);
	mkdirSync(join(full, ".."), { recursive: true });
	writeFileSync(full, content);
	return full;
}
const importRow = (text: string, gold = 0, extra = {}) => ({
	query: `Sentiment?\nText: ${text}\nAnswer:`,
	answer: ["positive", "neutral", "negative"][gold],
	choices: ["positive", "neutral", "negative"],
	gold,
	...extra,
});
const lines = (...rows: unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
async function failure(promise: Promise<unknown>): Promise<FintuneError> {
	try {
		await promise;
	} catch (error) {
		if (error instanceof FintuneError) return error;
		throw error;
	}
	throw new Error("nothing was thrown");
}

describe("shipped data", () => {
	it.each([
		["ner", 408, 103, 98],
		["sc", 11_857, 1318, 8580],
		["german", 700, 100, 200],
	])("%s loads from the package alone", async (name, train, valid, test) => {
		const task = taskByName(name);
		const sizes = [];
		for (const split of ["train", "valid", "test"] as const) sizes.push((await task.load(split, taskDataDirs([], {}))).length);
		expect(sizes).toEqual([train, valid, test]);
		expect(task.redistributable).toBe(true);
	});

	it("is small, holds only tasks that may be shipped, each with its source and licence", () => {
		const folders = readdirSync(packageDataDir(), { withFileTypes: true }).filter((entry) => entry.isDirectory());
		const shipped = folders
			.map((entry) => entry.name)
			.filter((name) => ["ner_sec", "fincausal_sc", "credit_german"].includes(name));
		expect(shipped.sort()).toEqual(["credit_german", "fincausal_sc", "ner_sec"]);
		for (const banned of ["fpb", "fiqa_sa", "fomc", "headlines", "multifin", "finer_ord"]) {
			expect(folders.map((entry) => entry.name)).not.toContain(banned);
		}
		let bytes = 0;
		for (const name of shipped) {
			const dir = join(packageDataDir(), name);
			expect(readFileSync(join(dir, "SOURCE.txt"), "utf-8")).toMatch(/CC BY [34]\.0/);
			for (const file of readdirSync(dir)) bytes += statSync(join(dir, file)).size;
		}
		expect(bytes).toBeLessThan(2_000_000);
	});

	it.skipIf(!hasShared)(`is byte for byte the original (${whyNoShared})`, () => {
		for (const [name, files] of Object.entries({
			ner_sec: ["FIN3.txt", "FIN5.txt"],
			credit_german: ["german.data", "german_train.csv", "german_test.csv"],
			fincausal_sc: ["fnp2020-fincausal-task1.csv", "fnp2020-fincausal2-task1.csv"],
		})) {
			for (const file of files) {
				const ours = gunzipSync(readFileSync(join(packageDataDir(), name, `${file}.gz`)));
				const packed = name === "fincausal_sc";
				const theirs = readFileSync(sharedPath("data", name, packed ? `${file}.gz` : file));
				expect(ours.equals(packed ? gunzipSync(theirs) : theirs), file).toBe(true);
			}
		}
	});
});

describe("data folders", () => {
	it("come in order: given, environment, package", () => {
		const dirs = taskDataDirs(["/a"], { FINTUNE_DATA: "/b:/c" });
		expect(dirs).toEqual(["/a", "/b", "/c", packageDataDir()]);
	});

	it("are searched in that order", async () => {
		put("first/fpb/test.jsonl", lines(importRow("from the first")));
		put("second/fpb/test.jsonl", lines(importRow("from the second"), importRow("too")));
		const fpb = taskByName("fpb");
		expect(await fpb.load("test", [join(folder, "first"), join(folder, "second")])).toHaveLength(1);
		expect(await fpb.load("test", [join(folder, "second"), join(folder, "first")])).toHaveLength(2);
		expect(await fpb.load("test", [join(folder, "nowhere"), join(folder, "first")])).toHaveLength(1);
	});
});

describe("import format", () => {
	it("takes the leaderboard's rows unchanged, plain or gzipped, under the task's name or id", async () => {
		const row = importRow("Sales rose .", 0, { id: "fpb1" });
		const path = put("flare_fpb/test.jsonl.gz", gzipSync(lines(row)));
		const { rows, report } = await taskByName("fpb").loadWithReport("test", [folder]);
		const { query, ...doc } = row;
		expect(rows).toEqual([{ query, answer: "positive", doc, source: { file: path, line: 1 } }]);
		expect(report).toEqual({ files: [path], removed: {} });
	});

	it("derives validation from train, and keeps test texts out of both", async () => {
		const train = Array.from({ length: 40 }, (_, i) => importRow(`Sentence ${i}`, i % 3));
		put("fpb/train.jsonl", lines(...train));
		put("fpb/test.jsonl", lines(importRow("sentence  7 !"), importRow("new")));
		const fpb = taskByName("fpb");
		const t = await fpb.loadWithReport("train", [folder]);
		const v = await fpb.loadWithReport("valid", [folder]);
		expect(t.report.removed).toEqual({ "text also in test": 1 });
		expect(v.rows).toHaveLength(4);
		expect(t.rows).toHaveLength(35);
		const all = [...t.rows, ...v.rows].map((row) => row.query);
		expect(new Set(all).size).toBe(39);
		expect(all.some((query) => query.includes("Sentence 7\n"))).toBe(false);
	});

	it("uses a validation file where there is one", async () => {
		put("fpb/train.jsonl", lines(importRow("a"), importRow("b")));
		put("fpb/valid.jsonl", lines(importRow("c")));
		const fpb = taskByName("fpb");
		expect(await fpb.load("train", [folder])).toHaveLength(2);
		expect((await fpb.load("valid", [folder]))[0]?.doc.choices).toHaveLength(3);
	});

	it.each([
		["no query", { answer: "x", choices: [], gold: 0 }, '"query": text'],
		["no answer", { query: "x", choices: [], gold: 0 }, '"answer": text or number'],
		["a column short", { query: "x", answer: "y", gold: 0 }, "no choices"],
	])("refuses a row with %s, naming its line", async (_, row, message) => {
		const path = put("fpb/test.jsonl", lines(importRow("fine"), row));
		const error = await failure(taskByName("fpb").load("test", [folder]));
		expect(error.code).toBe("E_DATA_ROW");
		expect(error.where).toBe(`${path}:2`);
		expect(error.message).toContain(message);
	});

	it("refuses lines that are not JSON objects, broken gzip and broken UTF-8", async () => {
		const fpb = taskByName("fpb");
		put("a/fpb/test.jsonl", "{oops\n");
		put("b/fpb/test.jsonl", "[1]\n");
		put("c/fpb/test.jsonl.gz", gzipSync(lines(importRow("x"))).subarray(0, 20));
		put("d/fpb/test.jsonl", Buffer.from([0x7b, 0xff, 0x7d]));
		const codes = [];
		for (const dir of ["a", "b", "c", "d"]) codes.push((await failure(fpb.load("test", [join(folder, dir)]))).code);
		expect(codes).toEqual(["E_DATA_ROW", "E_DATA_ROW", "E_DATA_FORMAT", "E_DATA_FORMAT"]);
	});
});

describe("data that are absent or wrong", () => {
	it("names every folder that was searched, and how to get the data", async () => {
		for (const task of tasks) {
			const error = await failure(task.load("test", ["/nowhere/one", folder]));
			expect(error.code).toBe("E_TASK_DATA");
			expect(error.exitStatus).toBe(66);
			expect(error.message).toContain("/nowhere/one");
			expect(error.message).toContain(folder);
			expect(error.message).toContain("FINTUNE_DATA");
		}
	});

	it.each([
		["ner", "ner_sec/FIN3.txt", "Acme NNP - I-ORG\nbroken-line\n", 2],
		["sc", "fincausal_sc/fnp2020-fincausal-task1.csv", "Index; Text; Gold\r\n1; fine; 0\r\n2; text; 7\r\n", 3],
		["german", "credit_german/german_test.csv", "A11,6,A34\n", 1],
		["german", "credit_german/german_test.csv", `${"A99,".repeat(20)}1\n`, 1],
		["fpb", "fpb/Sentences_50Agree.txt", "Good .@positive\nBad .@awful\n", 2],
		["fomc", "fomc/test-5768.csv", "sentence,label\nfine,0\nodd,9\n", 3],
		["fiqasa", "fiqa_sa/pixiu_flare_fiqasa_test_first_prompt.jsonl", '{"conversations":[{"value":"x"}]}\n', 1],
	])("%s: points at the bad line of %s", async (name, file, content, line) => {
		const path = put(file, content);
		const error = await failure(taskByName(name).load("test", [folder]));
		expect(error.code).toBe("E_DATA_ROW");
		expect(error.where).toBe(`${path}:${line}`);
	});

	it("reads quoted CSV fields, and refuses one that never ends or a short row", async () => {
		const path = put("fomc/test-5768.csv", 'sentence,label,x\r\n"He said ""up"",\nthen down",1,\r\nplain,2,"z"\r\n');
		const rows = await taskByName("fomc").load("test", [folder]);
		expect(rows.map((r) => [r.doc.text, r.answer, r.source.line])).toEqual([
			['He said "up",\nthen down', "hawkish", 2],
			["plain", "neutral", 4],
		]);
		writeFileSync(path, 'sentence,label\n"open,1\n');
		expect((await failure(taskByName("fomc").load("test", [folder]))).code).toBe("E_DATA_FORMAT");
		writeFileSync(path, "sentence,label\nshort\n");
		expect((await failure(taskByName("fomc").load("test", [folder]))).where).toBe(`${path}:2`);
	});

	it("says which columns a CSV file lacks", async () => {
		put("headlines/headlines.csv", "Dates,News\n2020,gold up\n");
		const error = await failure(taskByName("headlines").load("test", [folder]));
		expect(error.code).toBe("E_DATA_FORMAT");
		expect(error.message).toContain("AssetComparision");
	});
});

describe("registry", () => {
	it("answers to short names in any case and to the leaderboard's ids", () => {
		for (const task of tasks) {
			for (const name of [task.name, task.name.toUpperCase(), task.id, ` ${task.id} `]) expect(taskByName(name)).toBe(task);
		}
		expect(taskByName("causal20_sc").name).toBe("sc");
		expect(taskByName("FiQA-SA").name).toBe("fiqasa");
		expect(taskByName("FinArg-ACC").id).toBe("flare_finarg_ecc_auc");
	});

	it("names the nearest task", () => {
		expect(() => taskByName("headline")).toThrow(/did you mean "headlines"/);
		expect(() => taskByName("headline")).toThrow(FintuneError);
		expect(() => taskByName("")).toThrow(FintuneError);
		expect(() => taskByName("xyzzy-quux")).toThrow(/ner/);
	});

	it("holds what every task must say", () => {
		expect(new Set(tasks.flatMap((task) => [task.name, task.id])).size).toBe(2 * tasks.length);
		for (const task of tasks) {
			expect(task.metrics[task.headline]?.higherIsBetter).toBe(task.name !== "tsa");
			expect(task.strictRules.length).toBeGreaterThan(40);
			expect(task.hasSplit("valid")).toBe(true);
		}
	});
});

describe("splits", () => {
	const row = (text: string): TaskRow => ({ query: "", answer: "", doc: { text }, source: { file: "", line: 0 } });

	it("compares texts by letters and digits only", () => {
		expect(normaliseText("  Profit ROSE, 5 % !")).toBe("profit rose 5");
		expect(normaliseText("Ｐrofit “rose”")).toBe("profit rose");
	});

	it("never parts rows of one text", () => {
		const rows = Array.from({ length: 90 }, (_, i) => row(`text ${Math.floor(i / 3)}`));
		const { train, valid } = tenthForValidation(rows);
		expect(valid).toHaveLength(9);
		expect(train).toHaveLength(81);
		const texts = new Set(train.map((r) => r.doc.text));
		expect(valid.some((r) => texts.has(r.doc.text))).toBe(false);
		expect(tenthForValidation(rows, 1).valid).not.toEqual(valid);
	});
});
