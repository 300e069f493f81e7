/**
 * Files of a hub repository in the cache: each whole and with the hash that the hub has of it, or not there. What was
 * received before a connection broke stays beside it as `HASH.incomplete` and is gone on with.
 * @module
 */
import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, readlink, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { hashFile, syncFolder, writeAll } from "../../engine/files.js";
import { snapshotFolder } from "../../engine/hub_cache.js";
import { FintuneError, fromSystemError } from "../../errors.js";
import type { HubFile } from "./hub_client.js";

const attempts = 3;
const firstPauseMs = 300;

/** Gives the bytes of a file from an offset on. */
export type ReadFrom = (offset: number) => Promise<ReadableStream<Uint8Array>>;

/** Size of what is at a path; undefined where there is nothing. */
async function sizeOf(path: string): Promise<number | undefined> {
	try {
		return (await stat(path)).size;
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
		throw fromSystemError(error, path);
	}
}

/** Whether a file has the hash by which the hub calls it: sha256 (64 digits) or git's blob id (40). */
export async function hasHash(path: string, hash: string): Promise<boolean> {
	const size = await sizeOf(path);
	if (size === undefined) return false;
	if (hash.length === 64) return (await hashFile(path)) === hash;
	return (await hashFile(path, createHash("sha1").update(`blob ${size}\0`))) === hash;
}

const blobPath = (repository: string, { hash }: HubFile): string => join(repository, "blobs", hash);

/** Whether the cache holds a file's content, whole. */
export const isCached = (repository: string, file: HubFile): Promise<boolean> => hasHash(blobPath(repository, file), file.hash);

/**
 * Brings a file's content into the cache.
 * @param received called with the number of bytes that are here
 * @throws FintuneError E_CHECKSUM (nothing is left), E_NETWORK (what was received is left), those of the file system
 */
export async function download(
	repository: string,
	file: HubFile,
	read: ReadFrom,
	received: (bytes: number) => void,
): Promise<void> {
	const blob = blobPath(repository, file);
	const partial = `${blob}.incomplete`;
	await mkdir(dirname(blob), { recursive: true }).catch((error) => {
		throw fromSystemError(error, dirname(blob));
	});
	for (let attempt = 1; ; attempt++) {
		const before = (await sizeOf(partial)) ?? 0;
		try {
			await receive(partial, file, before, read, received);
		} catch (error) {
			if (!(error instanceof FintuneError && error.code === "E_NETWORK") || attempt === attempts) throw error;
			await wait(firstPauseMs * 2 ** (attempt - 1));
			continue;
		}
		if (await hasHash(partial, file.hash)) return keep(repository, file, partial);
		// Another process that fetched the same has been faster.
		if (await isCached(repository, file)) return;
		await rm(partial, { force: true });
		// What an earlier run left may be at fault: once more, from the beginning.
		if (before > 0 && attempt < attempts) continue;
		throw new FintuneError("E_CHECKSUM", "what the hub sent is not the file that it lists", {
			where: file.path,
			expected: `${file.size} bytes with the hash ${file.hash}`,
			found: "another content",
			hint: "nothing of it was kept; fetch again, and check HF_ENDPOINT if it stays so",
		});
	}
}

async function keep(repository: string, file: HubFile, partial: string): Promise<void> {
	const blob = blobPath(repository, file);
	try {
		await rename(partial, blob);
		await syncFolder(dirname(blob));
	} catch (error) {
		if (!(await isCached(repository, file))) throw fromSystemError(error, blob);
	}
}

/**
 * Receives the rest of a file. Bytes go to their own place in the file, not to its end, so that two processes that fetch
 * the same do no harm.
 */
async function receive(
	partial: string,
	file: HubFile,
	before: number,
	read: ReadFrom,
	received: (bytes: number) => void,
): Promise<void> {
	let at = before;
	const out = await open(partial, constants.O_WRONLY | constants.O_CREAT).catch((error) => {
		throw fromSystemError(error, partial);
	});
	try {
		const stream = at < file.size ? (await read(at)).getReader() : undefined;
		while (stream) {
			const { done, value } = await stream.read().catch((thrown: unknown) => {
				throw brokenOff(file, at, thrown instanceof Error ? thrown.message : String(thrown));
			});
			if (done) break;
			await writeAll(out, value, at).catch((error) => {
				throw fromSystemError(error, partial);
			});
			at += value.byteLength;
			received(at);
			// More than there is: the hash will not fit, and the rest need not be waited for.
			if (at > file.size) {
				await stream.cancel();
				break;
			}
		}
		if (at < file.size) throw brokenOff(file, at, "its end");
		await out.sync();
	} finally {
		await out.close();
	}
}

const brokenOff = (file: HubFile, at: number, found: string): FintuneError =>
	new FintuneError("E_NETWORK", "the connection broke off", {
		where: file.path,
		expected: `${file.size} bytes`,
		found: `${at} bytes, then ${found}`,
		hint: "fetch again: what has arrived is kept and gone on with",
	});

/** Puts a file's name in the snapshot of a commit, as a link to its content. */
export async function link(repository: string, commit: string, file: HubFile): Promise<void> {
	const path = join(snapshotFolder(repository, commit), file.path);
	const target = relative(dirname(path), blobPath(repository, file));
	try {
		if ((await readlink(path).catch(() => undefined)) === target) return;
		await mkdir(dirname(path), { recursive: true });
		const made = `${path}.${randomBytes(4).toString("hex")}.tmp`;
		await symlink(target, made);
		await rename(made, path);
	} catch (error) {
		throw fromSystemError(error, path);
	}
}
