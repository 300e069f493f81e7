/**
 * Reading rows from files: JSON lines and CSV (also .gz), JSON arrays, parquet. Every malformed line is reported with its
 * file and line; nothing is skipped silently.
 * @module
 */
import { createReadStream } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { pipeline, Readable } from "node:stream";
import { createGunzip, gunzipSync } from "node:zlib";
import { FintuneError, fromSystemError } from "../errors.js";
import { expandPattern } from "./glob.js";
import { Problems } from "./problems.js";

/** Where a row came from. `line` counts from 1: the line on which it begins; without lines (parquet, a JSON array) its number. */
export interface Source {
	file: string;
	line: number;
}

/** A row as it lies in the file. */
export interface RawRow {
	value: Record<string, unknown>;
	source: Source;
}

export type DataFormat = "jsonl" | "json" | "csv" | "tsv" | "parquet";

export interface ReadOptions {
	/** Default: by the file's name (.gz aside). */
	format?: DataFormat;
	/** CSV: what separates fields. Default: a comma, in .tsv a tab. */
	delimiter?: string;
	/** CSV: names of the columns of a file that has no header line. */
	columns?: readonly string[];
	/** CSV: false where quotes are ordinary characters. Default true: RFC 4180. */
	quotes?: boolean;
	/** How many malformed lines are shown in full. Default 20. */
	maxErrors?: number;
}

/** "file:line". */
export const sourceText = (source: Source): string => `${source.file}:${source.line}`;

/**
 * The rows of the files that paths or patterns mean, in order. After the last good row all malformed lines are thrown
 * together as FintuneErrors. Errors: E_NOT_FOUND, E_PERMISSION, E_IO, E_DATA_FORMAT.
 */
export async function* readRows(
	paths: string | readonly string[],
	options: ReadOptions = {},
): AsyncGenerator<RawRow, void, undefined> {
	const problems = new Problems(options.maxErrors);
	for (const pattern of typeof paths === "string" ? [paths] : paths) {
		for (const file of await expandPattern(pattern)) {
			const format = options.format ?? formatOf(file);
			try {
				if (format === "parquet") yield* readParquet(file, problems);
				else if (format === "json") yield* readJson(file, problems);
				else if (format === "jsonl") yield* readJsonLines(file, problems);
				else yield* readCsv(file, { delimiter: format === "tsv" ? "\t" : ",", ...options }, problems);
			} catch (error) {
				problems.add(readError(error, file));
			}
		}
	}
	problems.throwIfAny("line");
}

/** Format by the file's name. Errors: E_DATA_FORMAT for a name without a known ending. */
export function formatOf(file: string): DataFormat {
	const name = file.toLowerCase().replace(/\.gz$/, "");
	if (name.endsWith(".jsonl") || name.endsWith(".ndjson")) return "jsonl";
	for (const format of ["json", "csv", "tsv", "parquet"] as const) if (name.endsWith(`.${format}`)) return format;
	throw new FintuneError("E_DATA_FORMAT", "cannot tell the format from the file's name", {
		expected: "a name that ends in .jsonl, .json, .csv, .tsv (each also with .gz) or .parquet",
		where: file,
	});
}

function readError(error: unknown, file: string): FintuneError {
	const code = (error as NodeJS.ErrnoException).code ?? "";
	if (code.startsWith("Z_")) {
		return new FintuneError("E_DATA_FORMAT", `the gzip data are damaged or cut off: ${(error as Error).message}`, {
			where: file,
			cause: error,
		});
	}
	return fromSystemError(error, file);
}

const badLine = (
	file: string,
	line: number,
	summary: string,
	details: { expected?: string; found?: string; hint?: string } = {},
) => new FintuneError("E_DATA_FORMAT", summary, { where: `${file}:${line}`, ...details });

async function isGzip(file: string): Promise<boolean> {
	const handle = await open(file);
	try {
		const head = Buffer.alloc(2);
		const { bytesRead } = await handle.read(head, 0, 2, 0);
		return bytesRead === 2 && head[0] === 0x1f && head[1] === 0x8b;
	} finally {
		await handle.close();
	}
}

/** The file's bytes, decompressed where they are gzip (told by the bytes, not by the name). */
async function* readBytes(file: string): AsyncGenerator<Buffer, void, undefined> {
	if (!(await isGzip(file))) return yield* createReadStream(file) as AsyncIterable<Buffer>;
	const source = createReadStream(file);
	const gunzip = createGunzip();
	source.on("error", (error) => gunzip.destroy(error));
	try {
		yield* source.pipe(gunzip) as AsyncIterable<Buffer>;
	} finally {
		source.destroy();
	}
}

async function* readJsonLines(file: string, problems: Problems): AsyncGenerator<RawRow, void, undefined> {
	const utf8 = new TextDecoder("utf-8", { fatal: true });
	let line = 0;
	for await (const bytes of splitLines(readBytes(file))) {
		line++;
		let value: unknown;
		try {
			const text = utf8.decode(bytes);
			if (text.trim() === "") continue;
			value = JSON.parse(text);
		} catch (error) {
			const reason = error instanceof SyntaxError ? `is not valid JSON: ${error.message}` : "is not valid UTF-8";
			problems.add(badLine(file, line, reason));
			continue;
		}
		const row = asRow(value, file, line, problems);
		if (row) yield row;
	}
}

function asRow(value: unknown, file: string, line: number, problems: Problems): RawRow | undefined {
	if (typeof value === "object" && value !== null && !Array.isArray(value)) {
		return { value: value as Record<string, unknown>, source: { file, line } };
	}
	const found = Array.isArray(value) ? "an array" : value === null ? "null" : `a ${typeof value}`;
	problems.add(badLine(file, line, "is not a row", { expected: "a JSON object", found }));
	return undefined;
}

/** Lines without their LF; the last one also where no LF ends it. */
async function* splitLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
	let open: Buffer[] = [];
	for await (const chunk of chunks) {
		let start = 0;
		for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
			const piece = chunk.subarray(start, end);
			yield open.length === 0 ? piece : Buffer.concat([...open, piece]);
			open = [];
			start = end + 1;
		}
		if (start < chunk.length) open.push(chunk.subarray(start));
	}
	if (open.length > 0) yield Buffer.concat(open);
}

async function* readJson(file: string, problems: Problems): AsyncGenerator<RawRow, void, undefined> {
	const bytes = await readFile(file);
	const plain = bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes;
	let value: unknown;
	try {
		value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(plain));
	} catch (error) {
		// JSON lines under the name .json are common.
		if (plain.toString("latin1").trimStart().startsWith("{")) return yield* readJsonLines(file, problems);
		problems.add(new FintuneError("E_DATA_FORMAT", `is not valid JSON: ${(error as Error).message}`, { where: file }));
		return;
	}
	for (const [i, entry] of (Array.isArray(value) ? value : [value]).entries()) {
		const row = asRow(entry, file, i + 1, problems);
		if (row) yield row;
	}
}

async function* readCsv(
	file: string,
	options: ReadOptions & { delimiter: string },
	problems: Problems,
): AsyncGenerator<RawRow, void, undefined> {
	const { parse: parseCsv } = await import("csv-parse");
	// The parser runs ahead of the rows, so its complaints come early: sorted by line before they are handed on.
	const bad: { line: number; error: FintuneError }[] = [];
	let overcounted = 0;
	const parser = parseCsv({
		bom: true,
		delimiter: options.delimiter,
		...(options.quotes === false ? { quote: null } : {}),
		skip_empty_lines: true,
		skip_records_with_error: true,
		// Counted here, where the message can name the columns.
		relax_column_count: true,
		max_record_size: 64 << 20,
		// The record's first line goes before its fields. csv-parse counts a CR LF inside quotes as two lines.
		on_record: (fields: string[], context) => {
			let inside = 0;
			for (const field of fields) {
				inside += field.match(/\r\n|\n|\r/g)?.length ?? 0;
				overcounted += field.match(/\r\n/g)?.length ?? 0;
			}
			return [String(context.lines - inside - overcounted), ...fields];
		},
		on_skip: (error) => {
			const { lines = 0, message = "unknown" } = (error ?? {}) as { lines?: number; message?: string };
			const line = lines - overcounted;
			bad.push({ line, error: badLine(file, line, `is not valid CSV: ${message.replace(/ at line \d+/, "")}`) });
		},
	});
	const records = pipeline(Readable.from(readText(file)), parser, () => {}) as AsyncIterable<string[]>;
	let columns = options.columns;
	try {
		for await (const [firstLine, ...fields] of records) {
			const line = Number(firstLine);
			if (!columns) {
				columns = fields;
				if (fields.length === 1 && /[;\t|]/.test(fields[0]!)) {
					const found = `one column, ${JSON.stringify(fields[0])}`;
					const hint = "say which delimiter separates its fields";
					bad.push({ line, error: badLine(file, line, "does not look comma-separated", { found, hint }) });
					return;
				}
				const twice = fields.find((name, i) => fields.indexOf(name) !== i);
				if (twice === undefined) continue;
				bad.push({ line, error: badLine(file, line, `the column ${JSON.stringify(twice)} occurs twice`) });
				return;
			}
			if (fields.length === columns.length) {
				yield { value: Object.fromEntries(columns.map((name, i) => [name, fields[i]])), source: { file, line } };
			} else {
				const expected = `${columns.length} (${columns.join(", ")})`;
				const error = badLine(file, line, "has the wrong number of fields", { expected, found: String(fields.length) });
				bad.push({ line, error });
			}
		}
	} finally {
		bad.sort((x, y) => x.line - y.line);
		for (const { error } of bad) problems.add(error);
	}
}

async function* readText(file: string): AsyncGenerator<string, void, undefined> {
	const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
	try {
		for await (const chunk of readBytes(file)) yield utf8.decode(chunk, { stream: true });
		yield utf8.decode();
	} catch (error) {
		if (!(error instanceof TypeError)) throw error;
		throw new FintuneError("E_DATA_FORMAT", "is not valid UTF-8", { where: file, cause: error });
	}
}

async function* readParquet(file: string, problems: Problems): AsyncGenerator<RawRow, void, undefined> {
	try {
		// Loaded where they are needed: every command starts sooner without them.
		const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } = await import("hyparquet");
		const { compressors } = await import("hyparquet-compressors");
		const buffer = await asyncBufferFromFile(file);
		const metadata = await parquetMetadataAsync(buffer);
		let rowStart = 0;
		for (const group of metadata.row_groups) {
			const rowEnd = rowStart + Number(group.num_rows);
			const rows = await parquetReadObjects({ file: buffer, metadata, compressors, rowStart, rowEnd });
			for (const [i, row] of rows.entries()) {
				const line = rowStart + i + 1;
				const unsafe: string[] = [];
				const value = plainValue(row, "", unsafe) as Record<string, unknown>;
				if (unsafe.length === 0) yield { value, source: { file, line } };
				else problems.add(badLine(file, line, "an integer is too large to be kept exactly", { found: unsafe.join(", ") }));
			}
			rowStart = rowEnd;
		}
	} catch (error) {
		if (error instanceof FintuneError || (error as NodeJS.ErrnoException).syscall !== undefined) throw error;
		throw new FintuneError("E_DATA_FORMAT", `cannot be read as parquet: ${(error as Error).message}`, {
			where: file,
			cause: error,
		});
	}
}

/** What JSON could hold: 64-bit integers as numbers (noted in `unsafe` where that is not exact), dates as ISO texts. */
function plainValue(value: unknown, key: string, unsafe: string[]): unknown {
	if (typeof value === "bigint") {
		const number = Number(value);
		if (!Number.isSafeInteger(number)) unsafe.push(`${key} = ${value}`);
		return number;
	}
	if (typeof value !== "object" || value === null) return value;
	if (value instanceof Date) return value.toISOString();
	if (ArrayBuffer.isView(value)) {
		return value instanceof Uint8Array
			? value
			: Array.from(value as unknown as ArrayLike<unknown>, (v) => plainValue(v, key, unsafe));
	}
	if (Array.isArray(value)) return value.map((entry) => plainValue(entry, key, unsafe));
	return Object.fromEntries(
		Object.entries(value).map(([name, entry]) => [name, plainValue(entry, key ? `${key}.${name}` : name, unsafe)]),
	);
}
