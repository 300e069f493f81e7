/**
 * Files that are whole or not there, and stay so when the process is killed or the power fails.
 * @module
 */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { FintuneError, fromSystemError } from "../errors.js";

/** .NAME.PID.RANDOM.tmp */
const temporaryName = /^\..+\.\d+\.[0-9a-f]{8}\.tmp$/;

/** A name beside `path` for what is not whole yet, or no longer; {@link removeTemporaries} knows it. */
export const temporaryPath = (path: string): string =>
	join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`);

/**
 * Writes a file by way of a temporary one in the same folder: written, synced, renamed, and the folder synced.
 * @param durable false: nothing is synced; the file is whole for every reader, but a power cut may take it
 * @throws FintuneError E_IO, E_PERMISSION, E_CANNOT_CREATE ...; the old file, if any, is then untouched
 */
export async function writeFileAtomic(path: string, parts: readonly Uint8Array[], durable = true): Promise<void> {
	const folder = dirname(path);
	const temporary = temporaryPath(path);
	let file: FileHandle | undefined;
	try {
		file = await open(temporary, "wx");
		for (const part of parts) await writeAll(file, part);
		if (durable) await file.sync();
		await file.close();
		file = undefined;
		await rename(temporary, path);
		if (durable) await syncFolder(folder);
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
	let handle: FileHandle | undefined;
	try {
		handle = await open(folder, "r");
		await handle.sync();
	} catch (error) {
		// Some file systems cannot sync a folder, and some folders may not be read; the rename itself has happened.
		if (!["EINVAL", "ENOTSUP", "EPERM", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
	} finally {
		await handle?.close();
	}
}

/** Whether a name is one that {@link temporaryPath} makes. */
export const isTemporary = (name: string): boolean => temporaryName.test(name);

/**
 * Removes what a killed process was writing, at any depth. Only for folders that nobody else writes to at the moment.
 * @returns the files removed, relative to the folder
 */
export async function removeTemporaries(folder: string): Promise<string[]> {
	try {
		const found = (await readdir(folder, { recursive: true })).filter((name) => isTemporary(basename(name)));
		for (const name of found) await rm(join(folder, name), { recursive: true, force: true });
		return found.sort();
	} catch (error) {
		throw fromSystemError(error, folder);
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

/** Makes a folder and its parents, so that they survive a power cut. */
export async function makeFolder(path: string): Promise<void> {
	try {
		const first = await mkdir(path, { recursive: true });
		if (first === undefined) return;
		for (let made = resolve(path); made.startsWith(resolve(first)); made = dirname(made)) await syncFolder(dirname(made));
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === "ENOENT") throw fromSystemError(await whyNoFolder(path, error), path);
		if (code !== "EEXIST" && code !== "ENOTDIR") throw fromSystemError(error, path);
		throw new FintuneError("E_CANNOT_CREATE", "cannot make this folder", {
			where: path,
			found: code === "EEXIST" ? "a file of this name" : "a file where a folder above it should be",
			hint: "choose another folder",
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

/** The hash of a file's bytes, hex: sha256, or what `hash` has seen so far with them behind it. */
export async function hashFile(path: string, hash: Hash = createHash("sha256")): Promise<string> {
	try {
		for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Uint8Array);
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
