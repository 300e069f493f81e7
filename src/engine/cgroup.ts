/**
 * The cgroups of this process: where the kernel says what it may use.
 * @module
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Reads a small file; undefined where it does not exist or may not be read. */
export type ReadText = (path: string) => string | undefined;

export const readText: ReadText = (path) => {
	try {
		return readFileSync(path, "utf8");
	} catch {
		return undefined;
	}
};

export interface CgroupFolder {
	version: 1 | 2;
	folder: string;
}

/**
 * The folders of the process's cgroup and of all above it, whose limits hold as well.
 * @param controller of v1; v2 has one hierarchy for all
 * @param mounts where v1 has that controller
 */
export function cgroupFolders(
	controller: string,
	mounts: readonly string[] = [`/sys/fs/cgroup/${controller}`],
	read: ReadText = readText,
): CgroupFolder[] {
	return (read("/proc/self/cgroup") ?? "").split("\n").flatMap((line): CgroupFolder[] => {
		const [, controllers, path] = line.split(":");
		if (controllers === undefined || path === undefined) return [];
		if (controllers === "") return upwards("/sys/fs/cgroup", path).map((folder) => ({ version: 2, folder }));
		if (!controllers.split(",").includes(controller)) return [];
		return mounts.flatMap((mount) => upwards(mount, path)).map((folder) => ({ version: 1, folder }));
	});
}

/** The cgroup's folder and all above it; in a container the path may not exist below the mount, the mount itself does. */
function upwards(mount: string, path: string): string[] {
	const folders = [];
	for (let at = join("/", path); at !== "/"; at = dirname(at)) folders.push(join(mount, at));
	return [...folders, mount];
}
