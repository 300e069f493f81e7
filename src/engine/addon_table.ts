/**
 * Which addon files there are, which of them is used, and why: the table behind the loader and `fintune doctor`.
 * @module
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { arch, platform } from "node:os";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { packageRoot } from "../version.js";
import { describeDriver, findDriver } from "./driver.js";

export interface AddonCandidate {
	/** What it is: named by FINTUNE_NATIVE, built in this checkout, or one of the package's two. */
	kind: "override" | "built" | "prebuilt-cuda" | "prebuilt-cpu";
	/** The file, or the folder that should hold it. */
	file: string;
	/** False: it is not tried. */
	use: boolean;
	/** Why it is tried, or why not. */
	reason: string;
}

/** What the table depends on; a parameter, so that tests can name any machine. */
export interface AddonSurroundings {
	root: string;
	env: NodeJS.ProcessEnv;
	exists(path: string): boolean;
	/** The file that node-gyp-build finds below root: built there, or the package's CPU addon. */
	found(root: string): string | undefined;
	/** A phrase about the driver; undefined where there is no sign of one. */
	driver(): string | undefined;
}

const require = createRequire(import.meta.url);

const thisMachine = (): AddonSurroundings => ({
	root: packageRoot,
	env: process.env,
	exists: existsSync,
	found(root) {
		try {
			return (require("node-gyp-build") as { path(dir: string): string }).path(root);
		} catch {
			return undefined;
		}
	},
	driver: () => describeDriver(findDriver()),
});

/**
 * The candidates, in the order in which they are tried. FINTUNE_NATIVE=FILE leaves no choice. A checkout has what was built
 * in it. The package has a CPU addon, and a CUDA addon (larger, otherwise the same) that is used where FINTUNE_DEVICE asks
 * for a GPU or, unless it asks for the CPU, where this machine has a driver.
 */
export function addonCandidates(around: AddonSurroundings = thisMachine()): AddonCandidate[] {
	const { root, env, exists } = around;
	if (env.FINTUNE_NATIVE) {
		// A loader takes a name without a folder for a file of its own search path.
		const override = resolve(env.FINTUNE_NATIVE);
		const there = exists(override);
		return [{ kind: "override", file: override, use: there, reason: `FINTUNE_NATIVE${there ? "" : ": not there"}` }];
	}
	const found = around.found(root);
	if (found === undefined) {
		const missing = (kind: AddonCandidate["kind"], file: string) => ({ kind, file, use: false, reason: "not there" });
		return [
			missing("built", join(root, "build", "Release")),
			missing("prebuilt-cpu", join(root, "prebuilds", `${platform()}-${arch()}`)),
		];
	}
	if (relative(root, found).split(sep)[0] === "build") {
		return [{ kind: "built", file: found, use: true, reason: "built in this checkout" }];
	}
	const withCuda = join(dirname(found), "cuda", basename(found));
	const cpu: AddonCandidate = { kind: "prebuilt-cpu", file: found, use: true, reason: "the package's addon for the CPU" };
	if (!exists(withCuda)) return [{ kind: "prebuilt-cuda", file: withCuda, use: false, reason: "not there" }, cpu];
	return [{ kind: "prebuilt-cuda", file: withCuda, ...cudaWanted(around) }, cpu];
}

function cudaWanted({ env, driver }: AddonSurroundings): Pick<AddonCandidate, "use" | "reason"> {
	const wanted = env.FINTUNE_DEVICE ?? "auto";
	if (wanted === "cpu") return { use: false, reason: "FINTUNE_DEVICE=cpu" };
	if (wanted.startsWith("cuda")) return { use: true, reason: `FINTUNE_DEVICE=${wanted}` };
	const sign = driver();
	return sign ? { use: true, reason: `there is ${sign}` } : { use: false, reason: "no sign of an NVIDIA driver" };
}
