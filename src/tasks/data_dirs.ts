/**
 * Where task data are looked for.
 * @module
 */
import { delimiter, join, resolve } from "node:path";
import { packageRoot } from "../version.js";
import { userDataDir } from "./import/user_folder.js";

/** The data that the package itself ships (free licences only). */
export const packageDataDir = (): string => join(packageRoot, "data");

/**
 * The folders to search, in order: those given (`data_dir:`, `--data`), those of $FINTUNE_DATA, that of
 * imported sets, the package's own data.
 */
export function taskDataDirs(given: readonly string[] = [], env: NodeJS.ProcessEnv = process.env): string[] {
	const fromEnvironment = (env.FINTUNE_DATA ?? "").split(delimiter).filter((path) => path !== "");
	const named = [...given, ...fromEnvironment].map((path) => resolve(path));
	return [...new Set([...named, userDataDir(env), packageDataDir()])];
}
