/**
 * Keeps trivial answers on disk under a hash of what they were made from, so that they are worked out once.
 * @module
 */
import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { writeFileAtomic } from "../../engine/files.js";
import { codeIdentity } from "../../version.js";
import type { Task, TaskRow } from "../task.js";
import type { TrivialBaseline } from "./baseline.js";

/** The user's cache folder for it. */
export const baselineCacheFolder = (env: NodeJS.ProcessEnv = process.env): string =>
	join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "fintune", "baselines");

/** The stored answers of these rows, or those that `make` makes. A cache that cannot be read or written changes nothing else. */
export async function cachedBaselines(
	task: Task,
	train: readonly TaskRow[],
	test: readonly TaskRow[],
	folder: string | undefined,
	make: () => TrivialBaseline[],
): Promise<TrivialBaseline[]> {
	if (folder === undefined) return make();
	const path = join(folder, `${task.name}-${contentKey(task, train, test)}.json`);
	const stored = await readStored(path, test.length);
	if (stored) return stored;
	const made = make();
	try {
		await mkdir(folder, { recursive: true });
		await writeFileAtomic(path, [Buffer.from(JSON.stringify(made))]);
	} catch {
		// Only the time is lost that the next evaluation needs again.
	}
	return made;
}

function contentKey(task: Task, train: readonly TaskRow[], test: readonly TaskRow[]): string {
	const hash = createHash("sha256").update(JSON.stringify([codeIdentity(), task.name, train.length, test.length]));
	for (const { query, answer, doc } of train) hash.update(JSON.stringify([query, answer, doc]));
	for (const { query, answer, doc } of test) hash.update(JSON.stringify([query, answer, doc]));
	return hash.digest("hex").slice(0, 32);
}

async function readStored(path: string, n: number): Promise<TrivialBaseline[] | undefined> {
	try {
		const stored: unknown = JSON.parse(await readFile(path, "utf8"));
		return Array.isArray(stored) && stored.every((item) => isBaseline(item, n)) ? stored : undefined;
	} catch {
		return undefined;
	}
}

function isBaseline(item: unknown, n: number): boolean {
	const { kind, name, outputs } = (item ?? {}) as Partial<TrivialBaseline>;
	return typeof kind === "string" && typeof name === "string" && Array.isArray(outputs) && outputs.length === n;
}
