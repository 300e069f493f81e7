/**
 * From what people call a model to its folder: a folder, `tiny`, or a hub id in the local hub cache. Nothing is
 * downloaded.
 * @module
 */
import { existsSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { FintuneError } from "../errors.js";
import { packageRoot } from "../version.js";
import { expandHome } from "./files.js";
import { cachedCommit, type Environment, hubCache, isRevision, repositoryFolder, snapshotFolder } from "./hub_cache.js";
import { hasWeights } from "./weight_files.js";

export interface ResolvedModel {
	/** Absolute path. */
	dir: string;
	/** How an adapter names its base: hub id, `tiny`, or the folder's name. */
	label: string;
	/** False: a folder to plan with, or to open with random weights. */
	hasWeights: boolean;
}

const found = (dir: string, label: string): ResolvedModel => ({ dir, label, hasWeights: hasWeights(dir) });

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

/**
 * @param name a folder (also relative or with ~), `tiny`, or a hub id as `org/name` or `org/name@revision`
 * @param from the folder that relative paths start at
 * @throws FintuneError E_NOT_FOUND that says where was looked and how to get the model
 */
export function resolveModel(name: string, from: string = process.cwd(), env: Environment = process.env): ResolvedModel {
	if (name === "") throw new FintuneError("E_NOT_FOUND", "no model is named", { expected: "a folder, a hub id, or tiny" });
	const path = resolve(from, expandHome(name));
	if (isFolder(path)) return found(path, basename(path));
	if (name === "tiny") {
		const dir = join(packageRoot, "models", "tiny");
		if (isFolder(dir)) return found(dir, "tiny");
		throw new FintuneError("E_NOT_FOUND", "the embedded model is not in this installation", {
			where: dir,
			hint: "configs/pretrain-tiny.yaml makes it; a published package carries it",
		});
	}
	const hub = /^([\w.-]+\/[\w.-]+)(?:@([\w./-]+))?$/.exec(name);
	const [, id, revision = "main"] = hub ?? [];
	const looksLikePath = /^[./~]/.test(name) || name.endsWith("/");
	if (id === undefined || looksLikePath || !isRevision(revision)) {
		throw new FintuneError("E_NOT_FOUND", "no such model", {
			where: path,
			expected: "a folder with config.json, a hub id such as Qwen/Qwen2.5-1.5B-Instruct, or tiny",
			found: existsSync(path) ? "a file" : "nothing at this path",
		});
	}
	const repository = repositoryFolder(hubCache(env), "model", id);
	const snapshot = snapshotFolder(repository, cachedCommit(repository, revision));
	if (isFolder(snapshot)) return found(snapshot, id);
	throw new FintuneError("E_NOT_FOUND", `the model ${id} is not on this machine`, {
		where: isFolder(repository) ? `${repository} (revision ${revision})` : repository,
		hint: `fintune downloads no model: \`hf download ${id}\` puts it there, or pass the folder of a copy`,
	});
}
