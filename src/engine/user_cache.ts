/**
 * Results that take long, kept in the user's cache folder under a hash of everything they were made from. Nothing depends
 * on them: whatever cannot be read, written or trusted is made again.
 * @module
 */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { writeFileAtomic } from "./files.js";

/** After so many days a file goes that nothing has renewed. */
const keptDays = 60;

/** The user's cache folder for results of one kind. */
export const userCacheFolder = (kind: string, env: NodeJS.ProcessEnv = process.env): string =>
	join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "fintune", kind);

interface CacheOptions<T> {
	/** Undefined: nothing is kept. */
	folder: string | undefined;
	/** The file's name: a hash of all that decides what `make` makes, the code included. */
	name: string;
	/** Whether a stored value has the form of one. */
	isValue(stored: unknown): stored is T;
	make(): T | Promise<T>;
	/** Asked after `make`: false where its inputs are no longer those of the name. */
	holds?(): Promise<boolean>;
}

/**
 * The stored value, or the one that is made now. A file has a hash of its value, so that a damaged one is never believed,
 * and takes its name whole, so that any number of processes may do this at once.
 */
export async function cached<T>({ folder, name, isValue, make, holds }: CacheOptions<T>): Promise<T> {
	if (folder === undefined) return make();
	const path = join(folder, name);
	const stored = await readStored(path);
	if (isValue(stored)) return stored;
	const value = await make();
	try {
		if (holds && !(await holds())) return value;
		await mkdir(folder, { recursive: true });
		// Not synced: the hash tells of what a power cut took.
		await writeFileAtomic(path, [Buffer.from(JSON.stringify({ sha256: hashOf(value), value }))], false);
		await removeOld(folder);
	} catch {
		// Only the time is lost that the next one needs again.
	}
	return value;
}

const hashOf = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("hex");

async function readStored(path: string): Promise<unknown> {
	try {
		const { sha256, value } = JSON.parse(await readFile(path, "utf8")) as { sha256?: unknown; value?: unknown };
		return sha256 === hashOf(value) ? value : undefined;
	} catch {
		return undefined;
	}
}

async function removeOld(folder: string): Promise<void> {
	const oldest = Date.now() - keptDays * 86_400_000;
	for (const name of await readdir(folder)) {
		const path = join(folder, name);
		if ((await stat(path)).mtimeMs < oldest) await rm(path, { force: true });
	}
}
