/**
 * The documents of a run: JSON and JSON lines, written whole or not at all (engine/files.ts), or growing line by line.
 * @module
 */
import { existsSync } from "node:fs";
import { type FileHandle, open, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { makeFolder, syncFolder, writeFileAtomic } from "../engine/files.js";
import { FintuneError, fromSystemError } from "../errors.js";
import { parseJsonLines, readText } from "../tasks/files.js";

export { makeFolder, removeFolder } from "../engine/files.js";

/** Writes a file through a temporary one in the same folder, synced before it takes the name. Makes the folder. */
export async function writeFileWhole(path: string, content: string | Uint8Array): Promise<void> {
	await makeFolder(dirname(path));
	await writeFileAtomic(path, [typeof content === "string" ? Buffer.from(content) : content]);
}

/** One document with a trailing newline, keys in the order given. */
export const writeJson = (path: string, value: unknown): Promise<void> =>
	writeFileWhole(path, `${JSON.stringify(value, null, 2)}\n`);

/** One JSON document a line. */
export const writeJsonLines = (path: string, rows: readonly unknown[]): Promise<void> =>
	writeFileWhole(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));

/** Appends one line to a file of JSON lines in a folder that is there, and syncs it; where that fails, the file is as before. */
export async function appendJsonLine(path: string, row: unknown): Promise<void> {
	try {
		const isNew = !existsSync(path);
		const file = await open(path, "a");
		try {
			const { size } = await file.stat();
			try {
				await file.appendFile(`${JSON.stringify(row)}\n`);
			} catch (error) {
				await file.truncate(size).catch(() => undefined);
				throw error;
			}
			await file.sync();
		} finally {
			await file.close();
		}
		if (isNew) await syncFolder(dirname(path));
	} catch (error) {
		throw fromSystemError(error, path);
	}
}

/**
 * A file of JSON lines that grows while it is read (tail -f): every line goes to the system in one piece, so a reader
 * meets whole lines, and what could only be written in part is taken back. Closing syncs it.
 */
export class JsonLinesFile {
	readonly #path: string;
	readonly #file: FileHandle;
	#bytes = 0;

	private constructor(path: string, file: FileHandle) {
		this.#path = path;
		this.#file = file;
	}

	/** A file of this name, in a folder that is there, that holds these rows and nothing else. */
	static async create(path: string, rows: readonly unknown[] = []): Promise<JsonLinesFile> {
		let file: JsonLinesFile;
		try {
			file = new JsonLinesFile(path, await open(path, "w"));
		} catch (error) {
			throw fromSystemError(error, path);
		}
		for (const row of rows) await file.append(row);
		return file;
	}

	/** @throws FintuneError E_IO ...; the file then ends with the line before */
	async append(row: unknown): Promise<void> {
		const line = Buffer.from(`${JSON.stringify(row)}\n`);
		try {
			for (let at = 0; at < line.length; ) at += (await this.#file.write(line, at, null, this.#bytes + at)).bytesWritten;
		} catch (error) {
			await this.#file.truncate(this.#bytes).catch(() => undefined);
			throw fromSystemError(error, this.#path);
		}
		this.#bytes += line.length;
	}

	async close(): Promise<void> {
		try {
			await this.#file.sync();
		} catch (error) {
			throw fromSystemError(error, this.#path);
		} finally {
			await this.#file.close();
		}
	}
}

/**
 * Cuts off the end of a file of JSON lines that a power cut left in part: what follows the last newline, and lines before
 * it of which a part never reached the disk.
 * @returns whether there was one
 */
export async function dropTornLine(path: string): Promise<boolean> {
	try {
		const bytes = await readFile(path);
		const whole = endOfWholeLines(bytes);
		if (whole === bytes.length) return false;
		const file = await open(path, "r+");
		try {
			await file.truncate(whole);
			await file.sync();
		} finally {
			await file.close();
		}
		return true;
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
		throw fromSystemError(error, path);
	}
}

function endOfWholeLines(bytes: Buffer): number {
	let end = bytes.lastIndexOf(0x0a) + 1;
	while (end > 0) {
		const begin = end < 2 ? 0 : bytes.lastIndexOf(0x0a, end - 2) + 1;
		try {
			JSON.parse(bytes.toString("utf8", begin, end));
			break;
		} catch {
			end = begin;
		}
	}
	return end;
}

/** The objects of a file of JSON lines that may still grow: a last line without its end is left out. None without a file. */
export async function readWholeLines(path: string): Promise<Record<string, unknown>[]> {
	if (!existsSync(path)) return [];
	const text = await readText(path);
	return parseJsonLines(text.slice(0, text.lastIndexOf("\n") + 1), path).map(({ record }) => record);
}

/** @throws FintuneError E_NOT_FOUND, or E_DATA_FORMAT where it is not JSON */
export async function readJson(path: string): Promise<unknown> {
	let text: string;
	try {
		text = await readFile(path, "utf8");
	} catch (error) {
		throw fromSystemError(error, path);
	}
	try {
		return JSON.parse(text);
	} catch (error) {
		throw new FintuneError("E_DATA_FORMAT", `is not JSON: ${(error as Error).message}`, { where: path, cause: error });
	}
}

/** Like {@link readJson}, undefined where there is no such file. */
export async function readJsonIfThere(path: string): Promise<unknown> {
	try {
		return await readJson(path);
	} catch (error) {
		if (error instanceof FintuneError && error.code === "E_NOT_FOUND") return undefined;
		throw error;
	}
}
