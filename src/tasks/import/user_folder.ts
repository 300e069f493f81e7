/**
 * Where imported task data lie: a folder of the user's, outside the package.
 * @module
 */
import { homedir } from "node:os";
import { delimiter, join, resolve } from "node:path";

/** The first folder of $FINTUNE_DATA, else $XDG_DATA_HOME/fintune/tasks, else ~/.local/share/fintune/tasks. */
export function userDataDir(env: NodeJS.ProcessEnv = process.env): string {
	const named = (env.FINTUNE_DATA ?? "").split(delimiter).find((path) => path !== "");
	if (named !== undefined) return resolve(named);
	return join(env.XDG_DATA_HOME || join(env.HOME || homedir(), ".local", "share"), "fintune", "tasks");
}
