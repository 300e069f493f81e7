/**
 * manifest.json: the size and sha256 of every file of a folder, written last. A folder without one is unfinished; with one
 * it counts only as long as every file still is what the manifest says.
 * @module
 */
import { createHash } from "node:crypto";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { hashFile, isObject, syncFolder } from "../engine/files.js";
import { fromSystemError } from "../errors.js";
import { writeFileWhole } from "./files.js";

export interface FileFacts {
	size: number;
	sha256: string;
}

export interface Manifest {
	/** By path below the folder, with / between its parts. */
	files: Record<string, FileFacts>;
}

/** A file that is not what the manifest says, and how it differs. */
export interface Damage {
	file: string;
	why: string;
}

export const manifestName = "manifest.json";

/**
 * Syncs every file of a folder and its folders to the disk, then writes the manifest: whoever finds it finds them whole.
 * @param leaveOut a folder directly below that has its own manifests
 */
export async function writeManifest(folder: string, leaveOut?: string): Promise<Manifest> {
	const files: Manifest["files"] = {};
	try {
		const entries = await readdir(folder, { recursive: true, withFileTypes: true });
		const paths = entries
			.filter((entry) => entry.isFile())
			.map((entry) => relative(folder, join(entry.parentPath, entry.name)))
			.filter((path) => path !== manifestName && !(leaveOut !== undefined && path.startsWith(`${leaveOut}/`)));
		for (const path of paths.sort()) files[path] = await syncedFacts(join(folder, path));
		for (const below of new Set(paths.map((path) => dirname(join(folder, path))))) await syncFolder(below);
	} catch (error) {
		throw fromSystemError(error, folder);
	}
	await writeFileWhole(join(folder, manifestName), manifestText({ files }));
	return { files };
}

async function syncedFacts(path: string): Promise<FileFacts> {
	const handle = await open(path, "r");
	try {
		await handle.sync();
		return { size: (await handle.stat()).size, sha256: await hashFile(path) };
	} finally {
		await handle.close();
	}
}

/** The manifest vouches for itself as well. */
const manifestText = ({ files }: Manifest): string =>
	`${JSON.stringify({ files, sha256: createHash("sha256").update(JSON.stringify(files)).digest("hex") }, null, "\t")}\n`;

/** The manifest of a folder; undefined where it has none. A damaged one is a {@link Damage}. */
export async function readManifest(folder: string): Promise<Manifest | Damage | undefined> {
	let text: string;
	try {
		text = await readFile(join(folder, manifestName), "utf8");
	} catch (error) {
		const known = fromSystemError(error, join(folder, manifestName));
		if (known.code === "E_NOT_FOUND") return undefined;
		throw known;
	}
	try {
		const manifest = JSON.parse(text) as Manifest;
		if (isObject(manifest.files) && manifestText(manifest) === text) return { files: manifest.files };
	} catch {
		// Not JSON any more.
	}
	return { file: manifestName, why: "its own sha256 differs" };
}

/** The first file that is not what the manifest says; undefined where all are. */
export async function findDamage(
	folder: string,
	{ files }: Manifest,
	names: readonly string[] = Object.keys(files),
): Promise<Damage | undefined> {
	for (const file of names) {
		const expected = files[file];
		if (!expected) return { file, why: "the manifest does not list it" };
		try {
			const { size } = await stat(join(folder, file));
			if (size !== expected.size) return { file, why: `expected ${expected.size} bytes, found ${size}` };
			const sha256 = await hashFile(join(folder, file));
			if (sha256 !== expected.sha256) {
				return { file, why: `expected sha256 ${expected.sha256.slice(0, 12)}..., found ${sha256.slice(0, 12)}...` };
			}
		} catch (error) {
			const known = fromSystemError(error, join(folder, file));
			if (!["E_NOT_FOUND", "E_IO"].includes(known.code)) throw known;
			return { file, why: known.code === "E_NOT_FOUND" ? "it is missing" : known.message };
		}
	}
	return undefined;
}

/** The manifest of a folder all of whose files verify. */
export async function verifiedManifest(folder: string): Promise<Manifest | Damage | undefined> {
	const manifest = await readManifest(folder);
	if (manifest === undefined || "why" in manifest) return manifest;
	return (await findDamage(folder, manifest)) ?? manifest;
}
