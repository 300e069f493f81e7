import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { expandBraces, expandPattern } from "../../src/data/glob.js";
import { type RawRow, type ReadOptions, readRows } from "../../src/data/readers.js";
import { FintuneError, FintuneErrors } from "../../src/errors.js";

let folder = "";
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "fintune-readers-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const write = (name: string, content: string | Uint8Array): string => {
	const path = join(folder, name);
	writeFileSync(path, content);
	return path;
};

/** Everything a reader yields, and what it throws at the end. */
async function readAll(paths: string | string[], options?: ReadOptions): Promise<{ rows: RawRow[]; error?: FintuneError }> {
	const rows: RawRow[] = [];
	try {
		for await (const row of readRows(paths, options)) rows.push(row);
	} catch (error) {
		if (error instanceof FintuneError) return { rows, error };
		throw error;
	}
	return { rows };
}
const values = (rows: RawRow[]) => rows.map((row) => row.value);
const lines = (rows: RawRow[]) => rows.map((row) => row.source.line);
const fixture = (name: string) => new URL(`../fixtures/data/${name}`, import.meta.url).pathname;

describe("JSON lines", () => {
	const content = '\ufeff{"a":1}\r\n\n  \n{"a":"ü📈"}\n{"a":3}';
	it("gives rows with their lines, blank lines and a byte order mark aside", async () => {
		const { rows, error } = await readAll(write("a.jsonl", content));
		expect(error).toBeUndefined();
		expect(values(rows)).toEqual([{ a: 1 }, { a: "ü📈" }, { a: 3 }]);
		expect(lines(rows)).toEqual([1, 4, 5]);
	});

	it("reads gzip, whatever the name says, and several members", async () => {
		const plain = values((await readAll(write("a.jsonl", content))).rows);
		expect(values((await readAll(write("b.jsonl.gz", gzipSync(content)))).rows)).toEqual(plain);
		expect(values((await readAll(write("c.jsonl", gzipSync(content)))).rows)).toEqual(plain);
		const two = Buffer.concat([gzipSync('{"a":1}\n'), gzipSync('{"a":2}\n')]);
		expect(values((await readAll(write("d.jsonl.gz", two))).rows)).toEqual([{ a: 1 }, { a: 2 }]);
	});

	it("reports every malformed line with file and line, and still gives the others", async () => {
		const bad = Buffer.concat([
			Buffer.from('{"a":1}\n{bad\n[1]\n'),
			Buffer.from([0x22, 0xff, 0x22, 10]),
			Buffer.from('null\n{"a":2}\n{"a":'),
		]);
		const path = write("bad.jsonl", bad);
		const { rows, error } = await readAll(path);
		expect(values(rows)).toEqual([{ a: 1 }, { a: 2 }]);
		expect(error).toBeInstanceOf(FintuneErrors);
		expect((error as FintuneErrors).errors.map((e) => [e.code, e.where])).toEqual(
			[2, 3, 4, 5, 7].map((n) => ["E_DATA_FORMAT", `${path}:${n}`]),
		);
		expect(error?.message).toMatch(/bad\.jsonl:4: is not valid UTF-8/);
		expect(error?.exitStatus).toBe(65);
	});

	it("shows at most a cap of them, with the total", async () => {
		const { error } = await readAll(write("many.jsonl", "x\n".repeat(500)), { maxErrors: 3 });
		expect((error as FintuneErrors).errors).toHaveLength(4);
		expect(error?.message).toMatch(/and 497 more: 500 bad lines in all/);
	});

	it("reports gzip data that end early, after the rows that are whole", async () => {
		const rowsText = Array.from({ length: 5000 }, (_, a) => JSON.stringify({ a, b: Math.sin(a) })).join("\n");
		const path = write("cut.jsonl.gz", gzipSync(rowsText).subarray(0, -5000));
		const { rows, error } = await readAll(path);
		expect(rows.length).toBeGreaterThan(100);
		expect(error?.message).toMatch(/damaged or cut off/);
		expect(error?.code).toBe("E_DATA_FORMAT");
	});

	it("reads what JSON wrote, however the chunks fall", async () => {
		const row = fc.dictionary(
			fc.string({ maxLength: 5 }),
			fc.oneof(fc.string({ unit: "binary" }), fc.double({ noNaN: true, noDefaultInfinity: true })),
		);
		await fc.assert(
			fc.asyncProperty(fc.array(row, { maxLength: 40 }), fc.integer({ min: 0, max: 70000 }), async (rows, padding) => {
				const all = [{ pad: "é".repeat(padding) }, ...rows];
				const path = write("any.jsonl", all.map((value) => `${JSON.stringify(value)}\n`).join(""));
				expect(values((await readAll(path)).rows)).toEqual(JSON.parse(JSON.stringify(all)));
			}),
			{ numRuns: 30 },
		);
	});
});

describe("JSON", () => {
	it("reads an array, one object, and JSON lines under that name", async () => {
		expect(lines((await readAll(write("a.json", '[{"a":1},\n{"a":2}]'))).rows)).toEqual([1, 2]);
		expect(values((await readAll(write("b.json", '{"a":1}'))).rows)).toEqual([{ a: 1 }]);
		expect(values((await readAll(write("c.json", '{"a":1}\n{"a":2}\n'))).rows)).toEqual([{ a: 1 }, { a: 2 }]);
		expect(values((await readAll(write("d.json.gz", gzipSync('[{"a":1}]')))).rows)).toEqual([{ a: 1 }]);
		expect((await readAll(write("e.json", "[{"))).error?.message).toMatch(/is not valid JSON/);
		expect((await readAll(write("f.json", '[{"a":1},2]'))).error?.where).toMatch(/f\.json:2$/);
	});
});

describe("CSV", () => {
	it("gives the line on which each record begins", async () => {
		const text = '\ufeffprompt,completion\r\n1,"a, ""b"""\r\n2,"two\r\nlines"\r\n\r\n3,\r\n4,"x\ny\nz"\r\n5,é';
		const { rows, error } = await readAll(write("a.csv", text));
		expect(error).toBeUndefined();
		expect(values(rows).map((row) => row.completion)).toEqual(['a, "b"', "two\r\nlines", "", "x\ny\nz", "é"]);
		expect(lines(rows)).toEqual([2, 3, 6, 7, 10]);
		expect(values((await readAll(write("a.tsv", "a\tb\n1\t2,3\n"))).rows)).toEqual([{ a: "1", b: "2,3" }]);
		expect(values((await readAll(write("a.csv.gz", gzipSync("a\n1\n")))).rows)).toEqual([{ a: "1" }]);
	});

	it("reports records that do not fit, by line, and goes on", async () => {
		const path = write("bad.csv", 'a,b\n1,2\n1,2,3\n4,x"y\n5,6\n7\n8,"open\n9,10\n');
		const { rows, error } = await readAll(path);
		expect(lines(rows)).toEqual([2, 5]);
		const found = (error as FintuneErrors).errors;
		expect(found.slice(0, 3).map((e) => e.where)).toEqual([`${path}:3`, `${path}:4`, `${path}:6`]);
		expect(error?.message).toMatch(/expected 2 \(a, b\), found 3/);
		expect(error?.message).toMatch(/Quote Not Closed/);
	});

	it("refuses a column that occurs twice, and bytes that are not UTF-8", async () => {
		expect((await readAll(write("a.csv", "a,a\n1,2\n"))).error?.message).toMatch(/"a" occurs twice/);
		expect((await readAll(write("b.csv", Buffer.from([97, 10, 0xff, 10])))).error?.message).toMatch(/not valid UTF-8/);
	});

	it("reads other delimiters, files without a header, and plain quotes, when told", async () => {
		const semicolons = write("a.csv", `id; text\n1; it's 5" wide\n`);
		expect((await readAll(semicolons)).error?.message).toMatch(
			/a\.csv:1: does not look comma-separated[\s\S]*say which delimiter/,
		);
		const { rows, error } = await readAll(semicolons, { delimiter: "; ", quotes: false });
		expect(error).toBeUndefined();
		expect(values(rows)).toEqual([{ id: "1", text: "it's 5\" wide" }]);
		const headless = await readAll(write("b.csv", "1,2\n3,4\n"), { columns: ["x", "y"] });
		expect(values(headless.rows)).toEqual([
			{ x: "1", y: "2" },
			{ x: "3", y: "4" },
		]);
		expect(lines(headless.rows)).toEqual([1, 2]);
	});

	it("lets the reader stop early", async () => {
		const path = write("long.csv", `a\n${"1\n".repeat(200000)}`);
		for await (const row of readRows(path)) {
			expect(row.value).toEqual({ a: "1" });
			break;
		}
	});
});

describe("parquet", () => {
	it("reads lists of structs, 64-bit integers as numbers, dates as text, over row groups", async () => {
		const { rows, error } = await readAll(fixture("rows.parquet"));
		expect(error).toBeUndefined();
		expect(lines(rows)).toEqual([1, 2, 3]);
		expect(rows[0]?.value).toMatchObject({
			prompt: "Is 1 > 2?",
			messages: [
				{ role: "user", content: "a" },
				{ role: "assistant", content: "b" },
			],
			input_ids: [1, 2, 3],
			score: 1.5,
			day: "2020-01-02T03:04:05.000Z",
		});
		expect(rows[1]?.value).toMatchObject({ prompt: "Ünïcode 📈", score: null });
	});

	it("reports an integer that a number cannot hold, and a file that is no parquet", async () => {
		const { rows, error } = await readAll(fixture("unsafe.parquet"));
		expect(values(rows)).toEqual([{ n: 5 }]);
		expect(error?.message).toMatch(/unsafe\.parquet:2.*\n.*n = 9007199254740993/);
		expect((await readAll(write("no.parquet", "PAR1 no"))).error).toMatchObject({ code: "E_DATA_FORMAT" });
	});
});

describe("files", () => {
	it("expands patterns in one order on every machine", async () => {
		mkdirSync(join(folder, "sub/deep"), { recursive: true });
		for (const name of [
			"b.jsonl",
			"a.jsonl",
			"B.jsonl",
			".hidden.jsonl",
			"[x].jsonl",
			"sub/c.jsonl",
			"sub/deep/d.jsonl",
			"e.csv",
		])
			write(name, "");
		symlinkSync(join(folder, "a.jsonl"), join(folder, "link.jsonl"));
		const names = async (pattern: string) =>
			(await expandPattern(join(folder, pattern))).map((path) => path.slice(folder.length + 1));
		expect(await names("*.jsonl")).toEqual(["B.jsonl", "[x].jsonl", "a.jsonl", "b.jsonl", "link.jsonl"]);
		expect(await names("**/*.jsonl")).toEqual([
			"B.jsonl",
			"[x].jsonl",
			"a.jsonl",
			"b.jsonl",
			"link.jsonl",
			"sub/c.jsonl",
			"sub/deep/d.jsonl",
		]);
		expect(await names("s*/?.jsonl")).toEqual(["sub/c.jsonl"]);
		expect(await names("[a-b].jsonl")).toEqual(["a.jsonl", "b.jsonl"]);
		expect(await names("[!a].jsonl")).toEqual(["B.jsonl", "b.jsonl"]);
		expect(await names("{sub/{c,no},e,a}.{jsonl,csv}")).toEqual(["a.jsonl", "e.csv", "sub/c.jsonl"]);
		expect(await names("[x].jsonl")).toEqual(["[x].jsonl"]);
		expect(await names(".*.jsonl")).toEqual([".hidden.jsonl"]);
	});

	it("expands braces as a shell does", () => {
		expect(expandBraces("a{b,c{d,e}}f")).toEqual(["abf", "acdf", "acef"]);
		expect(expandBraces("a{b}c{")).toEqual(["a{b}c{"]);
	});

	it("says what is missing", async () => {
		expect((await readAll(join(folder, "no.jsonl"))).error).toMatchObject({ code: "E_NOT_FOUND" });
		expect((await readAll(join(folder, "*.jsonl"))).error).toMatchObject({ code: "E_NOT_FOUND", message: /no file matches/ });
		expect((await readAll(folder)).error).toMatchObject({ code: "E_NOT_FOUND", message: /is a folder/ });
		expect((await readAll(write("a.xls", ""))).error).toMatchObject({ code: "E_DATA_FORMAT", message: /cannot tell the format/ });
	});

	it("reports the errors of all files together", async () => {
		write("1.jsonl", "x\n");
		write("2.jsonl", '{"a":1}\n');
		write("3.jsonl", "y\n");
		const { rows, error } = await readAll([join(folder, "*.jsonl"), join(folder, "2.jsonl")]);
		expect(rows).toHaveLength(2);
		expect((error as FintuneErrors).errors.map((e) => e.where?.slice(-9))).toEqual(["1.jsonl:1", "3.jsonl:1"]);
	});
});
