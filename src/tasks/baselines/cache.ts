/**
 * Keeps trivial answers on disk under a hash of what they were made from, so that they are worked out once.
 * @module
 */
import { createHash } from "node:crypto";
import { cached, userCacheFolder } from "../../engine/user_cache.js";
import { codeIdentity } from "../../version.js";
import type { Task, TaskRow } from "../task.js";
import type { TrivialBaseline } from "./baseline.js";

/** The user's cache folder for it. */
export const baselineCacheFolder = (): string => userCacheFolder("baselines");

/** The stored answers of these rows, or those that `make` makes. */
export const cachedBaselines = (
	task: Task,
	train: readonly TaskRow[],
	test: readonly TaskRow[],
	folder: string | undefined,
	make: () => TrivialBaseline[],
): Promise<TrivialBaseline[]> =>
	cached({
		folder,
		name: `${task.name}-${contentKey(task, train, test)}.json`,
		isValue: (stored): stored is TrivialBaseline[] =>
			Array.isArray(stored) && stored.every((item) => isBaseline(item, test.length)),
		make,
	});

function contentKey(task: Task, train: readonly TaskRow[], test: readonly TaskRow[]): string {
	const hash = createHash("sha256").update(JSON.stringify([codeIdentity(), task.name, train.length, test.length]));
	for (const { query, answer, doc } of train) hash.update(JSON.stringify([query, answer, doc]));
	for (const { query, answer, doc } of test) hash.update(JSON.stringify([query, answer, doc]));
	return hash.digest("hex").slice(0, 32);
}

function isBaseline(item: unknown, n: number): boolean {
	const { kind, name, outputs } = (item ?? {}) as Partial<TrivialBaseline>;
	return typeof kind === "string" && typeof name === "string" && Array.isArray(outputs) && outputs.length === n;
}
