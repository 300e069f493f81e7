/**
 * Reading the files of task data: plain or gzipped text, CSV, JSON lines, with the line that each row came from.
 * @module
 */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { FintuneError, fromSystemError } from "../errors.js";

const gunzipAsync = promisify(gunzip);

/** The path of `name` or `name.gz` in `folder`, whichever is there first; undefined when neither is a file. */
export async function findFile(folder: string, name: string): Promise<string | undefined> {
	for (const path of [join(folder, name), join(folder, `${name}.gz`)]) {
		try {
			if ((await stat(path)).isFile()) return path;
		} catch (error) {
			const code = (error as NodeJS.ErrnoException).code;
			if (code !== "ENOENT" && code !== "ENOTDIR") throw fromSystemError(error, path);
		}
	}
	return undefined;
}

/** The paths of all `names` in `folder`; undefined when one is missing. */
export async function findFiles(folder: string, names: readonly string[]): Promise<string[] | undefined> {
	const paths: string[] = [];
	for (const name of names) {
		const path = await findFile(folder, name);
		if (path === undefined) return undefined;
		paths.push(path);
	}
	return paths;
}

/**
 * A whole text file, gunzipped where its name ends in .gz, without a byte order mark.
 * @throws FintuneError E_DATA_FORMAT for bytes that are not the encoding or not gzip; the error of the file system else
 */
export async function readText(path: string, encoding: "utf-8" | "latin1" = "utf-8"): Promise<string> {
	let bytes: Buffer;
	try {
		bytes = await readFile(path);
	} catch (error) {
		throw fromSystemError(error, path);
	}
	if (path.endsWith(".gz")) {
		try {
			bytes = await gunzipAsync(bytes);
		} catch (cause) {
			throw new FintuneError("E_DATA_FORMAT", "cannot be unpacked", { where: path, expected: "a whole gzip file", cause });
		}
	}
	if (encoding === "latin1") return bytes.toString("latin1");
	try {
		return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
	} catch (cause) {
		throw new FintuneError("E_DATA_FORMAT", "is not UTF-8 text", { where: path, cause });
	}
}

export interface NumberedLine {
	text: string;
	/** Counts from 1. */
	line: number;
}

/** Lines without their ends (\n or \r\n); a last empty line is no line. */
export function numberedLines(text: string): NumberedLine[] {
	const lines = text.split("\n").map((line, i) => ({ text: line.endsWith("\r") ? line.slice(0, -1) : line, line: i + 1 }));
	if (lines.at(-1)?.text === "") lines.pop();
	return lines;
}

/** The lines of a text file that hold anything but blanks. */
export async function filledLines(path: string): Promise<NumberedLine[]> {
	return numberedLines(await readText(path)).filter(({ text }) => text.trim() !== "");
}

/**
 * The items of a file that holds one JSON list.
 * @param prepare changes the text before it is parsed
 * @throws FintuneError E_DATA_FORMAT
 */
export async function readJsonList(path: string, prepare = (text: string): string => text): Promise<unknown[]> {
	const text = prepare(await readText(path));
	let items: unknown;
	try {
		items = JSON.parse(text);
	} catch (cause) {
		throw new FintuneError("E_DATA_FORMAT", "is not JSON", { where: path, found: (cause as Error).message, cause });
	}
	if (!Array.isArray(items)) throw new FintuneError("E_DATA_FORMAT", "is not a list", { where: path, expected: "a JSON list" });
	return items;
}

export interface NumberedRecord {
	record: Record<string, unknown>;
	line: number;
}

/** JSON objects, one a line; empty lines are skipped. @throws FintuneError E_DATA_ROW */
export async function readJsonLines(path: string): Promise<NumberedRecord[]> {
	return parseJsonLines(await readText(path), path);
}

/** As `readJsonLines`, of a text already read. */
export function parseJsonLines(text: string, path: string): NumberedRecord[] {
	const records: NumberedRecord[] = [];
	for (const { text: json, line } of numberedLines(text)) {
		if (json.trim() === "") continue;
		let record: unknown;
		try {
			record = JSON.parse(json);
		} catch (cause) {
			throw new FintuneError("E_DATA_ROW", "is not JSON", { where: `${path}:${line}`, found: (cause as Error).message, cause });
		}
		if (typeof record !== "object" || record === null || Array.isArray(record)) {
			throw new FintuneError("E_DATA_ROW", "is not a JSON object", { where: `${path}:${line}`, found: json.slice(0, 80) });
		}
		records.push({ record: record as Record<string, unknown>, line });
	}
	return records;
}

/**
 * Rows of a comma-separated file with a header (RFC 4180).
 * @param columns that must be there; others are dropped
 * @throws FintuneError E_DATA_FORMAT
 */
export async function readCsv<C extends string>(
	path: string,
	columns: readonly C[],
): Promise<{ record: Record<C, string>; line: number }[]> {
	const [header, ...rows] = parseCsv(await readText(path), path);
	const places = columns.map((column) => header?.fields.indexOf(column) ?? -1);
	if (places.includes(-1)) {
		throw new FintuneError("E_DATA_FORMAT", "lacks columns", {
			where: `${path}:1`,
			expected: columns.join(", "),
			found: header?.fields.join(", ") ?? "an empty file",
		});
	}
	return rows.map(({ fields, line }) => {
		if (fields.length !== header?.fields.length) {
			throw new FintuneError("E_DATA_FORMAT", "has another number of columns than the header", {
				where: `${path}:${line}`,
				expected: `${header?.fields.length}`,
				found: `${fields.length}`,
			});
		}
		const record = Object.fromEntries(columns.map((column, i) => [column, fields[places[i] as number]]));
		return { record: record as Record<C, string>, line };
	});
}

interface CsvRow {
	fields: string[];
	/** The line on which the row begins. */
	line: number;
}

function parseCsv(text: string, path: string): CsvRow[] {
	const rows: CsvRow[] = [];
	let line = 1;
	let at = 0;
	while (at < text.length) {
		const row: CsvRow = { fields: [], line };
		for (let more = true; more; ) {
			let field = "";
			if (text[at] === '"') {
				let open = at + 1;
				for (;;) {
					const quote = text.indexOf('"', open);
					if (quote < 0) throw new FintuneError("E_DATA_FORMAT", "a quoted field never ends", { where: `${path}:${row.line}` });
					field += text.slice(open, quote);
					at = quote + 1;
					if (text[at] !== '"') break;
					field += '"';
					open = at + 1;
				}
				line += field.split("\n").length - 1;
			}
			let end = at;
			while (end < text.length && text[end] !== "," && text[end] !== "\n") end++;
			field += text.slice(at, end);
			more = text[end] === ",";
			if (!more && field.endsWith("\r")) field = field.slice(0, -1);
			row.fields.push(field);
			at = end + 1;
		}
		line++;
		if (row.fields.length > 1 || row.fields[0] !== "") rows.push(row);
	}
	return rows;
}

/** A row that does not have the form of its file. */
export function badRow(path: string, line: number, expected: string, found: string): FintuneError {
	return new FintuneError("E_DATA_ROW", "is not a row of this data set", {
		where: `${path}:${line}`,
		expected,
		found: found.slice(0, 120),
	});
}
