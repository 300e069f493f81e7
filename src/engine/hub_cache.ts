/**
 * The hub's cache on this machine as huggingface_hub lays it out, so that every program shares one copy:
 * `models--org--name/` (or `datasets--`) with `blobs/` (files under their hashes), `snapshots/COMMIT/` (links to them
 * under their names) and `refs/` (the commit of a branch or tag).
 * @module
 */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { expandHome } from "./files.js";

export type Environment = Readonly<Record<string, string | undefined>>;

/** The hub's folder of this user: the cache and the token lie in it. */
export function hubHome(env: Environment = process.env): string {
	return expandHome(env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface"));
}

/** The folder of the hub cache. */
export function hubCache(env: Environment = process.env): string {
	return expandHome(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(hubHome(env), "hub"));
}

/** The folder in the cache of one repository. */
export function repositoryFolder(cache: string, type: "model" | "dataset", id: string): string {
	return join(cache, `${type}s--${id.replaceAll("/", "--")}`);
}

/** Whether a text can name a branch, tag or commit, and as a path stays where it belongs. */
export const isRevision = (revision: string): boolean =>
	/^[\w./-]+$/.test(revision) && revision.split("/").every((part) => part !== "" && part !== "." && part !== "..");

/** The commit that a branch or tag was when it was last fetched; a revision that the cache has no name for is itself one. */
export function cachedCommit(repository: string, revision: string): string {
	try {
		return readFileSync(join(repository, "refs", revision), "utf8").trim();
	} catch {
		return revision;
	}
}

/** The folder of a repository's files at a commit. */
export const snapshotFolder = (repository: string, commit: string): string => join(repository, "snapshots", commit);
