/**
 * Signs of an NVIDIA driver on this machine, and copies of cuBLASLt, found without loading anything.
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface NvidiaDriver {
	/** Of the kernel module, e.g. 580.65.06. */
	version: string | null;
	/** Where the driver's library libcuda.so.1 lies. */
	library: string | null;
	/** The device file that shows that there is a GPU. */
	deviceFile: string | null;
}

const libraryFolders = [
	"/usr/lib/x86_64-linux-gnu",
	"/usr/lib/aarch64-linux-gnu",
	"/usr/lib/aarch64-linux-gnu/tegra",
	"/usr/lib/aarch64-linux-gnu/nvidia",
	"/usr/lib64",
	"/usr/lib",
	"/usr/lib/wsl/lib",
	"/usr/local/nvidia/lib64",
	"/run/opengl-driver/lib",
];
const deviceFiles = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/nvhost-gpu", "/dev/dxg"];

/** "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  ..." to 580.65.06. */
export const driverVersion = (text: string): string | undefined => /^NVRM version:.*?\s(\d{3}\.\d+(?:\.\d+)?)\b/m.exec(text)?.[1];

/** @param root the folder that stands for / */
export function findDriver(env: NodeJS.ProcessEnv = process.env, root = "/"): NvidiaDriver {
	const at = (path: string): string => join(root, path);
	const folders = [...(env.LD_LIBRARY_PATH ?? "").split(":").filter((folder) => folder.startsWith("/")), ...libraryFolders];
	const proc = at("/proc/driver/nvidia/version");
	return {
		version: existsSync(proc) ? (driverVersion(readFileSync(proc, "utf8")) ?? null) : null,
		library: folders.map((folder) => join(folder, "libcuda.so.1")).find((path) => existsSync(at(path))) ?? null,
		deviceFile: deviceFiles.find((path) => existsSync(at(path))) ?? null,
	};
}

/** One phrase for people; undefined where there is no sign of a driver. */
export function describeDriver({ version, library, deviceFile }: NvidiaDriver): string | undefined {
	if (!version && !library && !deviceFile) return undefined;
	const found = version ? `NVIDIA driver ${version}` : library ? "an NVIDIA driver" : `an NVIDIA GPU (${deviceFile})`;
	return library ? `${found} (${library})` : `${found} without its library libcuda.so.1`;
}

/**
 * Files that may be cuBLASLt, in toolkits and where the Python registry's wheels put it (nvidia-cublas, which PyTorch
 * installs); the newest major version first.
 * @param root the folder that stands for /
 */
export function findCublasLt(env: NodeJS.ProcessEnv = process.env, root = "/"): string[] {
	const below = (folder: string, pattern: RegExp): string[] => {
		try {
			return readdirSync(join(root, folder))
				.filter((name) => pattern.test(name))
				.sort()
				.map((name) => join(folder, name));
		} catch {
			return [];
		}
	};
	const given = (...names: string[]): string[] => names.map((name) => env[name] ?? "").filter((path) => path.startsWith("/"));
	const toolkits = [...given("CUDA_PATH", "CUDA_HOME"), "/usr/local/cuda"].map((folder) => join(folder, "lib64"));
	const prefixes = [...given("VIRTUAL_ENV", "CONDA_PREFIX"), ...given("HOME").map((home) => join(home, ".local"))];
	const wheels = [...prefixes, "/usr/local", "/usr"]
		.flatMap((prefix) => below(join(prefix, "lib"), /^python3/))
		.flatMap((python) => below(python, /^(site|dist)-packages$/))
		.flatMap((packages) => below(join(packages, "nvidia"), /^(cu\d+|cublas)$/))
		.map((folder) => join(folder, "lib"));
	const major = (file: string): number => Number(/\d+$/.exec(file)?.[0]);
	return [...toolkits, ...wheels]
		.flatMap((folder) => below(folder, /^libcublasLt\.so\.1[123]$/))
		.sort((a, b) => major(b) - major(a));
}
