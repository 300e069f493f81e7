/**
 * Files that are whole or not there.
 * @module
 */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, readFile, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { FintuneError, fromSystemError } from "../errors.js";

/**
 * Writes a file by way of a temporary one in the same folder: written, synced, renamed, and the folder synced.
 * @throws FintuneError E_IO, E_PERMISSION, E_CANNOT_CREATE ...; the old file, if any, is then untouched
 */
export async function writeFileAtomic(path: string, parts: readonly Uint8Array[]): Promise<void> {
	const folder = dirname(path);
	const temporary = join(folder, `.${basename(path)}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`);
	let file: FileHandle | undefined;
	try {
		file = await open(temporary, "wx");
		for (const part of parts) await writeAll(file, part);
		await file.sync();
		await file.close();
		file = undefined;
		await rename(temporary, path);
		await syncFolder(folder);
	} catch (error) {
		await file?.close().catch(() => undefined);
		await rm(temporary, { force: true }).catch(() => undefined);
		throw fromSystemError(error, path);
	}
}

/** Writes all bytes, at `position` or where the file stands. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
	// One write call takes at most 2 GiB.
	const most = 2 ** 30;
	for (let at = 0; at < bytes.byteLength; ) {
		const to = position === undefined ? null : position + at;
		const { bytesWritten } = await file.write(bytes, at, Math.min(most, bytes.byteLength - at), to);
		at += bytesWritten;
	}
}

/** Makes a rename in this folder survive a power cut. */
export async function syncFolder(folder: string): Promise<void> {
	const handle = await open(folder, "r");
	try {
		await handle.sync();
	} catch (error) {
		// Some file systems cannot sync a folder; the rename itself has happened.
		if (!["EINVAL", "ENOTSUP", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
	} finally {
		await handle.close();
	}
}

/** The hash of a file's bytes, hex: sha256, or what `hash` has seen so far with them behind it. */
export async function hashFile(path: string, hash: Hash = createHash("sha256")): Promise<string> {
	try {
		for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
	} catch (error) {
		throw fromSystemError(error, path);
	}
	return hash.digest("hex");
}

/** A path with the user's home folder in place of a leading ~. */
export const expandHome = (path: string): string => path.replace(/^~(?=$|\/)/, homedir());

export type JsonObject = Record<string, unknown>;

export const isObject = (value: unknown): value is JsonObject =>
	typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * A file that holds one JSON object.
 * @throws FintuneError `code` when it is not JSON or no object; E_NOT_FOUND, E_IO ... when it cannot be read
 */
export async function readJsonObject(path: string, code: "E_MODEL_CONFIG" | "E_ADAPTER" | "E_WEIGHTS"): Promise<JsonObject> {
	let text: string;
	try {
		text = await readFile(path, "utf8");
	} catch (error) {
		throw fromSystemError(error, path);
	}
	let value: unknown;
	try {
		value = JSON.parse(text.replace(/^\uFEFF/, ""));
	} catch (error) {
		throw new FintuneError(code, "not valid JSON", { where: path, found: (error as Error).message, cause: error });
	}
	if (!isObject(value)) {
		throw new FintuneError(code, "not a JSON object", { where: path, expected: "{ ... }", found: describe(value) });
	}
	return value;
}

/** A JSON value as a message shows it: short. */
export function describe(value: unknown): string {
	const text = JSON.stringify(value) ?? String(value);
	return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
