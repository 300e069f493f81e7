/**
 * A data set's original files, as people have them: a folder, a zip archive, workbooks beside or instead of CSV.
 * @module
 */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve, sep } from "node:path";
import { unzipSync } from "fflate";
import { FintuneError, fromSystemError } from "../../errors.js";

/** A folder that a task's reader can read, and how to let go of it. */
export interface Originals {
	folder: string;
	/** The user's own files behind it. */
	files: string[];
	release(): Promise<void>;
}

/**
 * Opens what `from` names. Archives are unpacked and workbooks converted in a temporary folder.
 * @throws FintuneError E_NOT_FOUND, E_DATA_FORMAT for an archive or a workbook that is damaged
 */
export async function openOriginals(from: string): Promise<Originals> {
	let isFile: boolean;
	try {
		isFile = (await stat(from)).isFile();
	} catch (error) {
		throw fromSystemError(error, from);
	}
	const folder = await mkdtemp(join(tmpdir(), "fintune-import-"));
	const release = () => rm(folder, { recursive: true, force: true });
	try {
		if (isFile && /\.zip$/i.test(from)) await unpack(from, folder);
		else if (isFile) await symlink(resolve(from), join(folder, basename(from)));
		else for (const name of await readdir(from)) await symlink(resolve(from, name), join(folder, name));
		await convertWorkbooks(folder);
		const files = isFile ? [from] : (await readdir(from)).sort().map((name) => join(from, name));
		return { folder, files, release };
	} catch (error) {
		await release();
		throw error;
	}
}

async function unpack(archive: string, folder: string): Promise<void> {
	let entries: Record<string, Uint8Array>;
	try {
		entries = unzipSync(await readFile(archive));
	} catch (cause) {
		throw new FintuneError("E_DATA_FORMAT", "cannot be unpacked", { where: archive, expected: "a whole zip archive", cause });
	}
	for (const [name, bytes] of Object.entries(entries)) {
		const path = resolve(folder, name);
		if (!path.startsWith(folder + sep)) {
			throw new FintuneError("E_DATA_FORMAT", "holds a path that leads out of it", { where: archive, found: name });
		}
		if (name.endsWith("/")) continue;
		await mkdir(dirname(path), { recursive: true });
		await writeFile(path, bytes);
		// Readers look beside each other: what lies in a folder of the archive is also found without it.
		const flat = join(folder, basename(name));
		if (flat !== path) await cp(path, flat, { errorOnExist: false, force: false });
	}
}

/** Beside every X.xlsx an X.csv, where there is none; a name `prefix-train-5768.xlsx` also gives `train-5768.csv`. */
async function convertWorkbooks(folder: string): Promise<void> {
	const names = await readdir(folder);
	for (const name of names.filter((n) => /\.xlsx$/i.test(n))) {
		const stem = name.replace(/\.xlsx$/i, "");
		const short = /(?:^|-)((?:train|test|val|dev)-\d+)$/.exec(stem)?.[1] ?? stem;
		if (names.includes(`${short}.csv`) || names.includes(`${stem}.csv`)) continue;
		await writeFile(join(folder, `${short}.csv`), csvOf(await rowsOfWorkbook(join(folder, name), name)));
	}
}

async function rowsOfWorkbook(path: string, name: string): Promise<unknown[][]> {
	try {
		// Loaded where it is needed: every command starts sooner without it.
		const { readSheet } = await import("read-excel-file/node");
		return (await readSheet(path)) as unknown[][];
	} catch (cause) {
		throw new FintuneError("E_DATA_FORMAT", "cannot be read", {
			where: name,
			expected: "a whole Excel workbook (.xlsx)",
			found: (cause as Error).message,
			cause,
		});
	}
}

function csvOf(rows: readonly unknown[][]): string {
	const field = (value: unknown): string => {
		const text = value === null || value === undefined ? "" : String(value);
		return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
	};
	return rows.map((row) => `${row.map(field).join(",")}\n`).join("");
}
