/**
 * Files of a run: written whole or not at all, with system errors that say what to do.
 * @module
 */
import { existsSync } from "node:fs";
import { type FileHandle, mkdir, open, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFileAtomic } from "../engine/files.js";
import { FintuneError, fromSystemError } from "../errors.js";

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

	/** An empty file of this name, in a folder that is there. */
	static async create(path: string): Promise<JsonLinesFile> {
		try {
			return new JsonLinesFile(path, await open(path, "w"));
		} catch (error) {
			throw fromSystemError(error, path);
		}
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

/** Removes a folder with all that is in it; silent where there is none. */
export async function removeFolder(path: string): Promise<void> {
	try {
		await rm(path, { recursive: true, force: true });
	} catch (error) {
		throw fromSystemError(error, path);
	}
}

/** Makes a folder and its parents. */
export async function makeFolder(path: string): Promise<void> {
	try {
		await mkdir(path, { recursive: true });
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === "ENOENT") throw fromSystemError(await whyNoFolder(path, error), path);
		if (code !== "EEXIST" && code !== "ENOTDIR") throw fromSystemError(error, path);
		throw new FintuneError("E_CANNOT_CREATE", "cannot make this folder", {
			where: path,
			found: code === "EEXIST" ? "a file of this name" : "a file where a folder above it should be",
			hint: "choose another --out",
			cause: error,
		});
	}
}

/** A recursive mkdir on a read-only file system says ENOENT; making the first missing folder alone says why. */
async function whyNoFolder(path: string, error: unknown): Promise<unknown> {
	let first = path;
	while (!existsSync(dirname(first)) && dirname(first) !== first) first = dirname(first);
	try {
		await mkdir(first);
		return error;
	} catch (reason) {
		return reason;
	}
}
